"""Which workers live, told by the database's clock, which is the same for all machines."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters.schema import workers
from hoichan.adapters.transactions import transaction


class HeartbeatsSql:
    """The `Heartbeats` port on a SQL database. Every method raises RecordsUnavailable while it is away."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        postgresql = engine.dialect.name == "postgresql"
        self._now = (
            "timezone('utc', clock_timestamp())" if postgresql else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        )
        self._since = (
            f"{self._now} - make_interval(secs => :within)"
            if postgresql
            else "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || :within || ' seconds')"
        )

    def beat(self, executor_id: str) -> None:
        """This worker lives."""
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(
                    f"INSERT INTO workers (executor_id, seen_at) VALUES (:id, {self._now}) "
                    f"ON CONFLICT (executor_id) DO UPDATE SET seen_at = {self._now}"
                ),
                {"id": executor_id},
            )

    def forget(self, executor_id: str) -> None:
        """This worker ended in order: its work may be taken over at once."""
        with transaction(self._engine) as connection:
            connection.execute(workers.delete().where(workers.c.executor_id == executor_id))

    def alive(self, within_seconds: float) -> Sequence[str]:
        """The workers seen within the last seconds."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.text(
                    f"SELECT executor_id FROM workers WHERE seen_at >= {self._since} ORDER BY executor_id"
                ),
                {"within": within_seconds},
            )
            return [executor_id for (executor_id,) in found]
