"""The first draft of a report's words from the verdicts, in Vietnamese and English. A person edits and signs.

What was confirmed is described, what was rejected becomes a plain negative, and nothing is ever called normal
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from hoichan import codes
from hoichan.privacy import Phi
from hoichan.reporting.review_words import RECOMMENDATIONS, SENTENCES, SIDES, SITES
from hoichan.reporting.reviews import finding_id
from hoichan.types import Finding, Judgement, Presence, Report, Sections, Tier, Verdict


def draft_text(
    report: Report, judgements: Sequence[Judgement], *, language: str, has_priors: bool
) -> Sections:
    """Description, conclusion, recommendation and comparison. `language`: vi or en."""
    machine = {finding_id(report.report_uid, finding): finding for finding in report.findings}
    confirmed = sorted(
        (one for one in judgements if _presence(one, machine) is Presence.PRESENT), key=_urgency
    )
    absent = [one for one in judgements if _presence(one, machine) is Presence.ABSENT]
    doubtful = [one for one in judgements if _presence(one, machine) is Presence.INDETERMINATE]
    description = [_sentence(one, language) for one in confirmed]
    description += [
        SENTENCES["undetermined"][language].format(name=_inside(one.key, language)) for one in doubtful
    ]
    names = list(dict.fromkeys(_inside(one.key, language) for one in absent))
    if names:
        description.append(SENTENCES["absent"][language].format(names=", ".join(names)))
    if language == "en":
        description = [line[:1].upper() + line[1:] for line in description]
    conclusion = list(dict.fromkeys(f"{_named(one, language)}." for one in confirmed))
    if not conclusion:
        conclusion = [SENTENCES["nothing"][language]]
    advised = dict.fromkeys(
        RECOMMENDATIONS[one.key][language] for one in confirmed if one.key in RECOMMENDATIONS
    )
    return Sections(
        description=Phi("\n".join(description)),
        conclusion=Phi("\n".join(conclusion)),
        recommendation=Phi("\n".join(advised)),
        comparison=Phi("" if has_priors else SENTENCES["no_prior"][language]),
    )


def _presence(one: Judgement, machine: dict[str, Finding]) -> Presence:
    if one.verdict is Verdict.REJECTED:
        return Presence.ABSENT
    if one.verdict is Verdict.ACCEPTED and one.finding_id in machine:
        return machine[one.finding_id].presence
    return Presence.PRESENT


def _urgency(one: Judgement) -> tuple[int, str]:
    return list(Tier).index(codes.FINDINGS[one.key].tier), one.key


def _name(key: str, language: str) -> str:
    return codes.FINDINGS[key].display[language]


def _inside(key: str, language: str) -> str:
    name = _name(key, language)
    return name[:1].lower() + name[1:]


def _named(one: Judgement, language: str) -> str:
    """The finding with its side: "Tràn dịch màng phổi bên phải", "Right pleural effusion"."""
    if one.laterality is None:
        return _name(one.key, language)
    side = SIDES[one.laterality][language]
    if language == "vi":
        return f"{_name(one.key, language)} {side}"
    return f"{side[:1].upper()}{side[1:]} {_inside(one.key, language)}"


def _sentence(one: Judgement, language: str) -> str:
    parts = [_named(one, language)]
    if one.site:
        parts.append(SITES[one.site].display[language])
    if one.size_mm is not None:
        size = f"{one.size_mm:g}"
        size = size.replace(".", ",") if language == "vi" else size
        parts.append(SENTENCES["size"][language].format(size=size))
    own = one.text.reveal().strip().rstrip(".")
    return ", ".join(parts) + (f": {own}." if own else ".")
