"""The table of receivers and forwarding rules that were written at the page (migration 0020, ADR-0021)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

# Every version whole, without secrets. Rows are only added: undoing is a new version.
receiver_versions = sa.Table(
    "receiver_versions",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, …
    sa.Column("destinations", sa.JSON, nullable=False),  # entries as the file would have them
    sa.Column("forward", sa.JSON, nullable=False),
    sa.Column("by", sa.String(32), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("restores", sa.Integer),  # the version that this one brings back
)
