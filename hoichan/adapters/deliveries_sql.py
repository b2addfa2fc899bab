"""Documents, deliveries and the trail on SQLAlchemy: what a report owes to its receivers, and what happened.

`StudiesSql` builds on this class; the two are one port, split to be readable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.deliveries_asked import due_now, is_before, is_report, overtaking, passing
from hoichan.adapters.schema import deliveries, documents, studies, trail
from hoichan.adapters.transactions import transaction
from hoichan.errors import RecordsError
from hoichan.ports import Clock, Objects, TrailEntry
from hoichan.reporting.deliveries import is_closed
from hoichan.types import (
    Delivery,
    DeliveryState,
    Document,
    DocumentKind,
    SOPInstanceUID,
    StudyInstanceUID,
    StudyState,
)

__all__ = ["DeliveriesSql", "is_report"]

Detail = str | int | float | bool | None


class DeliveriesSql:
    """Documents, deliveries and the trail."""

    def __init__(self, engine: sa.Engine, objects: Objects, clock: Clock) -> None:
        self._engine = engine
        self._objects = objects
        self._clock = clock

    # ------------------------------------------------------------------ documents and deliveries
    def documents(self, delivery: Delivery) -> Sequence[Document]:
        """The kept bytes that one delivery has to hand over, in the order of the delivery."""
        with transaction(self._engine) as connection:
            found = list(
                connection.execute(
                    sa.select(documents)
                    .where(
                        documents.c.report_uid == delivery.report_uid,
                        documents.c.kind.in_([str(kind) for kind in delivery.documents]),
                        sa.or_(
                            documents.c.destination.in_(["", delivery.destination]),
                            documents.c.destination.startswith("*"),
                        ),
                    )
                    .order_by(documents.c.position)
                ).mappings()
            )
        order = {str(kind): position for position, kind in enumerate(delivery.documents)}
        found.sort(key=lambda row: (order[row["kind"]], row["position"]))
        return [rows.document(row, self._objects.get(row["sha256"])) for row in found]

    def document(self, report: SOPInstanceUID, kind: DocumentKind) -> Document | None:
        """One form of a report, for the page; None when it was never made."""
        with transaction(self._engine) as connection:
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
        with transaction(self._engine) as connection:
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

    def deliveries(self, study: StudyInstanceUID) -> Sequence[Delivery]:
        """Every delivery of the study, oldest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(deliveries)
                .where(deliveries.c.study_instance_uid == study)
                .order_by(deliveries.c.created_at, deliveries.c.idempotency_key)
            ).mappings()
            return [rows.delivery(row) for row in found]

    def due(self, now: datetime, *, each: int | None = None, but: Collection[str] = ()) -> Sequence[Delivery]:
        """Deliveries to be tried now: for each study and receiver only the oldest that is not settled.

        So a preliminary report never arrives after the one that supersedes it. The most urgent study first,
        then the oldest delivery; `each`: at most so many a receiver; `but`: none to these receivers.
        """
        with transaction(self._engine) as connection:
            wanted = {"now": now, "but": list(but), **({} if each is None else {"each": each})}
            found = connection.execute(due_now(is_limited=each is not None), wanted).mappings()
            return [rows.delivery(row) for row in found]

    def overtaken(self, idempotency_key: str) -> bool:
        """Whether the receiver already has a newer report of the study: this one must not follow it.

        It may have one that was refused at last, too, where an earlier try of that had no answer.
        """
        with transaction(self._engine) as connection:
            return connection.execute(overtaking(), {"key": idempotency_key}).scalar() is not None

    def followed(self, idempotency_key: str) -> bool:
        """Whether a newer report of the study waits behind this one for the same receiver."""
        newer, own = deliveries.alias(), deliveries.alias()
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(newer.c.idempotency_key)
                .select_from(own)
                .join(newer, sa.and_(*is_before(own, newer), newer.c.state == DeliveryState.PENDING))
                .where(own.c.idempotency_key == idempotency_key, is_report(newer))
                .limit(1)
            ).scalar()
        return found is not None

    def begin_try(self, idempotency_key: str) -> int:
        """Count one start of a try; how many, this one included, had no end. 0: it does not wait any more."""
        waits = deliveries.c.state == DeliveryState.PENDING
        with transaction(self._engine) as connection:
            begun: int | None = connection.execute(
                deliveries.update()
                .where(deliveries.c.idempotency_key == idempotency_key, waits)
                .values(begun=deliveries.c.begun + 1)
                .returning(deliveries.c.begun)
            ).scalar()
        return begun or 0

    def forgive_try(self, idempotency_key: str) -> None:
        """A start does not count: its worker lives, or was asked to end."""
        with transaction(self._engine) as connection:
            connection.execute(
                deliveries.update()
                .where(deliveries.c.idempotency_key == idempotency_key, deliveries.c.begun > 0)
                .values(begun=deliveries.c.begun - 1)
            )

    def acknowledged(self, idempotency_key: str, acknowledgement: str) -> None:
        """The receiver has it. The last delivery of its newest revision makes the study `delivered`."""

        def after(connection: sa.Connection, row: Mapping[str, object], now: datetime) -> None:
            uid = str(row["study_instance_uid"])
            newest = sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == uid)
            # Of two that end at the same moment each would see the other's as open: the second waits.
            connection.execute(newest.with_for_update(key_share=True))
            open_ones = connection.execute(
                sa.select(sa.func.count())
                .select_from(deliveries)
                .where(
                    deliveries.c.study_instance_uid == uid,
                    deliveries.c.revision == newest.scalar_subquery(),
                    deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.DEAD]),
                    is_report(deliveries),
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

    def passed(self, idempotency_key: str) -> bool:
        """Whether the receiver may have a newer report of the study already, by a try without an answer."""
        with transaction(self._engine) as connection:
            return connection.execute(passing(), {"key": idempotency_key}).scalar() is not None

    def postponed(
        self, idempotency_key: str, *, detail: str, until: datetime, not_taken: bool = False
    ) -> None:
        """No answer, or `not_taken` for certain: then newer reports go first. Try again at `until`."""
        self._settle(
            idempotency_key,
            "delivery_postponed",
            {"detail": detail, "until": until.isoformat(timespec="seconds")},
            {"next_attempt_at": until, "acknowledgement": detail[:256], "not_taken": not_taken},
        )

    def refused(self, idempotency_key: str, *, status: str) -> None:
        """The receiver said no: dead letter."""
        self._settle(
            idempotency_key,
            "delivery_refused",
            {"status": status},
            {"state": DeliveryState.DEAD, "acknowledgement": status[:256]},
        )

    def set_aside(self, idempotency_key: str, *, attempts: int, status: str) -> None:
        """The try killed who made it: dead letter, unless something was said of it since `attempts`."""
        self._settle(
            idempotency_key,
            "delivery_set_aside",
            {"status": status},
            {"state": DeliveryState.DEAD, "acknowledgement": status[:256]},
            since=attempts,
        )

    def withdrawn(self, idempotency_key: str, *, reason: str) -> None:
        """It will not be sent: overtaken by a newer report, or stopped by a person."""
        self._settle(
            idempotency_key,
            "delivery_withdrawn",
            {"reason": reason},
            {"state": DeliveryState.CANCELLED, "acknowledgement": reason},
            counts=False,
        )

    def revive(self, idempotency_key: str, *, even_sent: bool = False, because: str = "") -> None:
        """Send a delivery now: a dead one, or one that waits for its next try.

        `even_sent`: also one that was acknowledged. The same bytes under the same UIDs have one effect.
        `because`: the event of the trail where no person asked for it.
        """
        self._settle(
            idempotency_key,
            because or "delivery_revived",
            {},
            {"state": DeliveryState.PENDING, "next_attempt_at": self._clock.now()},
            counts=even_sent,  # a sent one needs a number of its own: its last try is done for the engine
            even_sent=even_sent,
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
        even_sent: bool = False,
        since: int | None = None,
    ) -> None:
        """Every start counts as an attempt: one that had no end may have reached the receiver.

        What was closed for good stays so, such as a report that a rejection note took back.

        `since`: nothing is done where the delivery does not wait any more, or waits after another attempt.
        """
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    sa.select(deliveries)
                    .where(deliveries.c.idempotency_key == key)
                    .with_for_update()  # a worker that was thought dead may say the same at this moment
                )
                .mappings()
                .one_or_none()
            )
            if row is None:
                raise RecordsError(f"No delivery {key}.")
            known = row["state"] == DeliveryState.SENT  # a repeated step after a crash
            if known and not even_sent:
                return
            if is_closed(row["state"], row["acknowledgement"]) and values.get("state") != DeliveryState.SENT:
                return  # only that it had arrived nevertheless is news
            if since is not None and (row["state"], row["attempts"]) != (DeliveryState.PENDING, since):
                return
            attempts = row["attempts"] + (max(1, row["begun"]) if counts else 0)
            connection.execute(
                deliveries.update()
                .where(deliveries.c.idempotency_key == key)
                .values(attempts=attempts, begun=0, **values)
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
        with transaction(self._engine) as connection:
            self._trail(connection, study, event, details)

    def trail(self, study: StudyInstanceUID) -> Sequence[TrailEntry]:
        """The trail, oldest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(trail).where(trail.c.study_instance_uid == study).order_by(trail.c.id)
            ).mappings()
            return [TrailEntry(at=row["at"], event=row["event"], details=row["details"]) for row in found]

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
