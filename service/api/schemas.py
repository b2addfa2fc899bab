"""What the API says, as pydantic models, and how they are made from the record.

Codes and both languages travel; choosing one is the reader's. `etag` makes the tag that polling
clients send back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from hoichan.adapters.list_filters import Shown
from hoichan.adapters.reviews_sql import Mark
from hoichan.adapters.views import DeliveryView, DocumentView, ListEntry, ReadingPage, ReportView, StudyView
from hoichan.ports import TrailEntry
from hoichan.settings.web import ServiceLevel
from hoichan.types import (
    DeliveryState,
    DocumentKind,
    Outcome,
    ReportStatus,
    StudyInstanceUID,
    StudyState,
    Tier,
    Urgency,
)
from service.api.finding_schemas import (
    AlgorithmOut,
    FindingOut,
    MeasurementOut,
    Outgoing,
    PatientOut,
    RefusalOut,
    Texts,
)


class ReportOut(Outgoing):
    """The newest report."""

    report_uid: str
    revision: int
    status: ReportStatus
    outcome: Outcome
    findings: list[FindingOut]
    refusals: list[RefusalOut]
    measurements: list[MeasurementOut] = Field(default=[])
    algorithms: list[AlgorithmOut]
    conclusion: Texts
    disclaimer: Texts
    created_at: datetime
    taken_back: bool = Field(
        default=False, description="A rejection note named it: nothing of what it said is here"
    )

    @classmethod
    def of(cls, report: ReportView) -> ReportOut:
        """From a report of the record."""
        return cls(
            report_uid=report.report_uid,
            revision=report.revision,
            status=report.status,
            outcome=report.outcome,
            findings=[FindingOut.of(finding) for finding in report.findings],
            refusals=[RefusalOut.of(refusal) for refusal in report.refusals],
            measurements=[MeasurementOut.of(one) for one in report.measurements],
            algorithms=[AlgorithmOut.model_validate(one) for one in report.algorithms],
            conclusion=dict(report.conclusion),
            disclaimer=dict(report.disclaimer),
            created_at=report.created_at,
            taken_back=report.taken_back,
        )


class DeliveryOut(Outgoing):
    """One report to one receiver."""

    idempotency_key: str
    revision: int
    destination: str
    kind: str
    documents: list[DocumentKind]
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    delivered_at: datetime | None
    acknowledgement: str | None

    @classmethod
    def of(cls, delivery: DeliveryView) -> DeliveryOut:
        """From a delivery of the record."""
        return cls.model_validate(delivery)


class DocumentOut(Outgoing):
    """One kept form of a report, and where its bytes are."""

    kind: DocumentKind
    revision: int
    destination: str | None
    uid: str
    media_type: str
    sha256: str
    taken_back: bool = Field(default=False, description="A rejection note named the SR of its report")

    @classmethod
    def of(cls, document: DocumentView) -> DocumentOut:
        """From a document of the record."""
        return cls.model_validate(document)


class LineLockOut(Outgoing):
    """Who has a study open."""

    reader: str


class LineReadingOut(Outgoing):
    """How far the reading of a study is."""

    state: str  # unread | draft | signed | not_analysed | failed
    by: str | None  # who drafted or signed
    lock: LineLockOut | None

    @classmethod
    def of(cls, entry: ListEntry, mark: Mark | None) -> LineReadingOut:
        """From a line of the record. A signature of an earlier revision leaves the study unread."""
        mark = mark or Mark()
        state, by = "unread", None
        if entry.state is StudyState.SIGNED:
            state, by = "signed", mark.signed_by
        elif mark.draft_by is not None:
            state, by = "draft", mark.draft_by
        elif entry.state in (StudyState.NOT_ANALYSED, StudyState.FAILED):
            state = entry.state.value
        return cls(state=state, by=by, lock=LineLockOut(reader=mark.locked_by) if mark.locked_by else None)


class StudyOut(Outgoing):
    """One line of the reading list."""

    study_instance_uid: str
    state: StudyState
    state_reason: str | None
    revision: int
    tier: Tier | None
    urgency: Urgency
    reading: LineReadingOut
    due_at: datetime  # until when somebody should have read it
    patient: PatientOut
    accession_number: str | None
    study_description: str | None
    study_datetime: datetime | None
    modalities: list[str]
    calling_ae_title: str
    first_received_at: datetime
    last_received_at: datetime
    report: ReportOut | None
    deliveries: list[DeliveryOut]

    @classmethod
    def of(cls, entry: ListEntry, mark: Mark | None = None, level: ServiceLevel | None = None) -> StudyOut:
        """From a line of the record. `mark`: how far its reading is; `level`: of this site."""
        return cls(
            study_instance_uid=entry.study_instance_uid,
            state=entry.state,
            state_reason=entry.state_reason,
            revision=entry.last_revision,
            tier=entry.tier,
            urgency=entry.urgency,
            reading=LineReadingOut.of(entry, mark),
            due_at=_due_at(entry, level or ServiceLevel()),
            patient=PatientOut.of(entry.patient),
            accession_number=entry.accession_number,
            study_description=entry.study_description,
            study_datetime=entry.study_datetime,
            modalities=list(entry.modalities),
            calling_ae_title=entry.calling_ae_title,
            first_received_at=entry.first_received_at,
            last_received_at=entry.last_received_at,
            report=ReportOut.of(entry.report) if entry.report else None,
            deliveries=[DeliveryOut.of(delivery) for delivery in entry.deliveries],
        )


def _due_at(entry: ListEntry, level: ServiceLevel) -> datetime:
    """By the model's tier or by what was asked for, whichever is sooner."""
    if entry.tier is Tier.CRITICAL or entry.urgency is Urgency.STAT:
        minutes = level.critical
    elif entry.tier is Tier.URGENT or entry.urgency is Urgency.URGENT:
        minutes = level.urgent
    else:
        minutes = level.routine
    return entry.first_received_at + timedelta(minutes=minutes)


