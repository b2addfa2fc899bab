"""What a radiologist may do with a report: the one state machine, the rules of judgements, and the signature.

    unverified --final--> final --amendment|addendum--> amended --withdrawal--> withdrawn --final--> final

A draft lies beside a report and changes nothing of where it stands. Only a person with a licence takes a
step, each step is a signature, and no setting can take one: nothing here reads a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hoichan import codes
from hoichan.errors import NotSignable, ReportChanged, ReviewRefused, StepRefused
from hoichan.reporting.review_words import REJECTION_REASONS, SITES
from hoichan.reporting.sealing import SECTIONS, UNSEALED, normal, sealed, typed
from hoichan.reporting.volume_verdicts import check_volumes, check_volumes_complete, rebased_volumes
from hoichan.types import (
    Box,
    Finding,
    Judgement,
    Presence,
    Report,
    ReportStatus,
    Review,
    ReviewDraft,
    ReviewKind,
    SOPInstanceUID,
    Study,
    Verdict,
)
from hoichan.uids import derived_uid, derived_uuid

TRANSITIONS: Mapping[tuple[ReportStatus, ReviewKind], ReportStatus] = {
    (ReportStatus.UNVERIFIED, ReviewKind.FINAL): ReportStatus.FINAL,
    (ReportStatus.FINAL, ReviewKind.AMENDMENT): ReportStatus.AMENDED,
    (ReportStatus.FINAL, ReviewKind.ADDENDUM): ReportStatus.AMENDED,
    (ReportStatus.FINAL, ReviewKind.WITHDRAWAL): ReportStatus.WITHDRAWN,
    (ReportStatus.AMENDED, ReviewKind.AMENDMENT): ReportStatus.AMENDED,
    (ReportStatus.AMENDED, ReviewKind.ADDENDUM): ReportStatus.AMENDED,
    (ReportStatus.AMENDED, ReviewKind.WITHDRAWAL): ReportStatus.WITHDRAWN,
    (ReportStatus.WITHDRAWN, ReviewKind.FINAL): ReportStatus.FINAL,
}
LONGEST_TEXT = 8000  # characters of one section
LONGEST_NOTE = 500  # of a judgement's words, of a reason
MOST_JUDGEMENTS = 200
MOST_BOXES = 20
LARGEST_MM = 1000.0
EDGE = 0.5  # pixels that a drawn box may stand over the edge: screens round


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A person who has just shown the password again."""

    user_name: str
    full_name: str
    licence_number: str


def next_status(status: ReportStatus, kind: ReviewKind) -> ReportStatus:
    """Where a signature leads. Raises StepRefused where the report does not stand where it begins."""
    try:
        return TRANSITIONS[status, kind]
    except KeyError:
        raise StepRefused(f"A report that is {status} takes no {kind}.") from None


def status_after(reviews: Sequence[Review], *, stands: bool = True) -> ReportStatus:
    """Where a report stands after these signatures, oldest first.

    `stands`: False where the last one was taken back without a withdrawal: its patient was another.
    """
    if not reviews:
        return ReportStatus.UNVERIFIED
    if not stands:
        return ReportStatus.WITHDRAWN
    return {
        ReviewKind.FINAL: ReportStatus.FINAL,
        ReviewKind.AMENDMENT: ReportStatus.AMENDED,
        ReviewKind.ADDENDUM: ReportStatus.AMENDED,
        ReviewKind.WITHDRAWAL: ReportStatus.WITHDRAWN,
    }[reviews[-1].kind]


def finding_id(report_uid: str, finding: Finding) -> str:
    """The identity of one finding of one report; that of its FHIR Observation."""
    return str(
        derived_uuid(report_uid, "observation", finding.key, finding.sop_instance_uid, finding.algorithm_name)
    )


def needs_judgement(finding: Finding) -> bool:
    """Whether nobody can sign before saying something about it."""
    return finding.presence is not Presence.ABSENT


