"""The record of every study, on SQLAlchemy: SQLite in one PC, PostgreSQL beyond it.

Every method that writes is one transaction. Writing the same thing twice changes nothing, so that a
step which is repeated after a crash has the effect of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.objects_disk import ObjectsDisk
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
from hoichan.errors import RecordsError, RecordsUnavailable, StudyUnknown
from hoichan.ports import Clock, TrailEntry
from hoichan.types import (
    Delivery,
    DeliveryState,
    Document,
    DocumentKind,
    Instance,
    Outcome,
    Report,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
)

Detail = str | int | float | bool | None


class StudiesSql:
    """The `Studies` port on a SQL database and a store of documents."""

    def __init__(self, engine: sa.Engine, objects: ObjectsDisk, clock: Clock) -> None:
        self._engine = engine
        self._objects = objects
        self._clock = clock

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    # ------------------------------------------------------------------ arrival and assembly
    def add_arrivals(self, study: Study, arrivals: Sequence[Instance]) -> int:
        """Record instances that were not known; returns how many were new."""
        wanted = {arrival.sop_instance_uid for arrival in arrivals}
        with self._transaction() as connection:
            known = self._known(connection, study.study_instance_uid)
            new = [i for i in study.instances if i.sop_instance_uid in wanted - known]
            if not new:
                return 0
            self._put_study(connection, study)
            for one in study.series:
                rows.insert_once(connection, series, rows.series_row(study, one))
                for instance in one.instances:
                    if instance in new:
                        rows.insert_once(connection, instances, rows.instance_row(study, one, instance))
            self._trail(
                connection,
                study.study_instance_uid,
                "instances_received",
                {"instances": len(new), "sender": study.calling_ae_title},
            )
        return len(new)

    def instances(self, study: StudyInstanceUID) -> Sequence[SOPInstanceUID]:
        """Every instance recorded for the study."""
        with self._transaction() as connection:
            return sorted(self._known(connection, study))

    def assemble(self, study: Study) -> Study | None:
        """Close a revision over the given instances; None when the last one holds them all already."""
        uid = study.study_instance_uid
        with self._transaction() as connection:
            last = connection.execute(
                sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == uid)
            ).scalar()
            waiting = connection.execute(
                sa.select(sa.func.count())
                .select_from(instances)
                .where(instances.c.study_instance_uid == uid, instances.c.revision.is_(None))
            ).scalar()
            if last is None or not waiting:
                return None
            assembled = replace(study, revision=last + 1, state=StudyState.ASSEMBLED)
            connection.execute(
                revisions.insert().values(
                    study_instance_uid=uid,
                    revision=assembled.revision,
                    state=StudyState.ASSEMBLED,
                    closed_by=study.closed_by,
                    assembled_at=self._clock.now(),
                )
            )
            connection.execute(
                instances.update()
                .where(instances.c.study_instance_uid == uid, instances.c.revision.is_(None))
                .values(revision=assembled.revision)
            )
            self._move(connection, uid, StudyState.ASSEMBLED, last_revision=assembled.revision)
            self._trail(
                connection,
                uid,
                "study_assembled",
                {
                    "revision": assembled.revision,
                    "instances": len(assembled.instances),
                    "closed_by": study.closed_by,
                },
            )
        return assembled

    def load(self, study: StudyInstanceUID, revision: int) -> Study:
        """One revision: every instance that had arrived when it was closed. Raises StudyUnknown."""
        with self._transaction() as connection:
            head = (
                connection.execute(
                    sa.select(studies, revisions.c.closed_by, revisions.c.state.label("revision_state"))
                    .join(revisions, revisions.c.study_instance_uid == studies.c.study_instance_uid)
                    .where(studies.c.study_instance_uid == study, revisions.c.revision == revision)
                )
                .mappings()
                .one_or_none()
            )
            if head is None:
                raise StudyUnknown(f"No study {study} at revision {revision}.")
            found = connection.execute(
                sa.select(instances)
                .where(instances.c.study_instance_uid == study, instances.c.revision <= revision)
                .order_by(instances.c.series_instance_uid, instances.c.instance_number, instances.c.path)
            ).mappings()
            groups = connection.execute(
                sa.select(series)
                .where(series.c.study_instance_uid == study)
                .order_by(series.c.series_number, series.c.series_instance_uid)
            ).mappings()
            return rows.study(head, list(groups), list(found), revision)

    def unfinished(self) -> Sequence[tuple[StudyInstanceUID, int]]:
        """Revisions that were assembled and have neither a report nor a failure."""
        with self._transaction() as connection:
            found = connection.execute(
                sa.select(revisions.c.study_instance_uid, revisions.c.revision)
                .where(revisions.c.state == StudyState.ASSEMBLED)
                .order_by(revisions.c.assembled_at)
            )
            return [(StudyInstanceUID(uid), revision) for uid, revision in found]

    def fail(self, study: StudyInstanceUID, revision: int, *, code: str) -> None:
        """Mark a revision failed, with the code of the error."""
        with self._transaction() as connection:
            connection.execute(
                revisions.update()
                .where(revisions.c.study_instance_uid == study, revisions.c.revision == revision)
                .values(state=StudyState.FAILED)
            )
            self._move(connection, study, StudyState.FAILED, state_reason=code)
            self._trail(connection, study, "study_failed", {"revision": revision, "code": code})

    # ------------------------------------------------------------------ reports
    def latest_report_uid(self, study: StudyInstanceUID, *, before: int) -> SOPInstanceUID | None:
        """The report of the newest revision below `before`."""
        with self._transaction() as connection:
            uid = connection.execute(
                sa.select(reports.c.report_uid)
                .where(reports.c.study_instance_uid == study, reports.c.revision < before)
                .order_by(reports.c.revision.desc())
                .limit(1)
            ).scalar()
            return None if uid is None else SOPInstanceUID(uid)

    def save(
        self, study: Study, *, report: Report, documents: Sequence[Document], deliveries: Sequence[Delivery]
    ) -> bool:
        """Report, results, documents and deliveries in one transaction; False when already there.

        The bytes of the documents are on disk before the transaction begins: a row never points to
        something that is not there.
        """
        digests = [self._objects.put(document.content) for document in documents]
        with self._transaction() as connection:
            if not rows.insert_once(connection, reports, rows.report_row(report)):
                return False
            for result in report.results:
                connection.execute(results.insert().values(rows.result_row(report, result)))
            self._add_documents(connection, report, documents, digests)
            for delivery in deliveries:
                self._add_delivery(connection, report, delivery)
            self._reported(connection, study, report, len(deliveries))
        return True

    def _add_documents(
        self, connection: sa.Connection, report: Report, made: Sequence[Document], digests: Sequence[str]
    ) -> None:
        for position, (document, digest) in enumerate(zip(made, digests, strict=True)):
            connection.execute(
                documents.insert().values(rows.document_row(report, document, position, digest))
            )

    def _add_delivery(self, connection: sa.Connection, report: Report, delivery: Delivery) -> None:
        connection.execute(deliveries.insert().values(rows.delivery_row(report, delivery, self._clock.now())))

    def _reported(self, connection: sa.Connection, study: Study, report: Report, count: int) -> None:
        refused = report.outcome is Outcome.NOT_ANALYSED
        uid = study.study_instance_uid
        connection.execute(
            revisions.update()
            .where(revisions.c.study_instance_uid == uid, revisions.c.revision == study.revision)
            .values(state=StudyState.REPORTED)
        )
        newest = connection.execute(
            sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == uid)
        ).scalar()
        if newest == study.revision:  # an older revision's report does not move a study that went on
            self._move(
                connection,
                uid,
                StudyState.NOT_ANALYSED if refused else StudyState.REPORTED,
                state_reason=report.refusals[0].code if refused and report.refusals else None,
                tier=rows.tier_rank(report.tier),
                reported_at=report.created_at,
                delivered_at=None,
            )
        self._trail(
            connection,
            uid,
            "report_saved",
            {
                "revision": study.revision,
                "report": report.report_uid,
                "outcome": report.outcome,
                "positives": len(report.positives),
                "refusals": ",".join(sorted({r.code for r in report.refusals})) or None,
                "deliveries": count,
            },
        )

    # ------------------------------------------------------------------ documents and deliveries
    def documents(self, delivery: Delivery) -> Sequence[Document]:
        """The kept bytes that one delivery has to hand over, in the order of the delivery."""
        with self._transaction() as connection:
            found = list(
                connection.execute(
                    sa.select(documents)
                    .where(
                        documents.c.report_uid == delivery.report_uid,
                        documents.c.kind.in_([str(kind) for kind in delivery.documents]),
                        documents.c.destination.in_(["", delivery.destination]),
                    )
                    .order_by(documents.c.position)
                ).mappings()
            )
        order = {str(kind): position for position, kind in enumerate(delivery.documents)}
        found.sort(key=lambda row: (order[row["kind"]], row["position"]))
        return [rows.document(row, self._objects.get(row["sha256"])) for row in found]

    def document(self, report: SOPInstanceUID, kind: DocumentKind) -> Document | None:
        """One form of a report, for the page; None when it was never made."""
        with self._transaction() as connection:
            row = (
                connection.execute(
                    sa.select(documents)
                    .where(documents.c.report_uid == report, documents.c.kind == str(kind))
                    .order_by(documents.c.position)
                    .limit(1)
                )
                .mappings()
                .one_or_none()
            )
        return None if row is None else rows.document(row, self._objects.get(row["sha256"]))

    def delivery(self, idempotency_key: str) -> Delivery:
        """One delivery. Raises RecordsError when unknown."""
        with self._transaction() as connection:
            row = (
                connection.execute(
                    sa.select(deliveries).where(deliveries.c.idempotency_key == idempotency_key)
                )
                .mappings()
                .one_or_none()
            )
        if row is None:
            raise RecordsError(f"No delivery {idempotency_key}.")
        return rows.delivery(row)

    def pending(self) -> Sequence[Delivery]:
        """Deliveries that have to be sent, oldest first."""
        with self._transaction() as connection:
            found = connection.execute(
                sa.select(deliveries)
                .where(deliveries.c.state == DeliveryState.PENDING)
                .order_by(deliveries.c.created_at, deliveries.c.revision)
            ).mappings()
            return [rows.delivery(row) for row in found]

    def acknowledged(self, idempotency_key: str, acknowledgement: str) -> None:
        """The receiver has it. The last delivery of its newest revision makes the study `delivered`."""

        def after(connection: sa.Connection, row: Mapping[str, object], now: datetime) -> None:
            uid = str(row["study_instance_uid"])
            newest = sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == uid)
            open_ones = connection.execute(
                sa.select(sa.func.count())
                .select_from(deliveries)
                .where(
                    deliveries.c.study_instance_uid == uid,
                    deliveries.c.revision == newest.scalar_subquery(),
                    deliveries.c.state != DeliveryState.SENT,
                )
            ).scalar()
            if not open_ones and row["revision"] == connection.execute(newest).scalar():
                self._delivered(connection, StudyInstanceUID(uid), now)

        self._settle(
            idempotency_key,
            "delivery_acknowledged",
            {"acknowledgement": acknowledgement},
            {
                "state": DeliveryState.SENT,
                "acknowledgement": acknowledgement,
                "delivered_at": self._clock.now(),
            },
            after,
        )

    def postponed(self, idempotency_key: str, *, detail: str, until: datetime) -> None:
        """No answer; try again at `until`."""
        self._settle(
            idempotency_key,
            "delivery_postponed",
            {"detail": detail, "until": until.isoformat(timespec="seconds")},
            {"next_attempt_at": until, "acknowledgement": detail[:256]},
        )

    def refused(self, idempotency_key: str, *, status: str) -> None:
        """The receiver said no: dead letter."""
        self._settle(
            idempotency_key,
            "delivery_refused",
            {"status": status},
            {"state": DeliveryState.DEAD, "acknowledgement": status[:256]},
        )

    def revive(self, idempotency_key: str) -> None:
        """A person asked for a dead delivery to be sent again."""
        self._settle(
            idempotency_key,
            "delivery_revived",
            {},
            {"state": DeliveryState.PENDING, "next_attempt_at": self._clock.now()},
            counts=False,
        )

    def _settle(
        self,
        key: str,
        event: str,
        details: Mapping[str, Detail],
        values: Mapping[str, object],
        after: Callable[[sa.Connection, Mapping[str, object], datetime], None] | None = None,
        *,
        counts: bool = True,
    ) -> None:
        with self._transaction() as connection:
            row = (
                connection.execute(sa.select(deliveries).where(deliveries.c.idempotency_key == key))
                .mappings()
                .one_or_none()
            )
            if row is None:
                raise RecordsError(f"No delivery {key}.")
            if row["state"] == DeliveryState.SENT:  # a repeated step after a crash: it is known already
                return
            attempts = row["attempts"] + (1 if counts else 0)
            connection.execute(
                deliveries.update()
                .where(deliveries.c.idempotency_key == key)
                .values(attempts=attempts, **values)
            )
            if after is not None:
                after(connection, dict(row), self._clock.now())
            self._trail(
                connection,
                StudyInstanceUID(row["study_instance_uid"]),
                event,
                {"destination": row["destination"], "attempt": attempts, **details},
            )

    def _delivered(self, connection: sa.Connection, uid: StudyInstanceUID, now: datetime) -> None:
        state = connection.execute(
            sa.select(studies.c.state).where(studies.c.study_instance_uid == uid)
        ).scalar()
        if state == StudyState.REPORTED:
            self._move(connection, uid, StudyState.DELIVERED, delivered_at=now)
        elif state == StudyState.NOT_ANALYSED:
            self._move(connection, uid, StudyState.NOT_ANALYSED, delivered_at=now)

    # ------------------------------------------------------------------ trail
    def note(self, study: StudyInstanceUID, event: str, **details: Detail) -> None:
        """Add a line to the trail."""
        with self._transaction() as connection:
            self._trail(connection, study, event, details)

    def trail(self, study: StudyInstanceUID) -> Sequence[TrailEntry]:
        """The trail, oldest first."""
        with self._transaction() as connection:
            found = connection.execute(
                sa.select(trail).where(trail.c.study_instance_uid == study).order_by(trail.c.id)
            ).mappings()
            return [TrailEntry(at=row["at"], event=row["event"], details=row["details"]) for row in found]

    # ------------------------------------------------------------------ shared steps
    def _known(self, connection: sa.Connection, uid: StudyInstanceUID) -> set[SOPInstanceUID]:
        found = connection.execute(
            sa.select(instances.c.sop_instance_uid).where(instances.c.study_instance_uid == uid)
        )
        return {SOPInstanceUID(row[0]) for row in found}

    def _put_study(self, connection: sa.Connection, study: Study) -> None:
        values = rows.study_row(study)
        if rows.insert_once(connection, studies, {**values, "state": StudyState.RECEIVING}):
            return
        del values["first_received_at"]
        connection.execute(
            studies.update()
            .where(studies.c.study_instance_uid == study.study_instance_uid)
            .values(**values, state=StudyState.RECEIVING)
        )

    def _move(
        self, connection: sa.Connection, uid: StudyInstanceUID, state: StudyState, **values: object
    ) -> None:
        connection.execute(
            studies.update().where(studies.c.study_instance_uid == uid).values(state=state, **values)
        )

    def _trail(
        self, connection: sa.Connection, uid: StudyInstanceUID, event: str, details: Mapping[str, Detail]
    ) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=uid,
                at=self._clock.now(),
                event=event,
                details={key: value for key, value in details.items() if value is not None},
            )
        )