class StudyListOut(Outgoing):
    """A page of the reading list."""

    items: list[StudyOut]
    total: int
    page: int
    pages: int
    has_more: bool  # `total` and `pages` are bounds: so many or more
    previous: str | None  # give it as `before` to get the stretch in front of this one
    next: str | None  # give it as `after` to get the next stretch, as quick at any depth
    by_state: Mapping[StudyState, int]  # each up to 10,000, which stands for so many or more
    by_choice: Mapping[Shown, int]  # the same for what `show` may ask for

    @classmethod
    def of(
        cls,
        found: ReadingPage,
        *,
        page: int,
        size: int,
        marks: Mapping[StudyInstanceUID, Mark] | None = None,
        level: ServiceLevel | None = None,
    ) -> StudyListOut:
        """From a stretch of the record. `marks`: how far the reading of its studies is."""
        known = marks or {}
        return cls(
            items=[StudyOut.of(one, known.get(one.study_instance_uid), level) for one in found.entries],
            total=found.total,
            page=page,
            pages=max(1, -(-found.total // size)),
            has_more=found.has_more,
            previous=str(found.previous) if found.previous else None,
            next=str(found.next) if found.next else None,
            by_state=dict(found.by_state),
            by_choice=dict(found.by_choice),
        )


class SeriesOut(Outgoing):
    """One series."""

    series_instance_uid: str
    modality: str
    series_description: str | None
    body_part_examined: str | None
    view_position: str | None
    instances: int


class StudyDetailOut(StudyOut):
    """One study whole; `deliveries` and `documents` are of every revision, newest first."""

    series: list[SeriesOut]
    documents: list[DocumentOut]

    @classmethod
    def of_view(cls, view: StudyView) -> StudyDetailOut:
        """From a study of the record."""
        line = StudyOut.of(view.entry)
        return cls(
            **{name: getattr(line, name) for name in StudyOut.model_fields if name != "deliveries"},
            deliveries=[DeliveryOut.of(delivery) for delivery in view.deliveries],
            series=[SeriesOut.model_validate(one) for one in view.series],
            documents=[DocumentOut.of(document) for document in view.documents],
        )


class TrailLineOut(Outgoing):
    """One thing that happened."""

    at: datetime
    event: str
    details: Mapping[str, str | int | float | bool | None]


class TrailOut(Outgoing):
    """What happened to one study, oldest first."""

    study_instance_uid: str
    items: list[TrailLineOut]

    @classmethod
    def of(cls, study: str, lines: list[TrailEntry]) -> TrailOut:
        """From the trail of the record."""
        return cls(study_instance_uid=study, items=[TrailLineOut.model_validate(line) for line in lines])


def etag(model: BaseModel) -> str:
    """A strong tag of exactly this content."""
    return f'"{hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:32]}"'
