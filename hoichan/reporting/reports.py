"""From findings and refusals to a report: outcome, order, and the sentences in Vietnamese and English.

The wording rules are the product's promise that nothing a machine wrote looks like a doctor's word:
"AI gợi ý", never "chẩn đoán"; nothing found is never "normal"; a number is "điểm AI" unless it was
calibrated; what was not analysed says so, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from hoichan import codes
from hoichan.types import (
    Finding,
    Measurement,
    ModelManifest,
    Outcome,
    Presence,
    Refusal,
    RefusalCode,
    Report,
    ReportStatus,
    SOPInstanceUID,
    Study,
    Tier,
    VolumeManifest,
    VolumeResult,
)
from hoichan.types import InferenceResult as Result
from hoichan.uids import derived_uid

LANGUAGES = ("vi", "en")
CONFIDENCE: Mapping[str, str] = {"vi": "độ tin cậy của AI", "en": "AI confidence"}
THRESHOLD: Mapping[str, str] = {"vi": "ngưỡng", "en": "threshold"}
NOT_REACHED: Mapping[str, str] = {"vi": "Đã xét, không vượt ngưỡng", "en": "Considered, below threshold"}
UNDETERMINED: Mapping[str, str] = {"vi": "Không xác định được", "en": "Undetermined"}
EARLIER_STUDIES: Mapping[str, str] = {
    "vi": "Có ca chụp trước, AI không so sánh",
    "en": "Earlier studies at hand, not compared by AI",
}
OTHERS_NOT_ANALYSED: Mapping[str, str] = {
    "vi": "Ca chụp còn hình KHÔNG PHÂN TÍCH",
    "en": "Further images of the study NOT ANALYSED",
}

# Refusals of an image that the model had taken up: the answer has a hole.
ATTEMPTED = frozenset(
    {
        RefusalCode.MODEL_FAILED,
        RefusalCode.UNDECODABLE_PIXELS,
        RefusalCode.PIXELS_OUT_OF_RANGE,
        RefusalCode.NOT_FRONTAL_CHEST,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a conclusion has to speak of beside findings."""

    measured: tuple[Measurement, ...]
    films: bool  # whether anybody looked for findings


_PRESENCE_ORDER = (Presence.PRESENT, Presence.INDETERMINATE, Presence.ABSENT)
_TIER_ORDER = tuple(Tier)


def report_uid_of(study: Study, manifests: Sequence[ModelManifest | VolumeManifest]) -> SOPInstanceUID:
    """The same for the same study, revision and models that answered."""
    digests = sorted(manifest.digest for manifest in manifests)
    return SOPInstanceUID(derived_uid("report", study.study_instance_uid, study.revision, *digests))


def follows(
    own: SOPInstanceUID, told: Sequence[tuple[SOPInstanceUID, SOPInstanceUID | None]]
) -> tuple[SOPInstanceUID, SOPInstanceUID | None]:
    """The UID of an answer, and the report that it replaces.

    `own` as `report_uid_of` gives it; `told` are the machine's reports up to this revision with what each
    replaced, newest first. The same answer twice is the same report; one that was given before and replaced
    since is a report of its own, or the receivers would keep the one between.
    """
    if own not in {uid for uid, _ in told}:
        return own, told[0][0] if told else None
    newest, replaced = told[0]
    if newest == own or (replaced is not None and newest == _again(own, replaced)):
        return newest, replaced
    return _again(own, newest), newest


def _again(own: SOPInstanceUID, replaced: SOPInstanceUID) -> SOPInstanceUID:
    return SOPInstanceUID(derived_uid("report", own, replaced))


def compose(
    study: Study,
    *,
    results: Sequence[Result],
    findings: Sequence[Finding],
    refusals: Sequence[Refusal],
    manifests: Sequence[ModelManifest | VolumeManifest],
    considered: Sequence[ModelManifest | VolumeManifest] = (),
    predecessor: SOPInstanceUID | None,
    now: datetime,
    volumes: Sequence[VolumeResult] = (),
    report_uid: SOPInstanceUID | None = None,
) -> Report:
    """The report of one revision. `manifests` are the models that answered, `now` is aware UTC.

    `considered` are all that were asked: when none answered, the refusal is theirs, and so is the
    disclaimer. `report_uid` and `predecessor` as `follows` gives them; None: that of `report_uid_of`.
    """
    outcome = _outcome([*results, *volumes], findings, refusals)
    measured = tuple(one for volume in volumes for one in volume.measurements)
    spoken = Spoken(measured=measured, films=bool(results))
    ordered = tuple(sorted(findings, key=_reading_order))
    told = tuple(dict.fromkeys(refusals))
    return Report(
        report_uid=report_uid or report_uid_of(study, manifests),
        study_instance_uid=study.study_instance_uid,
        revision=study.revision,
        status=ReportStatus.UNVERIFIED,
        outcome=outcome,
        findings=ordered,
        refusals=told,
        manifests=tuple(manifests),
        results=tuple(results),
        conclusion={
            language: _conclusion(outcome, ordered, told, language, spoken)
            + _earlier(study.earlier_study_dates, language)
            for language in LANGUAGES
        },
        disclaimer={language: _disclaimer(manifests or considered, language) for language in LANGUAGES},
        predecessor=predecessor,
        created_at=now,
        measurements=measured,
        volumes=tuple(volumes),
    )


def is_calibrated(finding: Finding) -> bool:
    """Whether the number may be read as a confidence."""
    return finding.calibration != "none"


def score_label(finding: Finding, language: str) -> str:
    """ "điểm AI", or "độ tin cậy của AI" when calibrated."""
    return (CONFIDENCE if is_calibrated(finding) else codes.SCORE)[language]


