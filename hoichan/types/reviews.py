"""What a radiologist says about a report: verdicts, words, and the signed review, which never changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hoichan.privacy import Phi
from hoichan.types.words import Sha256, SOPInstanceUID, StudyInstanceUID

NOTHING: Phi[str] = Phi("")


class Verdict(StrEnum):
    """What a person said about one finding of the machine, or added to them."""

    ACCEPTED = "accepted"  # as the machine said it
    REJECTED = "rejected"  # it is not there: qualitative evaluation Absent; OBX-11 F with Absent
    EDITED = "edited"  # it is there, with another site, side, size or wording
    ADDED = "added"  # the machine did not say it


class Side(StrEnum):
    """CID 244: which side a person said."""

    LEFT = "left"  # SCT 7771000
    RIGHT = "right"  # SCT 24028007
    BILATERAL = "bilateral"  # SCT 51440002


class ReviewKind(StrEnum):
    """What a signature does to the report."""

    FINAL = "final"  # the first signature
    AMENDMENT = "amendment"  # a statement changed          FHIR amended, OBR-25 C
    ADDENDUM = "addendum"  # words were added, none changed  FHIR appended, OBR-25 C
    WITHDRAWAL = "withdrawal"  # taken back                  FHIR entered-in-error, OBX-11 W, KOS 113037


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle on a stored image. Pixels; origin at the outer corner of the first pixel."""

    sop_instance_uid: SOPInstanceUID
    column: float  # left edge
    row: float  # upper edge
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One verdict of a person."""

    finding_id: str | None  # `hoichan.reporting.reviews.finding_id`; None: the person added it
    key: str  # into hoichan.codes.FINDINGS
    verdict: Verdict
    reason: str = ""  # of a rejection: a code of `REJECTION_REASONS`, then ": " and free words if any
    laterality: Side | None = None  # (SCT 272741003)
    site: str = ""  # a key of `SITES`, or ""
    size_mm: float | None = None  # longest diameter
    text: Phi[str] = NOTHING  # what the person adds in words
    boxes: tuple[Box, ...] = ()  # drawn by the person; () of a finding of the machine: its own


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeJudgement:
    """One verdict of a person about one volume of the machine. What has none is in no signed report."""

    measurement_id: str  # `hoichan.reporting.volume_verdicts.measurement_id`
    verdict: Verdict  # accepted | edited | rejected
    value_ml: float | None = None  # what the person stands for; None: of a rejection
    reason: str = ""  # of a rejection: as of `Judgement`


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """The report in words. Plain text, lines parted by "\\n"; a person may name a patient in any of them."""

    description: Phi[str] = NOTHING
    conclusion: Phi[str] = NOTHING
    recommendation: Phi[str] = NOTHING
    comparison: Phi[str] = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDraft:
    """What nobody has signed yet. One a study; each save raises the version by one."""

    study_instance_uid: StudyInstanceUID
    report_uid: SOPInstanceUID  # the report that was on the screen when it was saved
    version: int  # 1, 2, 3, …
    judgements: tuple[Judgement, ...]
    sections: Sections
    seconds_spent: int  # with the study in front of the reader
    author: str  # user name of whoever saved last
    updated_at: datetime  # aware, UTC
    volumes: tuple[VolumeJudgement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A signed review. Append-only: a change is another review, and this one stays as it was signed."""

    report_uid: SOPInstanceUID  # SOP Instance UID of the SR that the signature made
    judged: SOPInstanceUID  # the machine's report it judges
    predecessor: SOPInstanceUID  # (0040,A360) the report it replaces: `judged`, or the review before
    known_as: SOPInstanceUID  # the report under whose identity receivers file it (FHIR DiagnosticReport)
    study_instance_uid: StudyInstanceUID
    revision: int
    kind: ReviewKind
    reviewer: str  # user name
    reviewer_name: str  # (0040,A075) as the account spelled it at that moment
    licence_number: str  # (0040,A088) số chứng chỉ hành nghề; "" only where the account has none
    signed_at: datetime  # (0040,A030) aware, UTC
    judgements: tuple[Judgement, ...]
    sections: Sections
    language: str  # vi | en: what the sections are written in
    reason: str  # why amended, added to or withdrawn; "" for the first
    may_train: bool  # the reader agreed that the verdicts are used to improve models
    seconds_spent: int
    content_sha256: Sha256  # of `hoichan.reporting.reviews.signed_content`, exactly what was signed
    volumes: tuple[VolumeJudgement, ...] = ()
