"""The table of routing rules that were written at the page (migration 0018, ADR-0019)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

# Every version whole. Rows are only added: undoing is a new version that says what an older one said.
routing_versions = sa.Table(
    "routing_versions",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, …
    sa.Column("rules", sa.JSON, nullable=False),  # hoichan.reporting.routing.Rule, in order
    sa.Column("by", sa.String(32), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("restores", sa.Integer),  # the version that this one brings back
)
