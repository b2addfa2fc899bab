"""What others told of studies that lie elsewhere. pre: run before the new program starts; adds only.

Rejection notes that came before stand in the spool and are read there, as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "rejected_instances",
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("note_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("title", sa.String(16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", "note_uid", name=op.f("pk_rejected_instances")),
    )
    op.create_index(
        op.f("ix_rejected_instances_study_instance_uid"), "rejected_instances", ["study_instance_uid"]
    )
    op.create_table(
        "rejected_reports",
        sa.Column("report_uid", sa.String(64), nullable=False),
        sa.Column("note_uid", sa.String(64), nullable=False),
        sa.Column("title", sa.String(16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("report_uid", name=op.f("pk_rejected_reports")),
    )


def downgrade() -> None:
    """Drop the tables; an older program knows nothing of them."""
    for table in ("rejected_reports", "rejected_instances"):
        op.drop_table(table)
