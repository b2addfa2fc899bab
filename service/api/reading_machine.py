"""What the machine said of a study, as the reading room gets it: with the identities that verdicts name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from hoichan import codes
from hoichan.reporting.volume_verdicts import measurement_id
from hoichan.types import Finding, GraphicType, Measurement, Presence, Report, ReportStatus, Tier
from service.api.finding_schemas import MeasurementOut, RefusalOut
from service.api.reading_told import BoxModel

Texts = Mapping[str, str]  # language -> text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelOut(_Model):
    """A model that answered."""

    name: str
    version: str
    digest: str


class ReadMeasurementOut(MeasurementOut):
    """The volume of one part, by the identity that a verdict names."""

    id: str

    @classmethod
    def judgeable(cls, one: Measurement, identity: str) -> ReadMeasurementOut:
        """From a measurement of the machine's report."""
        return cls(**MeasurementOut.of(one).model_dump(), id=identity)


class ReadReportOut(_Model):
    """The machine's newest report, and where it stands."""

    report_uid: str
    status: ReportStatus
    outcome: str
    disclaimer: Texts
    conclusion: Texts
    created_at: datetime
    models: list[ModelOut]
    refusals: list[RefusalOut]
    measurements: list[ReadMeasurementOut] = []
    taken_back: bool = Field(
        default=False, description="A rejection note named it: nothing of what it said is here"
    )

    @classmethod
    def of(cls, report: Report, status: ReportStatus) -> ReadReportOut:
        """From the record."""
        return cls(
            report_uid=report.report_uid,
            status=status,
            outcome=report.outcome.value,
            disclaimer=dict(report.disclaimer),
            conclusion=dict(report.conclusion),
            created_at=report.created_at,
            models=[
                ModelOut(name=one.algorithm_name, version=one.algorithm_version, digest=one.weights_sha256)
                for one in report.manifests
            ],
            refusals=[RefusalOut.of(refusal) for refusal in report.refusals],
            measurements=[
                ReadMeasurementOut.judgeable(one, measurement_id(report.report_uid, one))
                for one in report.measurements
            ],
            taken_back=report.taken_back,
        )


class ReadFindingOut(_Model):
    """One statement of the machine."""

    id: str
    key: str
    names: Texts
    presence: Presence
    probability: float
    operating_point: float
    calibration: str
    tier: Tier
    algorithm_name: str
    algorithm_version: str
    sop_instance_uid: str
    boxes: list[BoxModel]
    heatmap: str | None

    @classmethod
    def of(cls, finding: Finding, identity: str, heatmap: str | None) -> ReadFindingOut:
        """From the record; `heatmap`: where its picture is."""
        term = codes.FINDINGS.get(finding.key)
        return cls(
            id=identity,
            key=finding.key,
            names=dict(term.display) if term else {"vi": finding.key, "en": finding.key},
            presence=finding.presence,
            probability=finding.probability,
            operating_point=finding.operating_point,
            calibration=finding.calibration,
            tier=finding.tier,
            algorithm_name=finding.algorithm_name,
            algorithm_version=finding.algorithm_version,
            sop_instance_uid=finding.sop_instance_uid,
            boxes=_boxes(finding),
            heatmap=heatmap,
        )


def _boxes(finding: Finding) -> list[BoxModel]:
    boxes = []
    for one in finding.evidence:
        columns, rows = one.graphic_data[0::2], one.graphic_data[1::2]
        if one.graphic_type is not GraphicType.POLYLINE or len(columns) < 3 or len(columns) != len(rows):
            continue
        left, top = max(0.0, min(columns)), max(0.0, min(rows))
        width, height = max(columns) - left, max(rows) - top
        if width > 0 and height > 0:
            boxes.append(
                BoxModel(
                    sop_instance_uid=one.referenced_sop_instance_uid,
                    column=left,
                    row=top,
                    width=width,
                    height=height,
                )
            )
    return boxes
