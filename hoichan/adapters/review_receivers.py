"""Who has a report, and what of it has not left yet."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import deliveries
from hoichan.types import DeliveryState, SOPInstanceUID


def stop_unsent(connection: sa.Connection, which: sa.ColumnElement[bool], *, because: str) -> None:
    """What is not sent is never sent, also what a person had stopped: `because` is of CLOSED_FOR_GOOD."""
    connection.execute(
        deliveries.update()
        .where(which, deliveries.c.state != DeliveryState.SENT)
        .values(state=DeliveryState.CANCELLED, acknowledgement=because)
    )


def have_it(connection: sa.Connection, report_uid: SOPInstanceUID) -> list[str]:
    """The receivers that have a report, or may have it: one that waits may be on its way."""
    found = connection.execute(
        sa.select(deliveries.c.destination)
        .where(
            deliveries.c.report_uid == report_uid,
            deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.SENT]),
        )
        .distinct()
        .order_by(deliveries.c.destination)
    )
    return [name for (name,) in found]
