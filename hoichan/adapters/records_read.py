"""The record of studies as the page reads it: the list in reading order, one study whole, its trail, counts.

Read only. Each call sees one snapshot, so that a list never shows a state without the report that
made it. The list walks an index of its order (`reading_order`); the rest is by primary key or an index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from hoichan.adapters import database, list_filters, reading_order, search_facets, search_sql, views
from hoichan.adapters.deliveries_sql import is_report
from hoichan.adapters.list_filters import Asked, Shown
from hoichan.adapters.quarantine_sql import with_refusals
from hoichan.adapters.reading_order import Place
from hoichan.adapters.review_standing import taken_back
from hoichan.adapters.rows import Row
from hoichan.adapters.schema import (
    deliveries,
    documents,
    instances,
    reports,
    results,
    revisions,
    series,
    studies,
    trail,
)
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.search_facets import Facet
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.views import (
    Counts,
    DeliveryView,
    DocumentView,
    ListEntry,
    ReadingPage,
    ReportView,
    RevisionView,
    SeriesView,
    StudyView,
)
from hoichan.errors import RecordsUnavailable, StudyUnknown
from hoichan.ports import Objects, TrailEntry
from hoichan.types import (
    DeliveryState,
    DocumentKind,
    ReportStatus,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    StudyInstanceUID,
    StudyState,
)


class ReadingSql:
    """The reading side of the record of studies. Every method may raise RecordsUnavailable (try again)."""

    def __init__(
        self, engine: sa.Engine, objects: Objects, sight: Sight = EVERYTHING, *, names_nobody: bool = False
    ) -> None:
        """`names_nobody`: lists tell of studies without whose they are and what was found."""
        self._engine = engine
        self._objects = objects
        self._sight = sight
        self._names_nobody = names_nobody

    def within(self, sight: Sight) -> ReadingSql:
        """The same record for a reader who sees less. What is not seen is unknown to it; counts are whole."""
        return ReadingSql(self._engine, self._objects, sight, names_nobody=self._names_nobody)

    def without_names(self) -> ReadingSql:
        """The same record for a reader who looks after studies and sees no patient."""
        return ReadingSql(self._engine, self._objects, self._sight, names_nobody=True)

    @property
    def engine(self) -> sa.Engine:
        """The database, for readers of other tables."""
        return self._engine

    @property
    def objects(self) -> Objects:
        """The store of documents."""
        return self._objects

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # deferred: reads one snapshot, locks nobody out
                else:
                    connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def reading_list(
        self,
        *,
        state: StudyState | None = None,
        limit: int = 50,
        offset: int = 0,
        after: Place | None = None,
        before: Place | None = None,
        asked: Asked | None = None,
    ) -> ReadingPage:
        """Studies by tier, most urgent first, then oldest first. Without a state: all that are not signed.

        `after` and `before`, places of a former page, cost the same at any depth; `offset` costs its rows.
        `asked` says who asks and, where a choice is made, what stands in the state's place.
        """
        only = None
        if asked is not None and asked.shown is not None:
            only = list_filters.condition(asked.shown, who=asked.who, now=asked.now)
        with self._snapshot() as connection:
            by_state = reading_order.few_by_state(connection, sight=self._sight)
            by_choice: Mapping[Shown, int] = {}
            if asked is not None:
                by_choice = list_filters.counts(
                    connection,
                    who=asked.who,
                    now=asked.now,
                    up_to=reading_order.COUNTED_TO,
                    sight=self._sight,
                )
            wanted = reading_order.stretch(
                state,
                limit=limit + 1,
                offset=offset,
                after=after,
                before=before,
                sight=self._sight,
                only=only,
            )
            heads = list(connection.execute(wanted).mappings())
            if before is not None:
                heads.reverse()
            shown = heads[:limit] if before is None else heads[-limit:]
            entries = self._entries(connection, shown)
        total, more = reading_order.total_of(by_state, state), reading_order.is_bound(by_state, state)
        if asked is not None and asked.shown is not None:
            total = by_choice[asked.shown]
            more = total >= reading_order.COUNTED_TO
        previous, following = reading_order.ends(
            heads, limit=limit, offset=offset, after=after, before=before
        )
        return ReadingPage(
            entries=entries,
            total=total,
            by_state=by_state,
            by_choice=by_choice,
            has_more=more,
            previous=previous,
            next=following,
        )

    def search(self, text: str, *, limit: int = 50, offset: int = 0) -> tuple[ListEntry, ...]:
        """Studies by name without accents, number, accession number or UID, newest first (`search_sql`)."""
        with self._snapshot() as connection:
            found = search_sql.find(connection, text, limit=limit, offset=offset, sight=self._sight)
            return self._entries(connection, found)

    def of_facet(
        self, facet: Facet, *, zone: ZoneInfo, limit: int = 50, offset: int = 0
    ) -> tuple[ListEntry, ...]:
        """Studies of a day, a sender, a finding or a state, newest first (`search_facets`)."""
        with self._snapshot() as connection:
            found = search_facets.find(
                connection, facet, zone=zone, limit=limit, offset=offset, sight=self._sight
            )
            return self._entries(connection, found)

    def on_day(
        self,
        day: Facet,
        others: Sequence[Facet],
        rest: str,
        *,
        zone: ZoneInfo,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[ListEntry, ...]:
        """Studies of a day that are called so, or that fit one of the others, newest first."""
        with self._snapshot() as connection:
            found = search_facets.find_on_day(
                connection, day, others, rest, zone=zone, limit=limit, offset=offset, sight=self._sight
            )
            return self._entries(connection, found)

    def place(self, study: StudyInstanceUID) -> Place:
        """Where a study stands in the reading order. Raises StudyUnknown."""
        with self._snapshot() as connection:
            return Place.of(self._head(connection, study))

    def study(self, study: StudyInstanceUID) -> StudyView:
        """One study with everything that is kept about it. Raises StudyUnknown."""
        with self._snapshot() as connection:
            head = self._head(connection, study)
            (entry,) = _entries(connection, [head])
            report_uid = entry.report.report_uid if entry.report else None
            return StudyView(
                entry=entry,
                series=_series_of(connection, study),
                revisions=tuple(
                    RevisionView(
                        revision=row.revision,
                        state=row.state,
                        closed_by=row.closed_by,
                        assembled_at=row.assembled_at,
                    )
                    for row in connection.execute(
                        sa.select(revisions)
                        .where(revisions.c.study_instance_uid == study)
                        .order_by(revisions.c.revision.desc())
                    )
                ),
                results=tuple(
                    views.result(row)
                    for row in connection.execute(
                        sa.select(results).where(results.c.report_uid == report_uid)
                    ).mappings()
                ),
                documents=_documents_of(connection, study),
                deliveries=tuple(
                    views.delivery(row)
                    for row in connection.execute(
                        sa.select(deliveries)
                        .where(deliveries.c.study_instance_uid == study)
                        .order_by(deliveries.c.revision.desc(), deliveries.c.destination)
                    ).mappings()
                ),
            )

    def _entries(self, connection: sa.Connection, heads: Sequence[Row]) -> tuple[ListEntry, ...]:
        found = _entries(connection, heads)
        return tuple(map(views.without_person, found)) if self._names_nobody else found

    def trail(self, study: StudyInstanceUID) -> Sequence[TrailEntry]:
        """What happened to the study, oldest first. Raises StudyUnknown."""
        with self._snapshot() as connection:
            self._head(connection, study)
            return _lines(connection, trail.c.study_instance_uid == study)

    def told(self, study: StudyInstanceUID) -> list[TrailEntry]:
        """The trail, also of a study of which nothing else is recorded, or was refused. Raises StudyUnknown.

        Of such a study nobody knows the sender: who sees some senders only does not see it.
        """
        here = trail.c.study_instance_uid
        with self._snapshot() as connection:
            lines = _lines(connection, here == study, *self._sight.narrow_by(here))
            if lines or not self._sight.is_bound:
                lines = with_refusals(connection, study, lines)
            if not lines:
                self._head(connection, study)
            return lines

    def documents(self, study: StudyInstanceUID) -> tuple[DocumentView, ...]:
        """The kept documents of every report, newest report first. Raises StudyUnknown."""
        with self._snapshot() as connection:
            self._head(connection, study)
            return _documents_of(connection, study)

    def content(self, document: DocumentView) -> bytes:
        """The kept bytes, checked against their digest."""
        return self._objects.get(document.sha256)

    def counts(self) -> Counts:
        """Studies by state, and what still has to be delivered."""
        with self._snapshot() as connection:
            found = connection.execute(
                sa.select(deliveries.c.state, sa.func.count(), sa.func.min(deliveries.c.created_at))
                .where(deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.DEAD]))
                .group_by(deliveries.c.state)
            )
            waiting = {DeliveryState(state): (count, oldest) for state, count, oldest in found}
            pending, oldest = waiting.get(DeliveryState.PENDING, (0, None))
            return Counts(
                studies=_by_state(connection),
                instances=connection.execute(sa.select(sa.func.count()).select_from(instances)).scalar_one(),
                pending_deliveries=pending,
                dead_deliveries=waiting.get(DeliveryState.DEAD, (0, None))[0],
                oldest_undelivered_at=oldest,
            )

    def _head(self, connection: sa.Connection, study: StudyInstanceUID) -> Row:
        found = connection.execute(
            sa.select(studies).where(studies.c.study_instance_uid == study, *self._sight.narrow())
        )
        head = found.mappings().one_or_none()
        if head is None:
            raise StudyUnknown(f"No study {study}.")
        return head

    def schema_version(self) -> str | None:
        """The migration the database stands at; None when it is empty. Raises RecordsUnavailable."""
        return database.schema_version(self._engine)


def _lines(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[TrailEntry]:
    found = connection.execute(sa.select(trail).where(*where).order_by(trail.c.id)).mappings()
    return [TrailEntry(at=row["at"], event=row["event"], details=row["details"]) for row in found]


def _by_state(connection: sa.Connection) -> dict[StudyState, int]:
    found = connection.execute(sa.select(studies.c.state, sa.func.count()).group_by(studies.c.state))
    return {StudyState(state): count for state, count in found}


def _entries(connection: sa.Connection, heads: Sequence[Row]) -> tuple[ListEntry, ...]:
    uids = [head["study_instance_uid"] for head in heads]
    newest: dict[str, ReportView] = {}
    noted = sa.exists().where(rejected_reports.c.report_uid == reports.c.report_uid)
    for row in connection.execute(
        sa.select(reports, noted.label("taken_back"))
        .where(
            reports.c.study_instance_uid.in_(uids),
            reports.c.status != ReportStatus.WITHDRAWN,
            sa.or_(
                reports.c.status == ReportStatus.UNVERIFIED,
                reports.c.report_uid.not_in(taken_back()),
            ),
        )
        .order_by(reports.c.revision, reports.c.created_at, reports.c.report_uid)
    ).mappings():
        newest[row["study_instance_uid"]] = views.shown(views.report(row))
    sent: dict[str, list[DeliveryView]] = {}
    for row in connection.execute(
        sa.select(deliveries)
        .where(
            deliveries.c.report_uid.in_([report.report_uid for report in newest.values()]),
            is_report(deliveries),
        )
        .order_by(deliveries.c.destination)
    ).mappings():
        sent.setdefault(row["study_instance_uid"], []).append(views.delivery(row))
    return tuple(
        views.entry(head, newest.get(head["study_instance_uid"]), sent.get(head["study_instance_uid"], ()))
        for head in heads
    )


def _series_of(connection: sa.Connection, study: StudyInstanceUID) -> tuple[SeriesView, ...]:
    found = connection.execute(
        sa.select(series, sa.func.count(instances.c.sop_instance_uid).label("instances"))
        .outerjoin(
            instances,
            (instances.c.study_instance_uid == series.c.study_instance_uid)
            & (instances.c.series_instance_uid == series.c.series_instance_uid),
        )
        .where(series.c.study_instance_uid == study)
        .group_by(*series.columns)
        .order_by(series.c.series_number, series.c.series_instance_uid)
    ).mappings()
    return tuple(
        SeriesView(
            series_instance_uid=SeriesInstanceUID(row["series_instance_uid"]),
            modality=row["modality"],
            series_description=row["series_description"],
            body_part_examined=row["body_part_examined"],
            view_position=row["view_position"],
            instances=row["instances"],
        )
        for row in found
    )


def _documents_of(connection: sa.Connection, study: StudyInstanceUID) -> tuple[DocumentView, ...]:
    noted = sa.exists().where(rejected_reports.c.report_uid == documents.c.report_uid)
    found = connection.execute(
        sa.select(documents, reports.c.revision, noted.label("taken_back"))
        .join(reports, reports.c.report_uid == documents.c.report_uid)
        .where(reports.c.study_instance_uid == study)
        .order_by(
            reports.c.revision.desc(),
            reports.c.created_at.desc(),
            reports.c.report_uid,
            documents.c.position,
        )
    ).mappings()
    return tuple(
        DocumentView(
            report_uid=SOPInstanceUID(row["report_uid"]),
            revision=row["revision"],
            kind=DocumentKind(row["kind"]),
            destination=None if row["destination"].startswith("*") else row["destination"] or None,
            uid=row["uid"],
            media_type=row["media_type"],
            sha256=Sha256(row["sha256"]),
            taken_back=bool(row["taken_back"]),
        )
        for row in found
    )
