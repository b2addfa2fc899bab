"""Between our values and database rows: one function a table and direction, no queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa

from hoichan.privacy import Phi
from hoichan.types import (
    Code,
    Delivery,
    DeliveryState,
    Document,
    DocumentKind,
    Evidence,
    Finding,
    InferenceResult,
    Instance,
    Measurement,
    Patient,
    Report,
    Series,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
    Tier,
    Urgency,
    VolumeResult,
)

Row = Mapping[Any, Any]
NO_TIER = 9  # sorts after every tier


def insert_once(connection: sa.Connection, table: sa.Table, values: Mapping[str, object]) -> bool:
    """Insert unless the primary key is there; True when this call inserted."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]  # noqa: PLC0415
    key = next(iter(table.primary_key.columns))
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(key)
    return connection.execute(statement).first() is not None


def tier_rank(tier: Tier | None) -> int:
    """0 for the most urgent tier; NO_TIER when nothing is flagged."""
    return NO_TIER if tier is None else list(Tier).index(tier)


def study_row(study: Study) -> dict[str, object]:
    """A study without its state. Personal values are revealed here: the database may hold them."""
    patient = study.patient
    received = [instance.received_at for instance in study.instances]
    return {
        "study_instance_uid": study.study_instance_uid,
        "calling_ae_title": study.calling_ae_title,
        "patient_id": patient.patient_id.reveal(),
        "issuer_of_patient_id": patient.issuer_of_patient_id,
        "national_id": patient.national_id.reveal() if patient.national_id else None,
        "patient_name": patient.patient_name.reveal(),
        "patient_birth_date": patient.patient_birth_date.reveal() if patient.patient_birth_date else None,
        "patient_sex": patient.patient_sex,
        "patient_age_years": patient.patient_age_years,
        "accession_number": study.accession_number,
        "study_id": study.study_id,
        "study_datetime": study.study_datetime,
        "study_description": study.study_description,
        **({"urgency": study.urgency.rank} if study.urgency else {}),
        "modalities": "\\".join(sorted({one.modality for one in study.series})),
        "first_received_at": min(received),
        "last_received_at": max(received),
    }


def series_row(study: Study, one: Series) -> dict[str, object]:
    """A series without its instances."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "series_instance_uid": one.series_instance_uid,
        "modality": one.modality,
        "series_number": one.series_number,
        "series_description": one.series_description,
        "body_part_examined": one.body_part_examined,
        "view_position": one.view_position,
        "laterality": one.laterality,
        "manufacturer": one.manufacturer,
        "manufacturer_model_name": one.manufacturer_model_name,
    }


def instance_row(study: Study, one: Series, instance: Instance) -> dict[str, object]:
    """An instance that is not assembled yet."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "series_instance_uid": one.series_instance_uid,
        "revision": None,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "instance_number": instance.instance_number,
        "number_of_frames": instance.number_of_frames,
        "rows": instance.rows,
        "columns": instance.columns,
        "image_type": list(instance.image_type),
        "presentation_intent_type": instance.presentation_intent_type,
        "path": str(instance.path),
        "sha256": instance.sha256,
        "received_at": instance.received_at,
    }


def study(head: Row, groups: Sequence[Row], found: Sequence[Row], revision: int) -> Study:
    """A study at one revision from its rows."""
    by_series: dict[str, list[Instance]] = {}
    for row in found:
        by_series.setdefault(row["series_instance_uid"], []).append(_instance(row))
    return Study(
        study_instance_uid=StudyInstanceUID(head["study_instance_uid"]),
        revision=revision,
        patient=patient(head),
        accession_number=head["accession_number"],
        placer_order_number=head.get("placer_order_number"),
        study_id=head["study_id"],
        study_datetime=head["study_datetime"],
        study_description=head["study_description"],
        urgency=tuple(Urgency)[head["urgency"]],
        calling_ae_title=head["calling_ae_title"],
        closed_by=head["closed_by"],
        series=tuple(
            _series(group, by_series[group["series_instance_uid"]])
            for group in groups
            if group["series_instance_uid"] in by_series
        ),
        state=StudyState(head["revision_state"]),
    )