# ---------------------------------------------------------------------- rules
def check(report: Report, judgements: Sequence[Judgement], study: Study) -> None:
    """Raises ReviewRefused for a judgement that cannot be kept, even in a draft."""
    if len(judgements) > MOST_JUDGEMENTS:
        raise ReviewRefused("too_long")
    if report.taken_back and any(one.finding_id is not None for one in judgements):
        raise ReviewRefused("taken_back", "The result that a judgement speaks of was taken back.")
    machine = {finding_id(report.report_uid, finding): finding for finding in report.findings}
    images = {one.sop_instance_uid: one for one in study.instances}
    seen: set[str] = set()
    for one in judgements:
        _check_identity(one, machine, seen)
        if one.verdict is Verdict.REJECTED and one.reason:
            if one.reason.partition(":")[0].strip() not in REJECTION_REASONS:
                raise ReviewRefused("reason_needed")
        elif one.reason:
            raise ReviewRefused("wrong_verdict", "Only a rejection has a reason.")
        if one.site and one.site not in SITES:
            raise ReviewRefused("unknown_site")
        if one.size_mm is not None and not 0 < one.size_mm <= LARGEST_MM:
            raise ReviewRefused("wrong_size")
        if len(one.text.reveal()) > LONGEST_NOTE or len(one.reason) > LONGEST_NOTE:
            raise ReviewRefused("too_long")
        if len(one.boxes) > MOST_BOXES:
            raise ReviewRefused("wrong_box")
        for box in one.boxes:
            image = images.get(box.sop_instance_uid)
            if image is None or not _is_inside(box, image.rows, image.columns):
                raise ReviewRefused("wrong_box", "A box is not on an image of this study.")


def _check_identity(one: Judgement, machine: Mapping[str, Finding], seen: set[str]) -> None:
    if one.key not in codes.FINDINGS:
        raise ReviewRefused("unknown_key")
    if (one.finding_id is None) != (one.verdict is Verdict.ADDED):
        raise ReviewRefused("wrong_verdict", "What is added has no finding of the machine, all else has one.")
    if one.finding_id is None:
        return
    finding = machine.get(one.finding_id)
    if finding is None or finding.key != one.key:
        raise ReviewRefused("unknown_finding", "A judgement speaks of no finding of this report.")
    if one.finding_id in seen:
        raise ReviewRefused("judged_twice")
    seen.add(one.finding_id)
    if finding.presence is Presence.ABSENT and one.verdict is not Verdict.ACCEPTED:
        raise ReviewRefused("negative_rejected", "What the machine did not see is added, not rejected.")


def check_complete(report: Report, draft: ReviewDraft) -> None:
    """Raises ReviewRefused for a draft that cannot be signed yet."""
    judged = {one.finding_id for one in draft.judgements}
    for finding in report.findings:
        if needs_judgement(finding) and finding_id(report.report_uid, finding) not in judged:
            raise ReviewRefused("unjudged", "A finding of the machine has no verdict yet.")
    if any(one.verdict is Verdict.REJECTED and not one.reason for one in draft.judgements):
        raise ReviewRefused("reason_needed", "A rejection needs a reason.")
    check_volumes_complete(draft.volumes)
    if not draft.sections.conclusion.reveal().strip():
        raise ReviewRefused("conclusion_needed", "A report without a conclusion is not signed.")


def check_words(draft_sections: Mapping[str, str]) -> None:
    """Raises ReviewRefused for a text that is too long."""
    if any(len(draft_sections[name]) > LONGEST_TEXT for name in SECTIONS if name in draft_sections):
        raise ReviewRefused("too_long")


def _is_inside(box: Box, rows: int | None, columns: int | None) -> bool:
    if box.column < 0 or box.row < 0 or box.width <= 0 or box.height <= 0:
        return False
    right, bottom = box.column + box.width, box.row + box.height
    return not (rows and bottom > rows + EDGE) and not (columns and right > columns + EDGE)


