"""The words of this product.

Field names are DICOM keywords in snake_case; the tag, or the FHIR path where DICOM has none,
stands beside the field. All are values: frozen, compared by content, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NewType

from hoichan.privacy import Phi

if TYPE_CHECKING:  # no command that only names a study should wait for it
    import numpy as np
    from numpy.typing import NDArray

StudyInstanceUID = NewType("StudyInstanceUID", str)
SeriesInstanceUID = NewType("SeriesInstanceUID", str)
SOPInstanceUID = NewType("SOPInstanceUID", str)
Sha256 = NewType("Sha256", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept, e.g. (60046008, SCT, "Pleural effusion")."""

    code_value: str  # (0008,0100)   FHIR Coding.code
    coding_scheme_designator: str  # (0008,0102)   FHIR Coding.system
    code_meaning: str  # (0008,0104)   FHIR Coding.display


# 1 ------------------------------------------------------------------ Instance
@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One stored SOP instance: the file, and what is needed without opening it again."""

    sop_instance_uid: SOPInstanceUID  # (0008,0018)   ImagingStudy.series.instance.uid
    sop_class_uid: str  # (0008,0016)   ImagingStudy.series.instance.sopClass
    transfer_syntax_uid: str  # (0002,0010)
    instance_number: int | None  # (0020,0013)
    number_of_frames: int = 1  # (0028,0008)
    rows: int | None = None  # (0028,0010)   pixels
    columns: int | None = None  # (0028,0011)   pixels
    image_type: tuple[str, ...] = ()  # (0008,0008)
    presentation_intent_type: str | None = None  # (0008,0068)   FOR PRESENTATION | FOR PROCESSING
    path: PurePosixPath  # inside the spool, relative
    sha256: Sha256  # of the data set as it was sent, without file meta
    received_at: datetime  # aware, UTC
    rejected: bool = False  # a rejection note has taken it back: nobody is to judge it
    removed: bool = False  # its file went by the retention rules: nobody can read it any more


# 2 -------------------------------------------------------------------- Series
@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The instances of one series, with what decides whether a model fits."""

    series_instance_uid: SeriesInstanceUID  # (0020,000E)   ImagingStudy.series.uid
    modality: str  # (0008,0060)   ImagingStudy.series.modality
    series_number: int | None = None  # (0020,0011)
    series_description: str | None  # (0008,103E)
    body_part_examined: str | None  # (0018,0015)   ImagingStudy.series.bodySite
    view_position: str | None  # (0018,5101)   PA, AP, LL, ...
    laterality: str | None  # (0020,0060)/(0020,0062)
    manufacturer: str | None  # (0008,0070)
    manufacturer_model_name: str | None  # (0008,1090)
    instances: tuple[Instance, ...]


