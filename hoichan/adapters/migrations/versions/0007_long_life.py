"""Indexes for a site that ran for years, and the counts of the service. pre: before the new program starts.

Two indexes give way to longer ones that serve the same queries; the program before this one runs on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0007"
down_revision = "0006"

_ORDER = ["tier", "first_received_at", "study_instance_uid"]
_OPEN = sa.text("state != 'signed'")


def upgrade() -> None:
    """The reading order by state and without the signed; deliveries by time and by receiver; common names."""
    op.create_index("ix_studies_state_order", "studies", ["state", *_ORDER])
    op.create_index("ix_studies_open_order", "studies", _ORDER, sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.drop_index("ix_studies_state", table_name="studies")
    op.drop_index("ix_studies_reading_order", table_name="studies")
    op.create_index("ix_deliveries_state_next_attempt_at", "deliveries", ["state", "next_attempt_at"])
    op.create_index(
        "ix_deliveries_state_destination_created_at", "deliveries", ["state", "destination", "created_at"]
    )
    op.drop_index("ix_deliveries_state", table_name="deliveries")
    op.create_index(
        "ix_search_keys_by_time", "search_keys", ["kind", "received_at", "key", "study_instance_uid"]
    )
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("labels", sa.String(length=512), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", "part", name=op.f("pk_tallies")),
    )
    op.create_table(
        "worker_facts",
        sa.Column("executor_id", sa.String(length=128), nullable=False),
        sa.Column("told_at", UtcDateTime(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name=op.f("pk_worker_facts")),
    )


def downgrade() -> None:
    """Back to the indexes of before."""
    op.drop_table("worker_facts")
    op.drop_table("tallies")
    op.drop_index("ix_search_keys_by_time", table_name="search_keys")
    op.create_index("ix_deliveries_state", "deliveries", ["state"])
    op.drop_index("ix_deliveries_state_destination_created_at", table_name="deliveries")
    op.drop_index("ix_deliveries_state_next_attempt_at", table_name="deliveries")
    op.create_index("ix_studies_reading_order", "studies", ["tier", "first_received_at"])
    op.create_index("ix_studies_state", "studies", ["state"])
    op.drop_index("ix_studies_open_order", table_name="studies")
    op.drop_index("ix_studies_state_order", table_name="studies")
