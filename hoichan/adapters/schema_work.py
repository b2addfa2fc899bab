"""The tables of the order of work: what is known of an analysis that waits, and which receivers answer.

What waits is told by `revisions.state`, and what is due by `deliveries`; these rows only say what the order
needs besides. A missing row means the defaults.
"""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# One row a closed revision. It is in the engine's hands when `dispatched_run` is its present run.
analyses = sa.Table(
    "analyses",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("models", sa.Text, nullable=False),  # that will read it, sorted, e.g. "ct-lung\\cxr-demo"
    sa.Column("backlog", sa.Boolean, nullable=False),  # can wait for the off-peak hours
    sa.Column("dispatched_run", sa.Integer),
    sa.Column("dispatched_at", UtcDateTime),
)

# One row a receiver that failed to answer at least once.
receivers = sa.Table(
    "receivers",
    metadata,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),  # up | suspected | down
    sa.Column("since", UtcDateTime, nullable=False),  # it stands in this state
    sa.Column("detail", sa.String(256), nullable=False),  # what was seen last
    sa.Column("failures", sa.Integer, nullable=False),  # probes in a row that found nobody
    sa.Column("next_probe_at", UtcDateTime, nullable=False),
)
