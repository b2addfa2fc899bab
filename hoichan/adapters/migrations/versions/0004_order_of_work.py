"""Urgency, cancelling and what waits. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the urgency of a study, and what the order of work needs to know."""
    op.add_column("studies", sa.Column("urgency", sa.Integer(), server_default="2", nullable=False))
    op.create_table(
        "analyses",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("backlog", sa.Boolean(), nullable=False),
        sa.Column("dispatched_run", sa.Integer(), nullable=True),
        sa.Column("dispatched_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", "revision", name=op.f("pk_analyses")),
    )
    op.create_table(
        "receivers",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.String(length=256), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_probe_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_receivers")),
    )


def downgrade() -> None:
    """Migrations only go forward; a backup goes back."""
