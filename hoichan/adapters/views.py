"""What the page sees of the record of studies: frozen values, and one function a row that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePath

from hoichan.adapters.list_filters import Shown
from hoichan.adapters.reading_order import Place
from hoichan.adapters.rows import Row, measurements, patient
from hoichan.privacy import Phi
from hoichan.reporting.taken_back import WORDS
from hoichan.types import (
    DeliveryState,
    DocumentKind,
    Evidence,
    Finding,
    GraphicType,
    Measurement,
    Outcome,
    Patient,
    Presence,
    Refusal,
    RefusalCode,
    ReportStatus,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    StudyInstanceUID,
    StudyState,
    Tier,
    Urgency,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmView:
    """A model that answered."""

    algorithm_name: str
    algorithm_version: str
    algorithm_source: str
    weights_sha256: Sha256
    status: str  # research | shadow | clinical


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """A kept report; its documents and raw numbers are beside it in `StudyView`."""

    report_uid: SOPInstanceUID
    revision: int
    status: ReportStatus
    outcome: Outcome
    findings: tuple[Finding, ...]  # in the order of the report: positives first
    refusals: tuple[Refusal, ...]
    algorithms: tuple[AlgorithmView, ...]
    conclusion: Mapping[str, str]  # language -> text
    disclaimer: Mapping[str, str]  # language -> text
    created_at: datetime  # aware, UTC
    measurements: tuple[Measurement, ...] = ()
    taken_back: bool = False  # a rejection note named its SR: nobody may use it

    @property
    def is_signed(self) -> bool:
        """Whether its findings are a physician's; then none of them is to be shown as a machine's."""
        return self.status in (ReportStatus.FINAL, ReportStatus.AMENDED)

    @property
    def positives(self) -> tuple[Finding, ...]:
        """Findings at or above their operating point."""
        return tuple(finding for finding in self.findings if finding.presence is Presence.PRESENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """One report to one receiver, as far as it got."""

    idempotency_key: str
    report_uid: SOPInstanceUID
    revision: int
    destination: str
    kind: str  # dicom | fhir | folder
    documents: tuple[DocumentKind, ...]
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    delivered_at: datetime | None
    acknowledgement: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One line of the reading list."""

    study_instance_uid: StudyInstanceUID
    state: StudyState
    state_reason: str | None  # RefusalCode or the code of an error
    last_revision: int  # 0: nothing assembled yet
    tier: Tier | None
    urgency: Urgency
    patient: Patient
    accession_number: str | None
    study_id: str | None
    study_description: str | None
    study_datetime: datetime | None
    modalities: tuple[str, ...]
    calling_ae_title: str
    first_received_at: datetime
    last_received_at: datetime
    report: ReportView | None  # the newest there is; of an earlier revision while a new one is worked on
    deliveries: tuple[DeliveryView, ...]  # of that report


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPage:
    """A stretch of the reading list, and how many studies stand in each state."""

    entries: tuple[ListEntry, ...]
    total: int  # studies that the filter lets through, as far as they were counted
    by_state: Mapping[StudyState, int]  # each up to `reading_order.COUNTED_TO`
    has_more: bool = False  # `total` is a bound: so many or more
    previous: Place | None = None  # the stretch before this one ends before it; None: this is the first
    next: Place | None = None  # the next stretch begins after it; None: this is the last
    by_choice: Mapping[Shown, int] = field(default_factory=dict)  # each up to `reading_order.COUNTED_TO`


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """One series of a study, with the number of its instances."""

    series_instance_uid: SeriesInstanceUID
    modality: str
    series_description: str | None
    body_part_examined: str | None
    view_position: str | None
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """One closed revision."""

    revision: int
    state: str  # assembled | reported | failed
    closed_by: str
    assembled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultView:
    """How one model ran on one instance."""

    sop_instance_uid: SOPInstanceUID
    algorithm_name: str
    algorithm_version: str
    gate: float  # 0..1
    provider: str
    warnings: tuple[str, ...]
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentView:
    """One kept form of a report; `ReadingSql.content` has its bytes."""

    report_uid: SOPInstanceUID
    revision: int
    kind: DocumentKind
    destination: str | None  # None: the same bytes for all
    uid: str
    media_type: str
    sha256: Sha256
    taken_back: bool = False  # a rejection note named the SR of its report


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """Everything the page shows of one study."""

    entry: ListEntry
    series: tuple[SeriesView, ...]
    revisions: tuple[RevisionView, ...]  # newest first
    results: tuple[ResultView, ...]  # of the newest report
    documents: tuple[DocumentView, ...]  # of every report, newest first, then in sending order
    deliveries: tuple[DeliveryView, ...]  # of every report, newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What an operator watches."""

    studies: Mapping[StudyState, int]
    instances: int
    pending_deliveries: int
    dead_deliveries: int
    oldest_undelivered_at: datetime | None  # since when the oldest pending delivery waits


