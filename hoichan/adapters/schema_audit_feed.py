"""How far each audit repository has been told what happened here, and who may tell what just now."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

# A row a receiver and source: "audit" (what people did) and "trail" (what the machine did). What stands
# behind `position` has not been taken yet. `hoichan.adapters.leases_sql` keeps its rows here too, under other
# sources: `position` is the number of the lease then, and `at` its end.
audit_feeds = sa.Table(
    "audit_feeds",
    metadata,
    sa.Column("receiver", sa.String(64), primary_key=True),  # name in settings
    sa.Column("source", sa.String(16), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),  # of the last record that the receiver took
    sa.Column("at", UtcDateTime, nullable=False),  # when it took it
)
