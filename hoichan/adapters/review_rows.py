"""Between reviews, drafts and their rows; and the machine's reports as the encoders need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from hoichan import codes
from hoichan.adapters import views
from hoichan.adapters.rows import Row
from hoichan.reporting.sealing import (
    judgements_json,
    judgements_of,
    sections_json,
    sections_of,
    volumes_json,
    volumes_of,
)
from hoichan.types import (
    Calibration,
    Finding,
    InferenceResult,
    InputSpec,
    ModelManifest,
    Output,
    Report,
    Review,
    ReviewDraft,
    ReviewKind,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)


def draft_row(draft: ReviewDraft) -> dict[str, object]:
    """A draft. What a person wrote is revealed here: the database may hold it."""
    return {
        "study_instance_uid": draft.study_instance_uid,
        "report_uid": draft.report_uid,
        "version": draft.version,
        "judgements": judgements_json(draft.judgements),
        "sections": sections_json(draft.sections),
        "seconds_spent": draft.seconds_spent,
        "author": draft.author,
        "updated_at": draft.updated_at,
        "volumes": volumes_json(draft.volumes) or None,
    }


def draft(row: Row) -> ReviewDraft:
    """A draft from its row."""
    return ReviewDraft(
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        report_uid=SOPInstanceUID(row["report_uid"]),
        version=row["version"],
        judgements=judgements_of(row["judgements"]),
        sections=sections_of(row["sections"]),
        seconds_spent=row["seconds_spent"],
        author=row["author"],
        updated_at=row["updated_at"],
        volumes=volumes_of(row["volumes"]),
    )


def review_row(review: Review, number: int) -> dict[str, object]:
    """A signed review; `number`: which of its study."""
    return {
        "report_uid": review.report_uid,
        "study_instance_uid": review.study_instance_uid,
        "number": number,
        "judged": review.judged,
        "predecessor": review.predecessor,
        "known_as": review.known_as,
        "revision": review.revision,
        "kind": review.kind.value,
        "reviewer": review.reviewer,
        "reviewer_name": review.reviewer_name,
        "licence_number": review.licence_number,
        "signed_at": review.signed_at,
        "judgements": judgements_json(review.judgements),
        "sections": sections_json(review.sections),
        "language": review.language,
        "reason": review.reason,
        "may_train": review.may_train,
        "seconds_spent": review.seconds_spent,
        "content_sha256": review.content_sha256,
        "volumes": volumes_json(review.volumes) or None,
    }


def review(row: Row) -> Review:
    """A signed review from its row, exactly as it was signed."""
    return Review(
        report_uid=SOPInstanceUID(row["report_uid"]),
        judged=SOPInstanceUID(row["judged"]),
        predecessor=SOPInstanceUID(row["predecessor"]),
        known_as=SOPInstanceUID(row["known_as"]),
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        revision=row["revision"],
        kind=ReviewKind(row["kind"]),
        reviewer=row["reviewer"],
        reviewer_name=row["reviewer_name"],
        licence_number=row["licence_number"],
        signed_at=row["signed_at"],
        judgements=judgements_of(row["judgements"]),
        sections=sections_of(row["sections"]),
        language=row["language"],
        reason=row["reason"],
        may_train=bool(row["may_train"]),
        seconds_spent=row["seconds_spent"],
        content_sha256=Sha256(row["content_sha256"]),
        volumes=volumes_of(row["volumes"]),
    )


def machine_report(row: Row, ran: Sequence[Row], study: Study, *, maps: bool = False) -> Report:
    """A kept report of the machine, with as much of its models as their outputs need to be said again.

    `maps`: with the heat maps of its findings, in 256 steps.
    """
    view = views.report(row)
    findings = view.findings
    if maps:
        findings = tuple(map(_with_maps, findings, row["findings"]))
    own = {
        language: text.removesuffix(codes.FOOTER.get(language, "")).strip()
        for language, text in view.disclaimer.items()
    }
    manifests = tuple(_manifest(one, view, own) for one in view.algorithms)
    return Report(
        report_uid=view.report_uid,
        study_instance_uid=study.study_instance_uid,
        revision=view.revision,
        status=view.status,
        outcome=view.outcome,
        findings=findings,
        refusals=view.refusals,
        manifests=manifests,
        results=tuple(one for one in (_result(each, study) for each in ran) if one is not None),
        conclusion=view.conclusion,
        disclaimer=view.disclaimer,
        predecessor=SOPInstanceUID(row["predecessor"]) if row["predecessor"] else None,
        created_at=view.created_at,
        measurements=view.measurements,
        taken_back=view.taken_back,
    )


def _with_maps(finding: Finding, kept: Row) -> Finding:
    from hoichan.adapters.heatmaps import unpacked  # noqa: PLC0415  only who draws pays for it

    evidence = tuple(
        replace(one, heatmap=unpacked(of_it["heatmap"])) if "heatmap" in of_it else one
        for one, of_it in zip(finding.evidence, kept["evidence"], strict=True)
    )
    return replace(finding, evidence=evidence)


def _manifest(one: views.AlgorithmView, view: views.ReportView, own: dict[str, str]) -> ModelManifest:
    """Name, version and weights give the same Device UID as when the report was made."""
    said = {
        finding.key: finding
        for finding in view.findings
        if (finding.algorithm_name, finding.algorithm_version) == (one.algorithm_name, one.algorithm_version)
    }
    return ModelManifest(
        name=one.algorithm_name,
        algorithm_name=one.algorithm_name,
        algorithm_version=one.algorithm_version,
        algorithm_source=one.algorithm_source,
        intended_use={},
        disclaimer={language: text for language, text in own.items() if text},
        runtime="",
        weights=PurePosixPath(),
        weights_sha256=one.weights_sha256,
        accepts=InputSpec(
            modality=(), body_part_examined=(), view_position=(), patient_age_years=(0, 150), size=0
        ),
        outputs=tuple(
            Output(
                name=key,
                index=index,
                finding_key=key,
                operating_point=finding.operating_point,
                calibration=Calibration(method=finding.calibration),
                tier=finding.tier,
            )
            for index, (key, finding) in enumerate(said.items())
        ),
        license="",
        status=one.status,
        root=PurePosixPath(),
    )


def _result(row: Row, study: Study) -> InferenceResult | None:
    for series in study.series:
        for instance in series.instances:
            if instance.sop_instance_uid == row["sop_instance_uid"]:
                return InferenceResult(
                    study_instance_uid=study.study_instance_uid,
                    revision=study.revision,
                    series_instance_uid=SeriesInstanceUID(series.series_instance_uid),
                    sop_instance_uid=instance.sop_instance_uid,
                    sop_class_uid=instance.sop_class_uid,
                    algorithm_name=row["algorithm_name"],
                    algorithm_version=row["algorithm_version"],
                    weights_sha256=Sha256(row["weights_sha256"]),
                    logits=row["logits"],
                    gate=row["gate"],
                    rows=instance.rows or 0,
                    columns=instance.columns or 0,
                    started_at=row["started_at"],
                    ended_at=row["ended_at"],
                    provider=row["provider"],
                    warnings=tuple(row["warnings"]),
                )
    return None  # its image is not of this study any more