def number_text(finding: Finding, probability: float, language: str) -> str:
    """0.734 as "0,73", or "73%" when calibrated; below 10% with a decimal, where rare findings lie.

    A bare score never looks like a percentage of certainty.
    """
    percent = probability * 100
    if is_calibrated(finding):
        text = f"{percent:.0f}%" if percent >= 9.95 else f"{percent:.1f}%"
    else:
        text = f"{probability:.2f}"
    return text.replace(".", ",") if language == "vi" else text


def score_text(finding: Finding, language: str) -> str:
    """The number with its name, e.g. "điểm AI 0,73"."""
    return f"{score_label(finding, language)} {number_text(finding, finding.probability, language)}"


def refusal_reasons(refusals: Iterable[Refusal], language: str) -> tuple[str, ...]:
    """Each reason once, as a sentence, in the order it came."""
    return tuple(dict.fromkeys(codes.refusal_words(one.code, one.detail)[language] for one in refusals))


def measurement_lines(measurements: Sequence[Measurement], language: str) -> tuple[str, ...]:
    """Each volume as a statement that stands alone: "AI đo: Phần trước hồi hải mã 1,52 ml (chưa ai đọc)"."""
    several = len({one.series_instance_uid for one in measurements}) > 1
    order = list(dict.fromkeys(one.series_instance_uid for one in measurements))
    lines = []
    for one in measurements:
        which = f" ({codes.SERIES[language]} {order.index(one.series_instance_uid) + 1})" if several else ""
        lines.append(f"{codes.MEASURED[language]}: {measurement_text(one, language)}{which}.")
    return tuple(lines)


def measurement_text(one: Measurement, language: str) -> str:
    """ "Anterior part of hippocampus 1.52 ml"."""
    return f"{one.display.get(language) or one.display['en']} {amount_text(one, language)}"


def amount_text(one: Measurement, language: str) -> str:
    """ "1.52 ml", with a comma in Vietnamese."""
    number = f"{one.value:.2f}" if one.value < 100 else f"{one.value:.1f}"
    return f"{number.replace('.', ',') if language == 'vi' else number} {one.unit}"


def _outcome(results: Sequence[object], findings: Sequence[Finding], refusals: Sequence[Refusal]) -> Outcome:
    if not results:
        return Outcome.NOT_ANALYSED
    partial = any(refusal.code in ATTEMPTED for refusal in refusals)
    found = any(finding.presence is Presence.PRESENT for finding in findings)
    return {
        (False, True): Outcome.WITH_FINDINGS,
        (False, False): Outcome.WITHOUT_FINDINGS,
        (True, True): Outcome.PARTIAL_WITH_FINDINGS,
        (True, False): Outcome.PARTIAL_WITHOUT_FINDINGS,
    }[partial, found]


def _reading_order(finding: Finding) -> tuple[int, int, float, str, str]:
    """Positives first, by tier, then by number; a total order, so that two runs agree."""
    return (
        _PRESENCE_ORDER.index(finding.presence),
        _TIER_ORDER.index(finding.tier),
        -finding.probability,
        finding.key,
        finding.sop_instance_uid,
    )


def _conclusion(
    outcome: Outcome, findings: Sequence[Finding], refusals: Sequence[Refusal], language: str, spoken: Spoken
) -> str:
    reasons = " ".join(refusal_reasons(refusals, language))
    if outcome is Outcome.NOT_ANALYSED:
        return f"{codes.NOT_ANALYSED[language]}: {reasons or codes.REFUSALS[RefusalCode.NO_MODEL][language]}"
    by_presence = {
        presence: [finding for finding in findings if finding.presence is presence] for presence in Presence
    }
    sentences = [_suspicions(by_presence[Presence.PRESENT], language)] if spoken.films else []
    if spoken.measured:
        sentences += [*measurement_lines(spoken.measured, language), codes.NO_REFERENCE[language]]
        if not spoken.films:
            sentences.append(codes.NOT_SEARCHED[language])
    for heading, presence in ((UNDETERMINED, Presence.INDETERMINATE), (NOT_REACHED, Presence.ABSENT)):
        names = _names(by_presence[presence], language)
        if names:
            sentences.append(f"{heading[language]}: {names}.")
    if reasons:
        sentences.append(f"{OTHERS_NOT_ANALYSED[language]}: {reasons}")
    return " ".join(sentences)


def _earlier(days: Sequence[date], language: str) -> str:
    """Which earlier studies are at hand; nothing was compared with them, and the sentence says so."""
    if not days:
        return ""
    form = "%d/%m/%Y" if language == "vi" else "%Y-%m-%d"
    return f" {EARLIER_STUDIES[language]}: {', '.join(day.strftime(form) for day in days)}."


def _suspicions(positives: Sequence[Finding], language: str) -> str:
    if not positives:
        return codes.NOTHING_ABOVE_THRESHOLD[language]
    parts = [
        f"{codes.FINDINGS[finding.key].display[language]} ({score_text(finding, language)}, "
        f"{THRESHOLD[language]} {number_text(finding, finding.operating_point, language)})"
        for finding in positives
    ]
    return f"{codes.SUSPECTED[language]}: {'; '.join(parts)}."


def _names(findings: Sequence[Finding], language: str) -> str:
    return ", ".join(
        dict.fromkeys(codes.FINDINGS[finding.key].display[language].lower() for finding in findings)
    )


def _disclaimer(manifests: Sequence[ModelManifest | VolumeManifest], language: str) -> str:
    """What each model says of itself, then the footer. A missing translation falls back to English."""
    own = (manifest.disclaimer.get(language) or manifest.disclaimer.get("en", "") for manifest in manifests)
    sentences = [text.rstrip(".") + "." for text in dict.fromkeys(own) if text]
    return " ".join([*sentences, codes.FOOTER[language]])