def entry(head: Row, report: ReportView | None, sent: Sequence[DeliveryView]) -> ListEntry:
    """A line of the reading list from its rows."""
    tiers = list(Tier)
    return ListEntry(
        study_instance_uid=StudyInstanceUID(head["study_instance_uid"]),
        state=StudyState(head["state"]),
        state_reason=head["state_reason"],
        last_revision=head["last_revision"],
        tier=tiers[head["tier"]] if head["tier"] < len(tiers) else None,
        urgency=tuple(Urgency)[head["urgency"]],
        patient=patient(head),
        accession_number=head["accession_number"],
        study_id=head["study_id"],
        study_description=head["study_description"],
        study_datetime=head["study_datetime"],
        modalities=tuple(part for part in head["modalities"].split("\\") if part),
        calling_ae_title=head["calling_ae_title"],
        first_received_at=head["first_received_at"],
        last_received_at=head["last_received_at"],
        report=report,
        deliveries=tuple(sent),
    )


def report(row: Row) -> ReportView:
    """A report from its row."""
    return ReportView(
        report_uid=SOPInstanceUID(row["report_uid"]),
        revision=row["revision"],
        status=ReportStatus(row["status"]),
        outcome=Outcome(row["outcome"]),
        findings=tuple(_finding(one) for one in row["findings"]),
        refusals=tuple(
            Refusal(
                code=RefusalCode(one["code"]),
                algorithm_name=one["algorithm_name"],
                series_instance_uid=one["series_instance_uid"],
                sop_instance_uid=one["sop_instance_uid"],
                detail=one["detail"],
            )
            for one in row["refusals"]
        ),
        algorithms=tuple(AlgorithmView(**one) for one in row["algorithms"]),
        conclusion=row["conclusion"],
        disclaimer=row["disclaimer"],
        created_at=row["created_at"],
        measurements=measurements(row["measurements"]),
        taken_back=bool(row.get("taken_back")),
    )


def shown(report: ReportView) -> ReportView:
    """The report as it is shown: of a machine's that was taken back only that it was."""
    if not report.taken_back or report.is_signed:
        return report
    return replace(
        report,
        outcome=Outcome.NOT_ANALYSED,
        findings=(),
        refusals=(),
        measurements=(),
        conclusion=dict(WORDS),
    )


def _finding(one: Row) -> Finding:
    return Finding(
        key=one["key"],
        presence=Presence(one["presence"]),
        probability=one["probability"],
        operating_point=one["operating_point"],
        calibration=one["calibration"],
        tier=Tier(one["tier"]),
        evidence=tuple(
            Evidence(
                referenced_sop_instance_uid=evidence["referenced_sop_instance_uid"],
                graphic_type=GraphicType(evidence["graphic_type"]) if evidence["graphic_type"] else None,
                graphic_data=tuple(evidence["graphic_data"]),
                method=evidence["method"],
            )
            for evidence in one["evidence"]
        ),
        algorithm_name=one["algorithm_name"],
        algorithm_version=one["algorithm_version"],
        sop_instance_uid=SOPInstanceUID(one["sop_instance_uid"]),
    )


def without_person(entry: ListEntry) -> ListEntry:
    """The line for who looks after the study: not whose it is, nor what was found; its masked number."""
    person = replace(
        entry.patient,
        national_id=None,
        patient_name=Phi(""),
        patient_birth_date=None,
        patient_sex=None,
        patient_age_years=None,
    )
    return replace(entry, patient=person, report=None, study_description=None)


def delivery(row: Row) -> DeliveryView:
    """A delivery from its row."""
    return DeliveryView(
        idempotency_key=row["idempotency_key"],
        report_uid=SOPInstanceUID(row["report_uid"]),
        revision=row["revision"],
        destination=row["destination"],
        kind=row["kind"],
        documents=tuple(DocumentKind(kind) for kind in row["documents"]),
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        next_attempt_at=row["next_attempt_at"],
        delivered_at=row["delivered_at"],
        acknowledgement=_below(row["acknowledgement"]) if row["kind"] == "folder" else row["acknowledgement"],
    )


def _below(acknowledgement: str | None) -> str | None:
    """A folder as it is told today: former versions kept the whole path of the machine."""
    parts = PurePath(acknowledgement or "").parts
    return "/".join(parts[-2:]) if parts[:1] == ("/",) else acknowledgement


def result(row: Row) -> ResultView:
    """How a model ran, from its row."""
    return ResultView(
        sop_instance_uid=SOPInstanceUID(row["sop_instance_uid"]),
        algorithm_name=row["algorithm_name"],
        algorithm_version=row["algorithm_version"],
        gate=row["gate"],
        provider=row["provider"],
        warnings=tuple(row["warnings"]),
        duration_seconds=(row["ended_at"] - row["started_at"]).total_seconds(),
    )
