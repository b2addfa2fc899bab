"""What is said about a study, and the forms it is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hoichan.types.models import ModelManifest, Tier
from hoichan.types.results import Finding, InferenceResult, Presence, Refusal
from hoichan.types.reviews import Review
from hoichan.types.volumes import Measurement, VolumeManifest, VolumeResult
from hoichan.types.words import SOPInstanceUID, StudyInstanceUID


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
    manifests: tuple[ModelManifest | VolumeManifest, ...]  # the models that answered
    results: tuple[InferenceResult, ...]  # their numbers
    conclusion: Mapping[str, str]  # BCP-47 language -> text   DiagnosticReport.conclusion
    disclaimer: Mapping[str, str]  # language -> text that every output carries
    predecessor: SOPInstanceUID | None  # (0040,A360) the report that this one replaces
    created_at: datetime  # aware, UTC
    review: Review | None = None  # what a person signed about it; None: nobody has
    measurements: tuple[Measurement, ...] = ()  # by series and part
    volumes: tuple[VolumeResult, ...] = ()  # with the outlines; () of a report that is read back
    # of a signed report: all that the machine measured; `measurements` are those that a person stands for
    machine_measurements: tuple[Measurement, ...] = ()
    taken_back: bool = False  # a rejection note named its SR: nobody may use what it says

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
    SEG = "seg"  # outlined parts: BINARY
    SEG_FRACTIONAL = "seg-fractional"  # the same as probabilities
    GSPS = "gsps"
    PDF = "pdf"
    KOS = "kos"  # only where a former result is taken back
    FHIR = "fhir"
    IMR = "fhir-imr"  # IHE IMR, only of what is signed
    HL7 = "hl7"  # ORU^R01, one a destination
    FHIR_TASK = "fhir-task"  # that somebody has begun to read


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportObject:
    """A DICOM object of a report, by name."""

    kind: DocumentKind
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One encoded form of a report: built once, kept, and sent as the same bytes on every try."""

    kind: DocumentKind
    uid: str  # SOP Instance UID, the bundle's identifier, or MSH-10
    sop_class_uid: str | None  # DICOM forms only
    media_type: str  # application/dicom | application/fhir+json | x-application/hl7-v2+er7
    destination: str | None = None  # the only receiver it is meant for; None: the same bytes for all
    part: int = 1  # 1, 2, ... where a report has several objects of the kind
    content: bytes = field(repr=False)
