"""Which order a study belongs to: found by number, decided by `intake.orders.choose`, kept as a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.orders_sql import order_of
from hoichan.adapters.person_rows import clean
from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies, trail
from hoichan.adapters.schema_orders import order_links, orders
from hoichan.adapters.search_sql import studies_under
from hoichan.adapters.transactions import transaction
from hoichan.intake.orders import Match, MatchReason, Order, OrderPriority, choose
from hoichan.ports import Clock
from hoichan.types import Study, StudyInstanceUID, Urgency

URGENCY = {
    OrderPriority.STAT: Urgency.STAT,
    OrderPriority.URGENT: Urgency.URGENT,
    OrderPriority.ROUTINE: Urgency.ROUTINE,
}
AT_ONCE = 100  # fresh orders in one round
_MOST = 200  # orders of one patient that are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The order of a study."""

    order_id: str
    order: Order
    reason: MatchReason

    @property
    def match(self) -> Match:
        """As the rules know it."""
        return Match(order=self.order, reason=self.reason)


class LinksSql:
    """Orders and studies that are one. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def link(self, study: Study) -> Link | None:
        """Tie a study to its order as far as that is certain, and take over its urgency; None without one."""
        uid = study.study_instance_uid
        with transaction(self._engine) as connection:
            candidates = _candidates(connection, study)
            match = choose([order for _, order in candidates], study)
            before = (
                connection.execute(sa.select(order_links).where(order_links.c.study_instance_uid == uid))
                .mappings()
                .one_or_none()
            )
            if match is None:
                if before is not None:  # it was cancelled, or its patient or study is another now
                    connection.execute(order_links.delete().where(order_links.c.study_instance_uid == uid))
                    self._trail(connection, uid, "order_unlinked", {})
                return None
            order_id = next(one for one, order in candidates if order is match.order)
            if before is None or before["order_id"] != order_id:
                values = {"order_id": order_id, "reason": str(match.reason), "at": self._clock.now()}
                if before is None:
                    connection.execute(order_links.insert().values(study_instance_uid=uid, **values))
                else:
                    connection.execute(
                        order_links.update().where(order_links.c.study_instance_uid == uid).values(**values)
                    )
                self._trail(
                    connection,
                    uid,
                    "order_linked",
                    {
                        "reason": str(match.reason),
                        "priority": str(match.order.priority) if match.order.priority else None,
                    },
                )
            if match.order.priority is not None:
                rank = URGENCY[match.order.priority].rank
                connection.execute(
                    studies.update()
                    .where(studies.c.study_instance_uid == uid, studies.c.urgency > rank)
                    .values(urgency=rank)
                )
            return Link(order_id=order_id, order=match.order, reason=match.reason)

    def of(self, study: StudyInstanceUID) -> Link | None:
        """The order of a study."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    sa.select(orders, order_links.c.reason)
                    .join(order_links, order_links.c.order_id == orders.c.order_id)
                    .where(order_links.c.study_instance_uid == study)
                )
                .mappings()
                .one_or_none()
            )
        if row is None:
            return None
        return Link(order_id=row["order_id"], order=order_of(row), reason=MatchReason(row["reason"]))

    def take_fresh(self) -> tuple[StudyInstanceUID, ...]:
        """Studies that orders which came or changed may belong to; the orders are not fresh any more."""
        with transaction(self._engine) as connection:
            fresh = list(
                connection.execute(
                    sa.select(orders)
                    .where(orders.c.fresh)
                    .order_by(orders.c.told_at)
                    .limit(AT_ONCE)
                    .with_for_update(skip_locked=True)
                ).mappings()
            )
            found: dict[StudyInstanceUID, None] = {}
            for row in fresh:
                found.update(dict.fromkeys(_studies_for(connection, row)))
            connection.execute(
                orders.update()
                .where(orders.c.order_id.in_([row["order_id"] for row in fresh]))
                .values(fresh=False)
            )
            return tuple(found)

    def _trail(self, connection: sa.Connection, uid: str, event: str, details: dict[str, str | None]) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=uid,
                at=self._clock.now(),
                event=event,
                details={key: value for key, value in details.items() if value is not None},
            )
        )


def ordered(connection: sa.Connection, head: Mapping[Any, Any]) -> dict[Any, Any]:
    """The row of a study with the placer's number of its order; None where that is not certainly its own.

    Certain is an order of this study's UID or accession number that names the same number of the patient:
    a link outlives a correction of the patient until the study is tied anew.
    """
    row = connection.execute(
        sa.select(
            orders.c.placer_order_number,
            orders.c.accession_number,
            orders.c.patient_id,
            order_links.c.reason,
        )
        .join(order_links, order_links.c.order_id == orders.c.order_id)
        .where(order_links.c.study_instance_uid == head["study_instance_uid"])
    ).one_or_none()
    is_certain = (
        row is not None
        and clean(row.patient_id) == clean(head["patient_id"])
        and (
            row.reason == MatchReason.STUDY_INSTANCE_UID
            or (row.accession_number is not None and row.accession_number == clean(head["accession_number"]))
        )
    )
    return {**head, "placer_order_number": row.placer_order_number if row and is_certain else None}


def _candidates(connection: sa.Connection, study: Study) -> Sequence[tuple[str, Order]]:
    """Orders that share the study's UID, accession number or patient number."""
    wanted = [orders.c.study_instance_uid == study.study_instance_uid]
    accession = clean(study.accession_number)
    number = clean(study.patient.patient_id.reveal())
    if accession:
        wanted.append(orders.c.accession_number == accession)
    if number:
        wanted.append(orders.c.patient_id == number)
    found = connection.execute(
        sa.select(orders).where(sa.or_(*wanted)).order_by(orders.c.told_at.desc()).limit(_MOST)
    ).mappings()
    return [(row["order_id"], order_of(row)) for row in found]


def _studies_for(connection: sa.Connection, row: Row) -> Sequence[StudyInstanceUID]:
    statements: list[sa.Select[tuple[object, ...]]] = []
    if row["study_instance_uid"]:
        statements.append(sa.select(studies).where(studies.c.study_instance_uid == row["study_instance_uid"]))
    statements += [studies_under(number) for number in (row["accession_number"], row["patient_id"]) if number]
    linked = sa.select(order_links.c.study_instance_uid).where(order_links.c.order_id == row["order_id"])
    statements.append(sa.select(studies).where(studies.c.study_instance_uid.in_(linked)))
    return [
        StudyInstanceUID(head["study_instance_uid"])
        for statement in statements
        for head in connection.execute(statement).mappings()
    ]
