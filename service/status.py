"""What `hoichan status` says; works while nothing else runs."""

from __future__ import annotations

from datetime import datetime
from typing import NotRequired, TypedDict

import sqlalchemy as sa

from hoichan.adapters.engine_queued import queued
from hoichan.adapters.schema import deliveries, instances, studies
from hoichan.types import DeliveryState
from service.sources import SourceStatus, source_status
from service.wiring import House


class Status(TypedDict):
    """The figures of `hoichan status --json`; their names are a contract."""

    instances: int  # acknowledged to senders: recorded, or waiting in the spool
    studies: dict[str, int]  # by state
    queues: dict[str, int]  # waiting and running pieces of work
    dead_letters: int
    oldest_undelivered_seconds: float | None
    sources: NotRequired[dict[str, SourceStatus]]  # where any is configured


def status(house: House) -> Status:
    """The present figures."""
    with house.engine.connect() as connection:
        recorded = connection.execute(sa.select(sa.func.count()).select_from(instances)).scalar() or 0
        states = connection.execute(
            sa.select(studies.c.state, sa.func.count()).group_by(studies.c.state)
        ).all()
        dead = connection.execute(
            sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.state == DeliveryState.DEAD)
        ).scalar()
        oldest: datetime | None = connection.execute(
            sa.select(deliveries.c.created_at)
            .where(deliveries.c.state == DeliveryState.PENDING)
            .order_by(deliveries.c.created_at)
            .limit(1)
        ).scalar()
    figures = Status(
        instances=recorded + _unrecorded(house),
        studies={state: count for state, count in states},
        queues=house.work.depths(queued(house.settings.storage.engine_url)),
        dead_letters=dead or 0,
        oldest_undelivered_seconds=(
            None if oldest is None else max(0.0, (house.clock.now() - oldest).total_seconds())
        ),
    )
    if house.settings.sources:
        figures["sources"] = source_status(house)
    return figures


def _unrecorded(house: House) -> int:
    """Accepted objects in the spool that no worker has taken up yet."""
    count = 0
    for uid in house.spool.fresh():
        current = house.studies.current(uid)
        known = {instance.path for instance in current.instances} if current else set()
        count += sum(1 for spooled in house.spool.listing(uid) if spooled.path not in known)
    return count
