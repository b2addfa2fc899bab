"""Versions of the page's receivers on a SQL database, and what is owed to receivers."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters.rows import Row, insert_once
from hoichan.adapters.schema import deliveries
from hoichan.adapters.schema_receivers import receiver_versions
from hoichan.adapters.schema_tokens import forwards
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.ports.receivers import Entry, Owed, ReceiverVersion
from hoichan.reporting.forwarding import ForwardState
from hoichan.types import DeliveryState

_OWED = (ForwardState.PENDING, ForwardState.HELD)


class ReceiversSql:
    """The `ReceiverVersions` port."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def versions(self) -> Sequence[ReceiverVersion]:
        """All of them, the newest first."""
        with transaction(self._engine) as connection:
            return [_version(row) for row in connection.execute(_newest()).mappings()]

    def newest(self) -> int:
        """Its number; 0 for none."""
        with transaction(self._engine) as connection:
            return connection.execute(_number()).scalar_one() or 0

    def write(
        self,
        destinations: Sequence[Entry],
        forward: Sequence[Entry],
        *,
        seen: int,
        who: str,
        reason: str,
        restores: int | None = None,
    ) -> int | None:
        """A new version; None where `seen` is not the newest."""
        with transaction(self._engine) as connection:
            now = connection.execute(_number()).scalar_one()
            if (now or 0) != seen:
                return None
            values = {
                "version": seen + 1,
                "destinations": [dict(one) for one in destinations],
                "forward": [dict(one) for one in forward],
                "by": who,
                "at": self._clock.now(),
                "reason": reason,
                "restores": restores,
            }
            return seen + 1 if insert_once(connection, receiver_versions, values) else None

    def owed(self) -> Owed:
        """Results and images that wait, by receiver; images by rule."""
        waiting = (
            sa.select(deliveries.c.destination, sa.func.count())
            .where(deliveries.c.state == DeliveryState.PENDING)
            .group_by(deliveries.c.destination)
        )
        images = (
            sa.select(forwards.c.destination, forwards.c.rule, sa.func.count())
            .where(forwards.c.state.in_(_OWED))
            .group_by(forwards.c.destination, forwards.c.rule)
        )
        to: dict[str, int] = {}
        by: dict[str, int] = {}
        with transaction(self._engine) as connection:
            for destination, count in connection.execute(waiting):
                to[destination] = count
            for destination, rule, count in connection.execute(images):
                to[destination] = to.get(destination, 0) + count
                by[rule] = by.get(rule, 0) + count
        return Owed(destinations=to, rules=by)


def _newest() -> sa.Select[tuple[object, ...]]:
    return sa.select(receiver_versions).order_by(receiver_versions.c.version.desc())


def _number() -> sa.Select[int | None]:
    return sa.select(sa.func.max(receiver_versions.c.version))


def _version(row: Row) -> ReceiverVersion:
    return ReceiverVersion(
        version=row["version"],
        destinations=tuple(row["destinations"]),
        forward=tuple(row["forward"]),
        by=row["by"],
        at=row["at"],
        reason=row["reason"],
        restores=row["restores"],
    )
