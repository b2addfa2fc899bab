"""Messages, orders and what was said about people, on SQLAlchemy.

`take` is the order door's one transaction: the message, its answer and what it says are kept together, and
only then is it answered. The same message again finds its row and gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import insurance_sql, rows
from hoichan.adapters.person_rows import PERSON, clean, person, person_row
from hoichan.adapters.schema_orders import messages, orders, patient_events
from hoichan.adapters.transactions import transaction
from hoichan.intake.messages import Told
from hoichan.intake.orders import (
    Order,
    OrderControl,
    OrderPriority,
    PatientMerge,
    PatientUpdate,
    same_patient,
)
from hoichan.ports import Clock
from hoichan.privacy import Phi
from hoichan.types import Code, StudyInstanceUID
from hoichan.uids import derived_uuid

TAKEN = "AA"
MOST_SHOWN = 200  # refused messages
_NUMBERS = ("placer_order_number", "filler_order_number", "accession_number")
_FACTS = (  # of an order, besides its person; a later message replaces what it names
    *_NUMBERS,
    *("requested_procedure_id", "study_instance_uid", "scheduled_procedure_step_id", "modality", "procedure"),
    *("region", "scheduled_at", "ordered_at", "priority", "indication"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is on record of one message."""

    answer: str  # MSA-1
    acknowledgement: bytes
    repeated: bool  # it was there before


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedMessage:
    """A message that was not taken; nothing of what stands in it."""

    message_key: str
    received_at: datetime
    source: str
    kind: str
    answer: str
    code: str | None
    repeated: int


class OrdersSql:
    """The door's side of the record. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def take(self, told: Told, content: bytes, *, source: str, answer: str, acknowledgement: bytes) -> Kept:
        """Keep a message with its answer, and do what it says; the former answer if it was kept before."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            is_new = rows.insert_once(
                connection,
                messages,
                {
                    "message_key": told.key,
                    "received_at": now,
                    "source": source[:64],
                    "kind": told.kind,
                    "answer": answer,
                    "code": told.error.code if told.error else None,
                    "acknowledgement": acknowledgement,
                    "content": content,
                },
            )
            if not is_new:
                before = connection.execute(
                    messages.update()
                    .where(messages.c.message_key == told.key)
                    .values(repeated=messages.c.repeated + 1)
                    .returning(messages.c.answer, messages.c.acknowledgement)
                ).one()
                return Kept(answer=before.answer, acknowledgement=before.acknowledgement, repeated=True)
            self._do(connection, told, now)
        return Kept(answer=answer, acknowledgement=acknowledgement, repeated=False)

    def content_of(self, message_key: str) -> bytes | None:
        """The bytes of a message that was not taken; None where there is none."""
        with transaction(self._engine) as connection:
            content: bytes | None = connection.execute(
                sa.select(messages.c.content).where(
                    messages.c.message_key == message_key, messages.c.answer != TAKEN
                )
            ).scalar()
        return content

    def retake(self, message_key: str, told: Told, *, answer: str, acknowledgement: bytes) -> bool:
        """Keep a refused message as it is understood now, and do what it says; once, however often asked."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            changed = connection.execute(
                messages.update()
                .where(messages.c.message_key == message_key, messages.c.answer != TAKEN)
                .values(
                    kind=told.kind,
                    answer=answer,
                    code=told.error.code if told.error else None,
                    acknowledgement=acknowledgement,
                )
            ).rowcount
            if changed:
                self._do(connection, told, now)
        return bool(changed)

    def _do(self, connection: sa.Connection, told: Told, now: datetime) -> None:
        for position, event in enumerate(told.events):
            person = event.surviving if isinstance(event, PatientMerge) else event.patient
            insurance_sql.keep(connection, person, message_key=told.key, at=now)
            if isinstance(event, Order):
                _put_order(connection, event, told, position, now)
            else:
                _put_event(connection, event, told, now)

    def refused(self) -> Sequence[RefusedMessage]:
        """Messages that were not taken, newest first."""
        shown = [messages.c[name] for name in RefusedMessage.__slots__]
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(*shown)
                .where(messages.c.answer != TAKEN)
                .order_by(messages.c.received_at.desc(), messages.c.message_key)
                .limit(MOST_SHOWN)
            ).mappings()
            return [RefusedMessage(**row) for row in found]

    def counts(self) -> Mapping[str, int]:
        """Messages by answer: AE and AR are kept aside for a person."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(messages.c.answer, sa.func.count()).group_by(messages.c.answer)
            )
            return {answer: count for answer, count in found}