# 3 --------------------------------------------------------------------- Study
@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Who it is about. Everything that identifies the person is wrapped."""

    patient_id: Phi[str]  # (0010,0020)   Patient.identifier (MR); "" when absent
    issuer_of_patient_id: str | None  # (0010,0021)   Patient.identifier.system
    national_id: Phi[str] | None  # (0010,1002)   Patient.identifier (NI), the 12-digit citizen id
    patient_name: Phi[str]  # (0010,0010)   Patient.name, as family^given^middle; "" when absent
    patient_birth_date: Phi[date] | None  # (0010,0030)   Patient.birthDate
    patient_sex: str | None  # (0010,0040)   Patient.gender; M | F | O
    patient_age_years: int | None = None  # (0010,1010), or study date minus birth date


class Urgency(StrEnum):
    """How soon the work on a study is wanted, most urgent first; in the words of FHIR request-priority."""

    STAT = "stat"  # (0040,1003) STAT   HL7 table 0485 S
    URGENT = "urgent"  # (0040,1003) HIGH   HL7 A
    ROUTINE = "routine"  # (0040,1003) ROUTINE, MEDIUM, or nothing   HL7 R
    LOW = "low"  # (0040,1003) LOW

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return list(Urgency).index(self)


class StudyState(StrEnum):
    """Where a study stands. The allowed moves are a table in `hoichan.intake.assembly`."""

    RECEIVING = "receiving"
    ASSEMBLED = "assembled"
    SCORED = "scored"
    REPORTED = "reported"
    DELIVERED = "delivered"
    SIGNED = "signed"
    NOT_ANALYSED = "not_analysed"  # delivered too: the answer is "not analysed", with its reason
    FAILED = "failed"
    CANCELLED = "cancelled"  # a person stopped the work on it; a replay takes it up again


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study at one revision. Late instances make a new revision, never a changed one."""

    study_instance_uid: StudyInstanceUID  # (0020,000D)   ImagingStudy.identifier
    revision: int  # 1, 2, ...; 0 while receiving
    patient: Patient
    accession_number: str | None  # (0008,0050)   ServiceRequest.identifier
    study_id: str | None = None  # (0020,0010)
    study_datetime: datetime | None  # (0008,0020)+(0008,0030)+(0008,0201)
    study_description: str | None  # (0008,1030)
    calling_ae_title: str  # who pushed it
    urgency: Urgency | None = None  # (0040,1003) of its images; None: they say nothing
    closed_by: str = ""  # the evidence that closed this revision, see `hoichan.intake.assembly`
    earlier_study_dates: tuple[date, ...] = ()  # of studies that are here beside it; compared with nothing
    series: tuple[Series, ...]
    state: StudyState

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Every instance of the revision, in series order."""
        return tuple(instance for series in self.series for instance in series.instances)


# 4 ------------------------------------------------------------- ModelManifest
class Tier(StrEnum):
    """How soon a person should look (ACR Actionable Reporting, CID 7035), most urgent first."""

    CRITICAL = "critical"  # RID49480, minutes   FHIR stat
    URGENT = "urgent"  # RID49481, hours     FHIR urgent
    ROUTINE = "routine"  # RID49482, days      FHIR routine


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Platt scaling of a logit: probability = 1 / (1 + exp(-(slope * logit + intercept)))."""

    method: str  # "none" | "platt"
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One entry of the model's output vector."""

    name: str  # label the network was trained with, e.g. "Effusion"
    index: int  # position in the output vector
    finding_key: str  # key into hoichan.codes.FINDINGS, e.g. "pleural_effusion"
    operating_point: float  # probability, 0..1, after calibration; at or above it is PRESENT
    calibration: Calibration
    tier: Tier
    enabled: bool = True
    disabled_reason: str = ""  # why a finding is computed but not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the model accepts. Anything else is InputOutOfDomain, not a guess."""

    modality: tuple[str, ...]
    body_part_examined: tuple[str, ...]
    view_position: tuple[str, ...]
    patient_age_years: tuple[int, int]  # inclusive
    size: int  # pixels, side of the square network input
    value_range: tuple[float, float] = (0.0, 1.0)
    gate_operating_point: float = 0.5  # the pixel gate's bar, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """One model package: names as in TID 4019, what it accepts, what it says, and its checksum."""

    name: str  # folder name, e.g. "cxr-demo"
    algorithm_name: str  # (0066,0036)   Device.deviceName
    algorithm_version: str  # (0066,0031)   Device.version
    algorithm_source: str  # (0024,0202)   Device.manufacturer
    intended_use: Mapping[str, str]  # BCP-47 language -> one sentence
    disclaimer: Mapping[str, str]  # language -> e.g. "Demonstration, not validated"
    runtime: str  # onnx | monai_bundle
    weights: PurePosixPath  # inside the package
    weights_sha256: Sha256
    accepts: InputSpec
    outputs: tuple[Output, ...]
    license: str  # SPDX
    status: str  # research | shadow | clinical
    root: PurePosixPath  # absolute folder of the package on this machine

    @property
    def digest(self) -> str:
        """What makes two versions different: name, version and weights. Seeds the Device UID."""
        return f"{self.algorithm_name}|{self.algorithm_version}|{self.weights_sha256}"


