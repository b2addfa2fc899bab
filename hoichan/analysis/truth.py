"""What a signature says of each finding: there, not there, or nothing.

| the machine said | the doctor | truth |
| --- | --- | --- |
| present | accepted or edited it | there |
| present | rejected it | not there |
| absent | accepted it, or signed without a word of it | not there |
| absent, or nothing | added it | there |
| nothing (the finding is switched off) | signed without a word of it | unknown |

A doctor who saw the answer of a machine agrees with it more often than one who did not: figures from such
reviews flatter the live version. The report of a model says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hoichan.types import Judgement, Presence, Verdict


def truths(judgements: Iterable[Judgement], stated: Mapping[str, Presence]) -> dict[str, bool]:
    """Finding key -> there or not; keys of which the signature says nothing are left out.

    `stated`: what the machine said in the report that was judged; of several images, present wins.
    """
    found = {key: False for key, presence in stated.items() if presence is Presence.ABSENT}
    said: dict[str, bool] = {}
    for one in judgements:
        match one.verdict:
            case Verdict.ACCEPTED:
                there = stated.get(one.key, Presence.PRESENT) is Presence.PRESENT
            case Verdict.REJECTED:
                there = False
            case _:
                there = True
        said[one.key] = said.get(one.key, False) or there
    return {**found, **said}


def overridden(judgements: Iterable[Judgement]) -> tuple[int, int]:
    """How many of the machine's statements were rejected or edited, and how many were judged."""
    verdicts = [one.verdict for one in judgements if one.finding_id is not None]
    return sum(v in {Verdict.REJECTED, Verdict.EDITED} for v in verdicts), len(verdicts)