def rebased(draft: ReviewDraft, read: Report | None, report: Report) -> ReviewDraft:
    """A draft about a former report as one about this: verdicts follow the same finding of the same model.

    `read`: the report that the draft was written about. What has no counterpart is left out.
    """
    if draft.report_uid == report.report_uid:
        return draft
    here = {_same(finding): finding for finding in report.findings}
    then = {finding_id(read.report_uid, finding): finding for finding in read.findings} if read else {}
    kept = []
    for one in draft.judgements:
        if one.finding_id is None:
            kept.append(one)
            continue
        former = then.get(one.finding_id)
        finding = here.get(_same(former)) if former is not None else None
        if finding is not None and former is not None and finding.presence is former.presence:
            kept.append(replace(one, finding_id=finding_id(report.report_uid, finding)))
    volumes = rebased_volumes(draft.volumes, read, report)
    return replace(draft, report_uid=report.report_uid, judgements=tuple(kept), volumes=volumes)


def _same(finding: Finding) -> tuple[str, str, str]:
    return finding.key, finding.sop_instance_uid, finding.algorithm_name


# ---------------------------------------------------------------------- signing
def sign(
    report: Report,
    draft: ReviewDraft,
    study: Study,
    before: Sequence[Review],
    *,
    signer: Signer,
    kind: ReviewKind,
    reason: str,
    language: str,
    may_train: bool,
    now: datetime,
    stands: bool = True,
) -> Review:
    """The signed review. `before`: all former signatures of the study, oldest first; `now` is aware UTC.

    `stands`: whether the last of them does (`status_after`).

    Raises StepRefused, ReportChanged, ReviewRefused or NotSignable.
    """
    if not signer.licence_number.strip() or not signer.full_name.strip():
        raise NotSignable("no_licence")
    if kind is ReviewKind.WITHDRAWAL:
        raise StepRefused("A withdrawal has no draft.")
    next_status(status_after(before, stands=stands), kind)
    if draft.report_uid != report.report_uid:
        raise ReportChanged
    check(report, draft.judgements, study)
    check_volumes(report, draft.volumes)
    check_complete(report, draft)
    reason = typed(reason)
    if kind is not ReviewKind.FINAL and not reason:
        raise ReviewRefused("reason_needed", "An amendment or addendum says why.")
    if len(reason) > LONGEST_TEXT:
        raise ReviewRefused("too_long")
    number = len(before) + 1
    uid = SOPInstanceUID(derived_uid("review", study.study_instance_uid, number, report.report_uid))
    first = kind is ReviewKind.FINAL
    return sealed(
        Review(
            report_uid=uid,
            judged=report.report_uid,
            predecessor=report.report_uid if first else before[-1].report_uid,
            known_as=(report.report_uid if not before else uid) if first else before[-1].known_as,
            study_instance_uid=study.study_instance_uid,
            revision=report.revision,
            kind=kind,
            reviewer=signer.user_name,
            reviewer_name=normal(signer.full_name),
            licence_number=normal(signer.licence_number),
            signed_at=now,
            judgements=draft.judgements,
            sections=draft.sections,
            language=language,
            reason=reason,
            may_train=may_train,
            seconds_spent=draft.seconds_spent,
            content_sha256=UNSEALED,
            volumes=draft.volumes,
        )
    )


def withdraw(
    before: Sequence[Review], *, uid: SOPInstanceUID, signer: Signer, reason: str, now: datetime
) -> Review:
    """The signed withdrawal of the last of these reviews. Raises StepRefused, ReviewRefused or NotSignable.

    `uid`: of the report that takes it back (`hoichan.encoding.retraction.retraction_uid`).
    """
    if not signer.licence_number.strip() or not signer.full_name.strip():
        raise NotSignable("no_licence")
    next_status(status_after(before), ReviewKind.WITHDRAWAL)
    reason = typed(reason)
    if not reason:
        raise ReviewRefused("reason_needed", "A withdrawal says why.")
    if len(reason) > LONGEST_TEXT:
        raise ReviewRefused("too_long")
    last = before[-1]
    return sealed(
        replace(
            last,
            report_uid=uid,
            predecessor=last.report_uid,
            kind=ReviewKind.WITHDRAWAL,
            reviewer=signer.user_name,
            reviewer_name=normal(signer.full_name),
            licence_number=normal(signer.licence_number),
            signed_at=now,
            reason=reason,
            may_train=False,
            seconds_spent=0,
            content_sha256=UNSEALED,
        )
    )