# 5 ----------------------------------------------------------- InferenceResult
class RefusalCode(StrEnum):
    """Why a model did not answer. Stable; texts are in `hoichan.codes.REFUSALS`."""

    NO_MODEL = "no_model"
    NO_IMAGE = "no_image"
    REJECTED_IMAGE = "rejected_image"
    REMOVED_IMAGE = "removed_image"
    WRONG_MODALITY = "wrong_modality"
    WRONG_BODY_PART = "wrong_body_part"
    WRONG_VIEW = "wrong_view"
    AGE_UNDER_LIMIT = "age_under_limit"
    AGE_OVER_LIMIT = "age_over_limit"
    DERIVED_IMAGE = "derived_image"
    FOR_PROCESSING = "for_processing"
    MULTI_FRAME = "multi_frame"
    NOT_FRONTAL_CHEST = "not_frontal_chest"
    PIXELS_OUT_OF_RANGE = "pixels_out_of_range"
    UNDECODABLE_PIXELS = "undecodable_pixels"
    MODEL_FAILED = "model_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One model's no to one series (or to the whole study when series is None)."""

    code: RefusalCode
    algorithm_name: str | None  # None: no model is installed at all
    series_instance_uid: SeriesInstanceUID | None
    sop_instance_uid: SOPInstanceUID | None = None
    detail: str = ""  # machine detail without patient data, e.g. "BodyPartExamined=RIBCAGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResult:
    """Raw numbers of one model on one instance. Kept forever; findings can be recomputed."""

    study_instance_uid: StudyInstanceUID
    revision: int
    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID  # exactly what was read
    sop_class_uid: str
    algorithm_name: str
    algorithm_version: str
    weights_sha256: Sha256
    logits: Mapping[str, float]  # Output.name -> raw logit
    gate: float  # 0..1, "this is an upright frontal chest film"
    rows: int  # of the stored image
    columns: int
    started_at: datetime
    ended_at: datetime
    provider: str  # what really ran, e.g. CPUExecutionProvider
    warnings: tuple[str, ...] = ()
    class_activation_maps: Mapping[str, NDArray[np.float32]] = field(
        default_factory=dict, compare=False, repr=False
    )  # Output.name -> (h, w) float32, contribution to the logit, covering exactly the stored image


# 6 ------------------------------------------------------------------ Evidence
class GraphicType(StrEnum):
    """(0070,0023) of the shapes we write."""

    POINT = "POINT"
    POLYLINE = "POLYLINE"
    ELLIPSE = "ELLIPSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where to look. Coordinates are (column, row) of the stored image, origin at its outer corner."""

    referenced_sop_instance_uid: SOPInstanceUID  # (0008,1155)   Observation.derivedFrom
    graphic_type: GraphicType | None  # (0070,0023)
    graphic_data: tuple[float, ...]  # (0070,0022)   col, row, col, row, ...
    method: str  # "class activation map", "detector"
    heatmap: NDArray[np.float32] | None = field(
        default=None, compare=False, repr=False
    )  # (h, w) float32, 0..1, covering exactly the stored image


# 7 ------------------------------------------------------------------- Finding
class Presence(StrEnum):
    """CID 240."""

    PRESENT = "present"  # SCT 52101004
    ABSENT = "absent"  # SCT 272519000
    INDETERMINATE = "indeterminate"  # SCT 373068000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement a radiologist can accept, change or reject."""

    key: str  # into hoichan.codes.FINDINGS
    presence: Presence  # Observation.valueCodeableConcept
    probability: float  # DCM 111012 "Certainty of Finding" / 100; 0..1, calibrated as `calibration` says
    operating_point: float  # the bar it was held against
    calibration: str  # "none" | "platt"
    tier: Tier
    evidence: tuple[Evidence, ...]
    algorithm_name: str
    algorithm_version: str
    sop_instance_uid: SOPInstanceUID  # the image it speaks of


