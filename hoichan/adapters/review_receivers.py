"""Who has a report, and what of it has not left yet."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.deliveries_asked import is_report
from hoichan.adapters.schema import deliveries
from hoichan.types import DeliveryState, SOPInstanceUID


def stop_unsent(connection: sa.Connection, which: sa.ColumnElement[bool], *, because: str) -> None:
    """What is not sent is never sent, also what a person had stopped: `because` is of CLOSED_FOR_GOOD."""
    connection.execute(
        deliveries.update()
        .where(which, deliveries.c.state != DeliveryState.SENT)
        .values(state=DeliveryState.CANCELLED, acknowledgement=because)
    )


def may_be_there() -> sa.ColumnElement[bool]:
    """That a receiver has what a delivery hands over, or may have it: one that waits may be on its way.

    One that ended unsent may be there as well, after a start that had no end or a try that nobody answered.
    One try that was refused, or none, is not.
    """
    unheard = sa.and_(deliveries.c.attempts > 0, deliveries.c.not_taken.is_(False))
    ended = deliveries.c.state.in_([DeliveryState.DEAD, DeliveryState.CANCELLED])
    return sa.or_(
        deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.SENT]),
        sa.and_(
            ended,
            is_report(deliveries),
            sa.or_(deliveries.c.begun > 0, deliveries.c.attempts > 1, unheard),
        ),
    )


def have_it(connection: sa.Connection, report_uid: SOPInstanceUID) -> list[str]:
    """The receivers that have a report, or may have it."""
    found = connection.execute(
        sa.select(deliveries.c.destination)
        .where(deliveries.c.report_uid == report_uid, may_be_there())
        .distinct()
        .order_by(deliveries.c.destination)
    )
    return [name for (name,) in found]
