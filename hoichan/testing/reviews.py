"""Builders of drafts and signed reviews. The doctor is invented."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hoichan.privacy import Phi
from hoichan.reporting.reviews import Signer, finding_id, needs_judgement, sign
from hoichan.types import (
    Box,
    Finding,
    Judgement,
    Report,
    Review,
    ReviewDraft,
    ReviewKind,
    Sections,
    Side,
    Study,
    Verdict,
)

SIGNER = Signer(user_name="bs.chau", full_name="Lê Minh Châu", licence_number="012345/HCM-CCHN")
SIGNED_AT = datetime(2026, 11, 20, 1, 32, 10, 125000, tzinfo=UTC)  # 08:32 in Việt Nam


def judgements(report: Report) -> tuple[Judgement, ...]:
    """Of the machine's findings: the first accepted, the second edited, the others rejected; one added."""
    first, *others = [finding for finding in report.findings if needs_judgement(finding)]
    given = [_of(report, first, Verdict.ACCEPTED)]
    for number, finding in enumerate(others):
        if number == 0:
            given.append(
                Judgement(
                    finding_id=finding_id(report.report_uid, finding),
                    key=finding.key,
                    verdict=Verdict.EDITED,
                    laterality=Side.LEFT,
                    site="lower_zone",
                    size_mm=35.0,
                    text=Phi("bờ không đều"),
                )
            )
        else:
            given.append(_of(report, finding, Verdict.REJECTED, reason="normal_structure: bóng vú"))
    box = Box(sop_instance_uid=first.sop_instance_uid, column=40.0, row=60.0, width=80.0, height=50.0)
    given.append(
        Judgement(
            finding_id=None,
            key="nodule",
            verdict=Verdict.ADDED,
            laterality=Side.RIGHT,
            size_mm=8,
            boxes=(box,),
        )
    )
    return tuple(given)


def _of(report: Report, finding: Finding, verdict: Verdict, reason: str = "") -> Judgement:
    return Judgement(
        finding_id=finding_id(report.report_uid, finding), key=finding.key, verdict=verdict, reason=reason
    )


def a_draft(
    report: Report, given: Sequence[Judgement] | None = None, *, conclusion: str = "Tràn dịch màng phổi."
) -> ReviewDraft:
    """A draft that can be signed."""
    return ReviewDraft(
        study_instance_uid=report.study_instance_uid,
        report_uid=report.report_uid,
        version=1,
        judgements=judgements(report) if given is None else tuple(given),
        sections=Sections(
            description=Phi("Mờ góc sườn hoành trái.\nBóng tim không to."),
            conclusion=Phi(conclusion),
            recommendation=Phi("Đề nghị siêu âm màng phổi."),
            comparison=Phi("Không có phim cũ để so sánh."),
        ),
        seconds_spent=74,
        author=SIGNER.user_name,
        updated_at=SIGNED_AT,
    )


def a_review(
    report: Report,
    study: Study,
    before: Sequence[Review] = (),
    *,
    kind: ReviewKind = ReviewKind.FINAL,
    draft: ReviewDraft | None = None,
    reason: str = "",
    now: datetime = SIGNED_AT,
    signer: Signer = SIGNER,
    language: str = "vi",
) -> Review:
    """A signed review."""
    return sign(
        report,
        draft or a_draft(report),
        study,
        before,
        signer=signer,
        kind=kind,
        reason=reason,
        language=language,
        may_train=True,
        now=now,
    )