# 8 -------------------------------------------------------------------- Report
class ReportStatus(StrEnum):
    """Ours -> FHIR DiagnosticReport.status / HL7 v2 OBR-25 / SR flags."""

    UNVERIFIED = "unverified"  # partial / R / UNVERIFIED + PRELIMINARY   no person has read it
    FINAL = "final"  # final / F / VERIFIED + FINAL           signed, observer and time filled
    AMENDED = "amended"  # amended / C / predecessor in (0040,A360)
    CANCELLED = "cancelled"  # cancelled / X
    WITHDRAWN = "withdrawn"  # entered-in-error / OBX-11 W / KOS 113037   it went out under another patient


class Outcome(StrEnum):
    """CAD Processing and Findings Summary, CID 6047, and its "not attempted" sibling in CID 6042."""

    WITH_FINDINGS = "with_findings"  # DCM 111242
    WITHOUT_FINDINGS = "without_findings"  # DCM 111241
    PARTIAL_WITH_FINDINGS = "partial_with_findings"  # DCM 111244
    PARTIAL_WITHOUT_FINDINGS = "partial_without_findings"  # DCM 111243
    NOT_ANALYSED = "not_analysed"  # DCM 111245 no algorithms succeeded; without findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the machine says about one revision of a study, before anybody has read it."""

    report_uid: SOPInstanceUID  # SOP Instance UID of its SR
    study_instance_uid: StudyInstanceUID
    revision: int
    status: ReportStatus
    outcome: Outcome
    findings: tuple[Finding, ...]  # positives first, by tier, then by probability; negatives after them
    refusals: tuple[Refusal, ...]  # what was not analysed, and why
    manifests: tuple[ModelManifest, ...]  # the models that answered
    results: tuple[InferenceResult, ...]  # their numbers
    conclusion: Mapping[str, str]  # BCP-47 language -> text   DiagnosticReport.conclusion
    disclaimer: Mapping[str, str]  # language -> text that every output carries
    predecessor: SOPInstanceUID | None  # (0040,A360) report of the revision before
    created_at: datetime  # aware, UTC

    @property
    def positives(self) -> tuple[Finding, ...]:
        """Findings at or above their operating point."""
        return tuple(f for f in self.findings if f.presence is Presence.PRESENT)

    @property
    def tier(self) -> Tier | None:
        """The most urgent tier among the positives; None when there are none."""
        order = list(Tier)
        return min((f.tier for f in self.positives), key=order.index, default=None)


class DocumentKind(StrEnum):
    """The forms a report is written in."""

    SR = "sr"  # Comprehensive 3D SR; the two below are the same tree for receivers that do not take it
    SR_COMPREHENSIVE = "sr-comprehensive"
    SR_ENHANCED = "sr-enhanced"
    SC = "sc"
    GSPS = "gsps"
    PDF = "pdf"
    KOS = "kos"  # only where a former result is taken back
    FHIR = "fhir"
    HL7 = "hl7"  # ORU^R01, one a destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One encoded form of a report: built once, kept, and sent as the same bytes on every try."""

    kind: DocumentKind
    uid: str  # SOP Instance UID, the bundle's identifier, or MSH-10
    sop_class_uid: str | None  # DICOM forms only
    media_type: str  # application/dicom | application/fhir+json | x-application/hl7-v2+er7
    destination: str | None = None  # the only receiver it is meant for; None: the same bytes for all
    content: bytes = field(repr=False)


# 9 ------------------------------------------------------------------ Delivery
class DeliveryState(StrEnum):
    """Where one delivery stands."""

    PENDING = "pending"  # to be sent, or tried again at next_attempt_at
    SENT = "sent"  # acknowledged
    DEAD = "dead"  # refused: a person must look; can be replayed
    CANCELLED = "cancelled"  # not sent: a person stopped it, or a newer report is already there


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One report to one receiver, exactly once in effect: at least once, with a key."""

    report_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    destination: str  # name in settings, not an address
    kind: str  # dicom | fhir | hl7v2 | folder
    documents: tuple[DocumentKind, ...]  # in sending order
    idempotency_key: str  # stable over restarts
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    acknowledgement: str | None  # DIMSE status, HTTP status, MSA-1, path
    committed_at: datetime | None = None  # the PACS took responsibility (PS3.4 annex J)
