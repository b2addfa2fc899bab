"""What workers count and say about themselves, kept in the database that they share.

Totals are of all workers that ever ran: each adds what it counted since it last told, so they never go back,
however often workers are started anew under new names. Ages are by the database's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, workers
from hoichan.adapters.schema_vitals import tallies, worker_facts
from hoichan.adapters.transactions import transaction
from hoichan.meters import Counts, Key

FORGET_HOURS = 24  # what a worker said that has been gone for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker that beat within the last day."""

    executor_id: str
    age_seconds: float  # since its last heartbeat
    facts: Mapping[str, Any]  # empty until it has told


class VitalsSql:
    """Reads and writes of `tallies` and `worker_facts`. Every method raises RecordsUnavailable."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        postgresql = engine.dialect.name == "postgresql"
        self._now = (
            "timezone('utc', clock_timestamp())" if postgresql else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        )
        self._day_ago = (
            f"{self._now} - interval '{FORGET_HOURS} hours'"
            if postgresql
            else f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{FORGET_HOURS} hours')"
        )

    def tell(self, executor_id: str, facts: Mapping[str, Any]) -> None:
        """Keep what a worker says about itself in the place of what it said before."""
        with transaction(self._engine) as connection:
            statement = sa.text(
                "INSERT INTO worker_facts (executor_id, told_at, facts) "
                f"VALUES (:id, {self._now}, :facts) ON CONFLICT (executor_id) "
                "DO UPDATE SET told_at = excluded.told_at, facts = excluded.facts"
            ).bindparams(sa.bindparam("facts", type_=sa.JSON))
            connection.execute(statement, {"id": executor_id, "facts": dict(facts)})
            for table, column in (("worker_facts", "told_at"), ("workers", "seen_at")):
                connection.execute(sa.text(f"DELETE FROM {table} WHERE {column} < {self._day_ago}"))

    def add(self, counts: Counts) -> None:
        """Add to the totals, all or nothing. Rows are taken in one order, so workers never wait in a ring."""
        if not counts:
            return
        statement = sa.text(
            "INSERT INTO tallies (name, labels, part, value) VALUES (:name, :labels, :part, :value) "
            "ON CONFLICT (name, labels, part) DO UPDATE SET value = tallies.value + excluded.value"
        )
        with transaction(self._engine) as connection:
            for key, amount in sorted(counts.items()):
                labels = json.dumps(list(key.labels), ensure_ascii=False)
                connection.execute(
                    statement, {"name": key.name, "labels": labels, "part": key.part, "value": amount}
                )

    def totals(self) -> dict[Key, float]:
        """What all workers counted."""
        with transaction(self._engine) as connection:
            found = connection.execute(sa.select(tallies))
            return {Key(row.name, tuple(json.loads(row.labels)), row.part): row.value for row in found}

    def workers(self) -> Sequence[WorkerView]:
        """The workers that beat within the last day, latest first."""
        with transaction(self._engine) as connection:
            now = self._clock(connection)
            found = connection.execute(
                sa.select(workers.c.executor_id, workers.c.seen_at, worker_facts.c.facts)
                .outerjoin(worker_facts, worker_facts.c.executor_id == workers.c.executor_id)
                .order_by(workers.c.seen_at.desc())
            )
            return [
                WorkerView(
                    executor_id=row.executor_id,
                    age_seconds=max(0.0, (now - row.seen_at).total_seconds()),
                    facts=row.facts or {},
                )
                for row in found
            ]

    def skew_seconds(self) -> float:
        """How far this machine's clock is ahead of the database's; behind: negative."""
        with transaction(self._engine) as connection:
            before = datetime.now(UTC)
            there = self._clock(connection)
            after = datetime.now(UTC)
        return (before + (after - before) / 2 - there).total_seconds()

    def _clock(self, connection: sa.Connection) -> datetime:
        now: datetime = connection.execute(
            sa.select(sa.type_coerce(sa.literal_column(self._now), _CLOCK[connection.dialect.name]))
        ).scalar_one()
        return now


class _Text(sa.TypeDecorator[datetime]):
    """SQLite tells its clock as text."""

    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


_CLOCK: Mapping[str, sa.types.TypeEngine[datetime]] = {"sqlite": _Text(), "postgresql": UtcDateTime()}
