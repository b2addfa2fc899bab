"""The tables of how the service itself is doing: what its workers counted, and what they say of themselves.

Nothing here is about a study or a person. `tallies` only grows in value; its rows are as many as there are
metrics and labels, whatever the number of workers and restarts.
"""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

# Totals of all workers that ever ran; each adds what it counted since it last told.
tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),  # of the metric, without the prefix
    sa.Column("labels", sa.String(512), primary_key=True),  # JSON list of the label values
    sa.Column("part", sa.String(16), primary_key=True),  # "": a counter; else of a histogram
    sa.Column("value", sa.Float, nullable=False),
)

# What each worker says about itself; rows of those that ended go after a day.
worker_facts = sa.Table(
    "worker_facts",
    metadata,
    sa.Column("executor_id", sa.String(128), primary_key=True),
    sa.Column("told_at", UtcDateTime, nullable=False),  # by the database's clock
    sa.Column("facts", sa.JSON, nullable=False),
)
