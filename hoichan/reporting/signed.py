"""The report as it leaves after a signature: a person's findings and words in place of the machine's.

What the machine said stays in its own report, which the signed one names as its predecessor.
"""

from __future__ import annotations

from dataclasses import replace

from hoichan import codes
from hoichan.reporting.begun import is_begun
from hoichan.reporting.review_words import HEADINGS, REASON_OF, SENTENCES
from hoichan.reporting.reviews import finding_id
from hoichan.reporting.volume_verdicts import HEADING, confirmed, volume_lines
from hoichan.types import (
    Box,
    Evidence,
    Finding,
    GraphicType,
    Judgement,
    Outcome,
    Presence,
    Report,
    ReportStatus,
    Review,
    ReviewKind,
    SOPInstanceUID,
    Study,
    Verdict,
)

MANUAL = "drawn by a person"  # Evidence.method


def signed_report(report: Report, review: Review, study: Study, *, time: str) -> Report:
    """The report as it leaves after a signature: the person's findings and words, in place of the machine's.

    `time`: of the signature, in words. What nobody judged is not in it; the machine's report keeps it.
    """
    judged = {one.finding_id: one for one in review.judgements if one.finding_id is not None}
    findings = [
        _judged(finding, one)
        for finding in report.findings
        if (one := judged.get(finding_id(report.report_uid, finding))) is not None
    ]
    findings += [
        _added(one, number, _image(report, study)) for number, one in enumerate(additions(review), start=1)
    ]
    alone = is_begun(review.judged, review.study_instance_uid, review.revision)
    sentences = SENTENCES["signed_alone" if alone else "signed_taken_back" if report.taken_back else "signed"]
    present = any(finding.presence is Presence.PRESENT for finding in findings)
    signed = replace(
        report,
        report_uid=review.report_uid,
        status=ReportStatus.FINAL if review.kind is ReviewKind.FINAL else ReportStatus.AMENDED,
        outcome=_outcome(report.outcome, present=present),
        findings=tuple(findings),
        refusals=(),
        disclaimer={
            language: text.format(name=review.reviewer_name, licence=review.licence_number, time=time)
            for language, text in sentences.items()
        },
        predecessor=None if alone and review.predecessor == review.judged else review.predecessor,
        created_at=review.signed_at,
        review=review,
        measurements=confirmed(report, review),
        machine_measurements=report.measurements,
        taken_back=False,  # the signed one stands
    )
    words = "\n".join([spoken(review), *_measured(signed, review)])
    return replace(signed, conclusion=dict.fromkeys(sentences, words))


def _measured(report: Report, review: Review) -> list[str]:
    lines = volume_lines(report, review, review.language)
    return [f"{HEADING[review.language]}: {' '.join(lines)}"] if lines else []


def additions(review: Review) -> tuple[Judgement, ...]:
    """What the person added, in the order of the review."""
    return tuple(one for one in review.judgements if one.finding_id is None)


def spoken(review: Review) -> str:
    """The sections in reading order, each on lines of its own, without headings of a machine."""
    language = review.language
    lines = []
    for name in ("description", "comparison", "conclusion", "recommendation"):
        text = getattr(review.sections, name).reveal().strip()
        if text:
            lines.append(f"{HEADINGS[name][language]}: {text}")
    if review.reason and review.kind.value in REASON_OF:
        lines.append(f"{REASON_OF[review.kind.value][language]}: {review.reason}")
    return "\n".join(lines)


def judgement_of(review: Review, finding: Finding) -> Judgement | None:
    """What the person said of one finding of the signed report."""
    for one in review.judgements:
        if one.finding_id is not None and one.finding_id == finding_id(review.judged, finding):
            return one
    for number, one in enumerate(additions(review), start=1):
        if is_added(finding) and (finding.algorithm_version, finding.key) == (str(number), one.key):
            return one
    return None


def verdict_of(review: Review) -> Verdict:
    """What became of the machine's result as a whole: accepted, edited or rejected."""
    said = {one.verdict for one in review.judgements} | {one.verdict for one in review.volumes}
    if said == {Verdict.REJECTED}:
        return Verdict.REJECTED
    return Verdict.EDITED if said - {Verdict.ACCEPTED} else Verdict.ACCEPTED


def is_added(finding: Finding) -> bool:
    """Whether a person, and no machine, made the finding: no algorithm has no name."""
    return not finding.algorithm_name


def _judged(finding: Finding, one: Judgement) -> Finding:
    presence = {
        Verdict.ACCEPTED: finding.presence,
        Verdict.EDITED: Presence.PRESENT,
        Verdict.REJECTED: Presence.ABSENT,
        Verdict.ADDED: Presence.PRESENT,
    }[one.verdict]
    here = (box for box in one.boxes if box.sop_instance_uid == finding.sop_instance_uid)
    own = tuple(_drawn(box) for box in here)
    return replace(finding, presence=presence, evidence=own or finding.evidence)


def _added(one: Judgement, number: int, image: SOPInstanceUID) -> Finding:
    return Finding(
        key=one.key,
        presence=Presence.PRESENT,
        probability=1.0,
        operating_point=0.0,
        calibration="none",
        tier=codes.FINDINGS[one.key].tier,
        evidence=tuple(_drawn(box) for box in one.boxes),
        algorithm_name="",
        algorithm_version=str(number),  # which of the additions
        sop_instance_uid=one.boxes[0].sop_instance_uid if one.boxes else image,
    )


def _image(report: Report, study: Study) -> SOPInstanceUID:
    """The image that a finding without a box is said of: what was analysed, else the first picture."""
    uids = [result.sop_instance_uid for result in report.results]
    uids += [finding.sop_instance_uid for finding in report.findings]
    uids += [one.sop_instance_uid for one in study.instances if one.rows and one.columns]
    return next(iter(uids), SOPInstanceUID(""))


def _drawn(box: Box) -> Evidence:
    left, top = box.column, box.row
    right, bottom = box.column + box.width, box.row + box.height
    return Evidence(
        referenced_sop_instance_uid=box.sop_instance_uid,
        graphic_type=GraphicType.POLYLINE,
        graphic_data=(left, top, right, top, right, bottom, left, bottom, left, top),
        method=MANUAL,
    )


def _outcome(outcome: Outcome, *, present: bool) -> Outcome:
    if outcome is Outcome.NOT_ANALYSED:
        return outcome
    partial = outcome in (Outcome.PARTIAL_WITH_FINDINGS, Outcome.PARTIAL_WITHOUT_FINDINGS)
    return {
        (False, True): Outcome.WITH_FINDINGS,
        (False, False): Outcome.WITHOUT_FINDINGS,
        (True, True): Outcome.PARTIAL_WITH_FINDINGS,
        (True, False): Outcome.PARTIAL_WITHOUT_FINDINGS,
    }[partial, present]
