"""Steps of jobs, audit feeds, insurance numbers. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ups_steps",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ups_steps")),
    )
    op.create_index("ix_ups_steps_job", "ups_steps", ["study_instance_uid", "revision", "run"])
    op.create_index(op.f("ix_ups_steps_at"), "ups_steps", ["at"])
    op.create_table(
        "audit_feeds",
        sa.Column("receiver", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("receiver", "source", name=op.f("pk_audit_feeds")),
    )
    op.create_table(
        "insurance_numbers",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("message_key", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", "issuer", name=op.f("pk_insurance_numbers")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("insurance_numbers")
    op.drop_table("audit_feeds")
    op.drop_index(op.f("ix_ups_steps_at"), table_name="ups_steps")
    op.drop_index("ix_ups_steps_job", table_name="ups_steps")
    op.drop_table("ups_steps")
