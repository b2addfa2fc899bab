"""What was set aside, on every machine. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Objects that kill who reads them, and what lies in quarantine."""
    op.create_table(
        "set_aside",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("spool", sa.String(length=32), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("released_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", "sop_instance_uid", name=op.f("pk_set_aside")),
    )
    op.create_table(
        "quarantined",
        sa.Column("spool", sa.String(length=32), nullable=False),
        sa.Column("note", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("spool", "note", name=op.f("pk_quarantined")),
    )
    op.create_index(op.f("ix_quarantined_sop_instance_uid"), "quarantined", ["sop_instance_uid"])


def downgrade() -> None:
    """Take them back."""
    op.drop_table("quarantined")
    op.drop_table("set_aside")
