"""What the work engine's queues hold, read from its tables: whoever only looks need not load the engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from hoichan.adapters.database import open_database

ANALYSE, DELIVER = "analyse", "deliver"  # the two queues


def queued(url: str) -> Mapping[str, int]:
    """Waiting and running pieces of work by queue, read without starting the engine."""
    if url.startswith("sqlite") and not Path(sa.make_url(url).database or "").exists():
        return {}
    engine = open_database(url)
    try:
        with engine.connect() as connection:
            schema = None if engine.dialect.name == "sqlite" else "dbos"
            if not sa.inspect(connection).has_table("workflow_status", schema=schema):
                return {}
            table = sa.table("workflow_status", sa.column("queue_name"), sa.column("status"), schema=schema)
            found = connection.execute(
                sa.select(table.c.queue_name, sa.func.count())
                .where(table.c.status.in_(["ENQUEUED", "PENDING", "DELAYED"]))
                .group_by(table.c.queue_name)
            )
            return {name or "": count for name, count in found}
    finally:
        engine.dispose()