def patient(head: Row) -> Patient:
    """Whose study it is, from a row of `studies`."""
    return Patient(
        patient_id=Phi(head["patient_id"]),
        issuer_of_patient_id=head["issuer_of_patient_id"],
        national_id=Phi(head["national_id"]) if head["national_id"] else None,
        patient_name=Phi(head["patient_name"]),
        patient_birth_date=Phi(head["patient_birth_date"]) if head["patient_birth_date"] else None,
        patient_sex=head["patient_sex"],
        patient_age_years=head["patient_age_years"],
        insurance_number=Phi(head["insurance_number"]) if head.get("insurance_number") else None,
    )


def _series(group: Row, members: Sequence[Instance]) -> Series:
    return Series(
        series_instance_uid=SeriesInstanceUID(group["series_instance_uid"]),
        modality=group["modality"],
        series_number=group["series_number"],
        series_description=group["series_description"],
        body_part_examined=group["body_part_examined"],
        view_position=group["view_position"],
        laterality=group["laterality"],
        manufacturer=group["manufacturer"],
        manufacturer_model_name=group["manufacturer_model_name"],
        instances=tuple(members),
    )


def _instance(row: Row) -> Instance:
    return Instance(
        sop_instance_uid=SOPInstanceUID(row["sop_instance_uid"]),
        sop_class_uid=row["sop_class_uid"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        instance_number=row["instance_number"],
        number_of_frames=row["number_of_frames"],
        rows=row["rows"],
        columns=row["columns"],
        image_type=tuple(row["image_type"]),
        presentation_intent_type=row["presentation_intent_type"],
        path=PurePosixPath(row["path"]),
        sha256=Sha256(row["sha256"]),
        received_at=row["received_at"],
    )


def report_row(report: Report) -> dict[str, object]:
    """A report; its documents and results have tables of their own."""
    return {
        "report_uid": report.report_uid,
        "study_instance_uid": report.study_instance_uid,
        "revision": report.revision,
        "status": str(report.status),
        "outcome": str(report.outcome),
        "findings": [_finding(finding) for finding in report.findings],
        "refusals": [
            {
                "code": str(refusal.code),
                "algorithm_name": refusal.algorithm_name,
                "series_instance_uid": refusal.series_instance_uid,
                "sop_instance_uid": refusal.sop_instance_uid,
                "detail": refusal.detail,
            }
            for refusal in report.refusals
        ],
        "algorithms": [
            {
                "algorithm_name": manifest.algorithm_name,
                "algorithm_version": manifest.algorithm_version,
                "algorithm_source": manifest.algorithm_source,
                "weights_sha256": manifest.weights_sha256,
                "status": manifest.status,
            }
            for manifest in report.manifests
        ],
        "conclusion": dict(report.conclusion),
        "disclaimer": dict(report.disclaimer),
        "predecessor": report.predecessor,
        "created_at": report.created_at,
        "measurements": [_measurement(one) for one in report.measurements] or None,
    }


def _measurement(one: Measurement) -> dict[str, object]:
    return {
        "code": asdict(one.code),
        "region": None if one.region is None else asdict(one.region),
        "display": dict(one.display),
        "value": one.value,
        "unit": one.unit,
        "segment_number": one.segment_number,
        "segmentations": dict(one.segmentations),
        "series_instance_uid": one.series_instance_uid,
        "sop_instance_uid": one.sop_instance_uid,
        "algorithm_name": one.algorithm_name,
        "algorithm_version": one.algorithm_version,
    }


def measurements(content: Sequence[Mapping[str, Any]] | None) -> tuple[Measurement, ...]:
    """As they were measured, from the column of a report."""
    return tuple(
        Measurement(
            **{
                **one,
                "code": Code(**one["code"]),
                "region": None if one["region"] is None else Code(**one["region"]),
            }
        )
        for one in content or ()
    )


def volume_result_row(report: Report, result: VolumeResult) -> dict[str, object]:
    """The raw numbers of one network on one series."""
    return {
        "report_uid": report.report_uid,
        "series_instance_uid": result.series_instance_uid,
        "algorithm_name": result.algorithm_name,
        "algorithm_version": result.algorithm_version,
        "weights_sha256": result.weights_sha256,
        "measurements": [_measurement(one) for one in result.measurements],
        "voxels": list(result.voxels),
        "voxel_ml": result.voxel_ml,
        "sop_instance_uids": list(result.sop_instance_uids),
        "provider": result.provider,
        "started_at": result.started_at,
        "ended_at": result.ended_at,
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "key": finding.key,
        "presence": str(finding.presence),
        "probability": finding.probability,
        "operating_point": finding.operating_point,
        "calibration": finding.calibration,
        "tier": str(finding.tier),
        "algorithm_name": finding.algorithm_name,
        "algorithm_version": finding.algorithm_version,
        "sop_instance_uid": finding.sop_instance_uid,
        "evidence": [
            {
                "referenced_sop_instance_uid": evidence.referenced_sop_instance_uid,
                "graphic_type": str(evidence.graphic_type) if evidence.graphic_type else None,
                "graphic_data": list(evidence.graphic_data),
                "method": evidence.method,
                **_heatmap(evidence),
            }
            for evidence in finding.evidence
        ],
    }


def _heatmap(evidence: Evidence) -> dict[str, object]:
    if evidence.heatmap is None:
        return {}
    from hoichan.adapters.heatmaps import packed  # noqa: PLC0415  only workers pay for it

    return {"heatmap": packed(evidence.heatmap)}


def result_row(report: Report, result: InferenceResult) -> dict[str, object]:
    """The raw numbers of one model on one instance."""
    return {
        "report_uid": report.report_uid,
        "sop_instance_uid": result.sop_instance_uid,
        "algorithm_name": result.algorithm_name,
        "algorithm_version": result.algorithm_version,
        "weights_sha256": result.weights_sha256,
        "logits": dict(result.logits),
        "gate": result.gate,
        "provider": result.provider,
        "warnings": list(result.warnings),
        "started_at": result.started_at,
        "ended_at": result.ended_at,
    }


def document_row(report_uid: str, document: Document, position: int, digest: str) -> dict[str, object]:
    """One document of a report; its bytes are in the object store under the digest."""
    return {
        "report_uid": report_uid,
        "kind": str(document.kind),
        "destination": document.destination or (f"*{document.part}" if document.part > 1 else ""),
        "position": position,
        "uid": document.uid,
        "sop_class_uid": document.sop_class_uid,
        "media_type": document.media_type,
        "sha256": digest,
    }


def document(row: Row, content: bytes) -> Document:
    """A document from its row and its bytes."""
    further = row["destination"].startswith("*")  # no destination may be called so
    return Document(
        kind=DocumentKind(row["kind"]),
        uid=row["uid"],
        sop_class_uid=row["sop_class_uid"],
        media_type=row["media_type"],
        destination=None if further else row["destination"] or None,
        part=int(row["destination"][1:]) if further else 1,
        content=content,
    )


def delivery_row(delivery: Delivery, revision: int, created_at: datetime) -> dict[str, object]:
    """One delivery of one report, of this revision of the study."""
    return {
        "idempotency_key": delivery.idempotency_key,
        "report_uid": delivery.report_uid,
        "study_instance_uid": delivery.study_instance_uid,
        "revision": revision,
        "destination": delivery.destination,
        "kind": delivery.kind,
        "documents": [str(kind) for kind in delivery.documents],
        "state": str(delivery.state),
        "attempts": delivery.attempts,
        "created_at": created_at,
        "next_attempt_at": delivery.next_attempt_at,
        "delivered_at": None,
        "acknowledgement": delivery.acknowledgement,
    }


def delivery(row: Row) -> Delivery:
    """A delivery from its row."""
    return Delivery(
        report_uid=SOPInstanceUID(row["report_uid"]),
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        destination=row["destination"],
        kind=row["kind"],
        documents=tuple(DocumentKind(kind) for kind in row["documents"]),
        idempotency_key=row["idempotency_key"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        acknowledgement=row["acknowledgement"],
        committed_at=row["committed_at"],
    )
