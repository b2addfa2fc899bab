"""Worklists, patients without a match. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "patient_matches",
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("subject_sha256", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(80), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "study_instance_uid", name=op.f("pk_patient_matches")),
    )
    op.create_table(
        "workitems",
        sa.Column("workitem_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("transaction_uid", sa.String(64)),
        sa.Column("touched_at", UtcDateTime()),
        sa.Column("progress", sa.Integer()),
        sa.Column("final", sa.String(16)),
        sa.PrimaryKeyConstraint("workitem_uid", name=op.f("pk_workitems")),
    )
    op.create_index("ix_workitems_touched_at", "workitems", ["touched_at"])
    op.create_index("ix_workitems_job", "workitems", ["study_instance_uid", "revision", "run"], unique=True)
    op.create_table(
        "site_codes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("code_table", sa.String(16), nullable=False),
        sa.Column("load_sha256", sa.String(64), nullable=False),
        sa.Column("loaded_at", UtcDateTime(), nullable=False),
        sa.Column("code", sa.String(50), nullable=False),
        sa.Column("display", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_until", sa.Date()),
        sa.Column("usable", sa.Boolean(), nullable=False),
        sa.Column("finding_key", sa.String(64)),
        sa.Column("verified_by", sa.String(128)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_codes")),
    )
    op.create_index("ix_site_codes_code_table_code", "site_codes", ["code_table", "code"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("site_codes")
    op.drop_table("workitems")
    op.drop_table("patient_matches")
