"""Worklist: subscribers, work ahead of its images, results of others. pre: run before; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ups_subscriptions",
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("workitem_uid", sa.String(64), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("suspended_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("ae_title", "workitem_uid", name=op.f("pk_ups_subscriptions")),
    )
    op.create_table(
        "ups_told",
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("workitem_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("readiness", sa.String(16), nullable=False),
        sa.Column("progress", sa.Integer()),
        sa.Column("cancel_asked", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("ae_title", "workitem_uid", name=op.f("pk_ups_told")),
    )
    op.create_index("ix_ups_told_ae_title_ended", "ups_told", ["ae_title", "ended"])
    op.create_table(
        "ups_cancel_requests",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("workitem_uid", sa.String(64), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ups_cancel_requests")),
    )
    op.create_index("ix_ups_cancel_requests_workitem_uid", "ups_cancel_requests", ["workitem_uid"])
    op.create_table(
        "ups_awaited",
        sa.Column("workitem_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("workitem_uid", name=op.f("pk_ups_awaited")),
    )
    op.create_index("ix_ups_awaited_study_instance_uid", "ups_awaited", ["study_instance_uid"])
    op.create_table(
        "ups_outputs",
        sa.Column("workitem_uid", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("workitem_uid", name=op.f("pk_ups_outputs")),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("ups_outputs", "ups_awaited", "ups_cancel_requests", "ups_told", "ups_subscriptions"):
        op.drop_table(name)
