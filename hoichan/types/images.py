"""What was received: instances, series, studies and whose they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import PurePosixPath

from hoichan.privacy import Phi
from hoichan.types.words import SeriesInstanceUID, Sha256, SOPInstanceUID, StudyInstanceUID


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
    # BHYT, where an order or the HIS typed a number as such (PID-3 HC); says nothing of who the person is
    insurance_number: Phi[str] | None = field(default=None, compare=False)


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
    placer_order_number: str | None = None  # (0040,2016), ORC-2 of its order: entity^namespace, as told
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
