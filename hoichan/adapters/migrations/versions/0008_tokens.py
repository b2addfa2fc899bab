"""Programs that sign in, and forwarding. pre: run before the new program starts; adds tables only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tokens")),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_table(
        "forward_rules",
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("rule", name=op.f("pk_forward_rules")),
    )
    op.create_table(
        "forward_plans",
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "rule", "study_instance_uid", "revision", "stage", name=op.f("pk_forward_plans")
        ),
    )
    _forwards()


def _forwards() -> None:
    op.create_table(
        "forwards",
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.Column("acknowledgement", sa.String(length=256), nullable=True),
        sa.PrimaryKeyConstraint(
            "rule", "destination", "study_instance_uid", "sop_instance_uid", name=op.f("pk_forwards")
        ),
    )
    op.create_index("ix_forwards_due", "forwards", ["destination", "state", "next_attempt_at"])
    op.create_index("ix_forwards_study_instance_uid", "forwards", ["study_instance_uid"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("forwards", "forward_plans", "forward_rules", "tokens"):
        op.drop_table(table)
