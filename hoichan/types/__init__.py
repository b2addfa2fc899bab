"""The words of this product.

Field names are DICOM keywords in snake_case; the tag, or the FHIR path where DICOM has none,
stands beside the field. All are values: frozen, compared by content, no I/O.
"""

from __future__ import annotations

from hoichan.types.deliveries import Delivery, DeliveryState
from hoichan.types.images import Instance, Patient, Series, Study, StudyState, Urgency
from hoichan.types.models import Calibration, InputSpec, ModelManifest, Output, Tier
from hoichan.types.reports import Document, DocumentKind, Outcome, Report, ReportObject, ReportStatus
from hoichan.types.results import (
    Evidence,
    Finding,
    GraphicType,
    InferenceResult,
    Presence,
    Refusal,
    RefusalCode,
)
from hoichan.types.reviews import (
    Box,
    Judgement,
    Review,
    ReviewDraft,
    ReviewKind,
    Sections,
    Side,
    Verdict,
    VolumeJudgement,
)
from hoichan.types.volumes import Measurement, Segment, VolumeManifest, VolumeResult, VolumeSpec
from hoichan.types.words import Code, SeriesInstanceUID, Sha256, SOPInstanceUID, StudyInstanceUID

__all__ = [
    "Box",
    "Calibration",
    "Code",
    "Delivery",
    "DeliveryState",
    "Document",
    "DocumentKind",
    "Evidence",
    "Finding",
    "GraphicType",
    "InferenceResult",
    "InputSpec",
    "Instance",
    "Judgement",
    "Measurement",
    "ModelManifest",
    "Outcome",
    "Output",
    "Patient",
    "Presence",
    "Refusal",
    "RefusalCode",
    "Report",
    "ReportObject",
    "ReportStatus",
    "Review",
    "ReviewDraft",
    "ReviewKind",
    "SOPInstanceUID",
    "Sections",
    "Segment",
    "Series",
    "SeriesInstanceUID",
    "Sha256",
    "Side",
    "Study",
    "StudyInstanceUID",
    "StudyState",
    "Tier",
    "Urgency",
    "Verdict",
    "VolumeJudgement",
    "VolumeManifest",
    "VolumeResult",
    "VolumeSpec",
]
