"""Retention and legal hold. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Holds, classes of records, removals, and an index that finds the oldest studies."""
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("issuer_of_patient_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("added_at", UtcDateTime(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("lifted_at", UtcDateTime(), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_holds")),
    )
    op.create_index(op.f("ix_holds_study_instance_uid"), "holds", ["study_instance_uid"])
    op.create_index(op.f("ix_holds_patient_id"), "holds", ["patient_id"])
    op.create_table(
        "record_classes",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("record_class", sa.String(length=32), nullable=False),
        sa.Column("set_at", UtcDateTime(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_record_classes")),
    )
    op.create_table(
        "removals",
        sa.Column("removal_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("marked_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("files", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("removal_id", name=op.f("pk_removals")),
    )
    op.create_index(op.f("ix_removals_study_instance_uid"), "removals", ["study_instance_uid"])
    op.create_index(op.f("ix_removals_state"), "removals", ["state"])
    op.create_index(op.f("ix_studies_last_received_at"), "studies", ["last_received_at"])


def downgrade() -> None:
    """Drop them; what was removed stays removed."""
    op.drop_index(op.f("ix_studies_last_received_at"), table_name="studies")
    for table in ("removals", "record_classes", "holds"):
        op.drop_table(table)