def _put_event(
    connection: sa.Connection, event: PatientUpdate | PatientMerge, told: Told, now: datetime
) -> None:
    """Write down what was said of a person; a merge also moves the orders to the number that goes on."""
    if isinstance(event, PatientUpdate):
        values = {"kind": "update", **person_row(event.patient)}
    else:
        values = {
            "kind": "merge",
            "prior_patient_id": clean(event.prior_patient_id.reveal()),
            "prior_issuer": clean(event.prior_issuer),
            **person_row(event.surviving),
        }
    connection.execute(patient_events.insert().values(message_key=told.key, at=now, **values))
    if isinstance(event, PatientMerge):
        insurance_sql.move(
            connection, clean(event.prior_patient_id.reveal()), clean(event.prior_issuer), event.surviving
        )
        connection.execute(
            orders.update()
            .where(orders.c.patient_id == values["prior_patient_id"], *_of_issuer(values["prior_issuer"]))
            .values(
                patient_id=values["patient_id"],
                issuer_of_patient_id=values["issuer_of_patient_id"],
                fresh=True,
            )
        )


def _of_issuer(issuer: object) -> tuple[sa.ColumnElement[bool], ...]:
    """Numbers of the same authority, as far as it is known of both."""
    if issuer is None:
        return ()
    return (sa.or_(orders.c.issuer_of_patient_id.is_(None), orders.c.issuer_of_patient_id == issuer),)


# ------------------------------------------------------------------ orders
def _put_order(connection: sa.Connection, order: Order, told: Told, position: int, now: datetime) -> None:
    """Write an order as it stands now. What an older message says only fills gaps."""
    told_at = told.told_at or now
    facts = {key: value for key, value in _order_row(order).items() if value not in (None, {})}
    cancelled = order.control is OrderControl.CANCEL
    before = _known(connection, order)
    if before is None:
        connection.execute(
            orders.insert().values(
                order_id=str(derived_uuid("order", told.key, position)),
                message_key=told.key,
                told_at=told_at,
                cancelled=cancelled,
                fresh=True,
                **{"procedure": {}, **facts},
                **person_row(order.patient),
            )
        )
        return
    is_later = told_at >= before["told_at"]
    known = {key: before[key] for key in _FACTS if before[key] not in (None, {})}
    merged = {**known, **facts} if is_later else {**facts, **known}
    someone = {key: value for key, value in person_row(order.patient).items() if value not in (None, "")}
    connection.execute(
        orders.update()
        .where(orders.c.order_id == before["order_id"])
        .values(
            message_key=told.key,
            told_at=max(told_at, before["told_at"]),
            cancelled=cancelled if is_later else before["cancelled"],
            fresh=True,
            **merged,
            **(someone if is_later else {}),
        )
    )


def _known(connection: sa.Connection, order: Order) -> rows.Row | None:
    """The order on record that this message speaks of: they share a number, and nothing else contradicts."""
    numbers = {name: clean(getattr(order, name)) for name in _NUMBERS}
    shared = [orders.c[name] == value for name, value in numbers.items() if value]
    if not shared:
        return None
    found = connection.execute(
        sa.select(orders).where(sa.or_(*shared)).order_by(orders.c.told_at, orders.c.order_id)
    ).mappings()
    return next((row for row in found if _is_same(row, order, numbers)), None)


def _is_same(row: rows.Row, order: Order, numbers: Mapping[str, str | None]) -> bool:
    procedure = clean(order.requested_procedure_id)
    alike = all(row[name] is None or value is None or row[name] == value for name, value in numbers.items())
    same_step = (
        row["requested_procedure_id"] is None
        or procedure is None
        or row["requested_procedure_id"] == procedure
    )
    return alike and same_step and same_patient(person(row), order.patient) is not False


def _order_row(order: Order) -> dict[str, object]:
    code = order.procedure
    return {
        "placer_order_number": clean(order.placer_order_number),
        "filler_order_number": clean(order.filler_order_number),
        "accession_number": clean(order.accession_number),
        "requested_procedure_id": clean(order.requested_procedure_id),
        "study_instance_uid": order.study_instance_uid,
        "scheduled_procedure_step_id": clean(order.scheduled_procedure_step_id),
        "modality": order.modality,
        "procedure": {
            "code_value": clean(code.code_value) or "",
            "coding_scheme_designator": clean(code.coding_scheme_designator) or "",
            "code_meaning": clean(code.code_meaning) or "",
        }
        if code
        else {},
        "region": order.region,
        "scheduled_at": order.scheduled_at,
        "ordered_at": order.ordered_at,
        "priority": str(order.priority) if order.priority else None,
        "indication": clean(order.indication.reveal()) if order.indication else None,
    }


def order_facts(order: Order) -> dict[str, object]:
    """Everything that an order says, with its person, as it would be kept."""
    return {**_order_row(order), **person_row(order.patient), "control": str(order.control)}


def order_of(row: rows.Row) -> Order:
    """An order from its row."""
    return Order(
        control=OrderControl.CANCEL if row["cancelled"] else OrderControl.NEW,
        patient=person({key: row[key] for key in PERSON}),
        procedure=Code(**row["procedure"]) if row["procedure"] else None,
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]) if row["study_instance_uid"] else None,
        priority=OrderPriority(row["priority"]) if row["priority"] else None,
        indication=Phi(row["indication"]) if row["indication"] else None,
        **{
            key: row[key]
            for key in (
                *_NUMBERS,
                *("requested_procedure_id", "scheduled_procedure_step_id", "modality", "region"),
                *("scheduled_at", "ordered_at"),
            )
        },
    )
