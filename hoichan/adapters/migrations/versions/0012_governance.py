"""Models in shadow, thresholds and drift. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Decisions about models, thresholds, what shadows said, statistics of images, drift."""
    op.create_table(
        "model_decisions",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("thresholds", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_decisions")),
    )
    op.create_table(
        "model_thresholds",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("basis", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_model_thresholds")),
    )
    op.create_table(
        "model_shadows",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_model_shadows")),
    )
    op.create_table(
        "shadow_results",
        sa.Column("report_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("logits", sa.JSON(), nullable=False),
        sa.Column("gate", sa.Float(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["report_uid"], ["reports.report_uid"], name=op.f("fk_shadow_results_report_uid_reports")
        ),
        sa.PrimaryKeyConstraint("report_uid", "sop_instance_uid", "digest", name=op.f("pk_shadow_results")),
    )
    op.create_index(op.f("ix_shadow_results_digest_started_at"), "shadow_results", ["digest", "started_at"])
    op.create_table(
        "input_statistics",
        sa.Column("report_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_uid"], ["reports.report_uid"], name=op.f("fk_input_statistics_report_uid_reports")
        ),
        sa.PrimaryKeyConstraint("report_uid", "sop_instance_uid", name=op.f("pk_input_statistics")),
    )
    op.create_index(op.f("ix_input_statistics_at"), "input_statistics", ["at"])
    op.create_table(
        "model_drift",
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("sender", sa.String(length=16), nullable=False),
        sa.Column("measure", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("reference_count", sa.Integer(), nullable=False),
        sa.Column("week_count", sa.Integer(), nullable=False),
        sa.Column("reference_value", sa.Float(), nullable=True),
        sa.Column("week_value", sa.Float(), nullable=True),
        sa.Column("psi", sa.Float(), nullable=True),
        sa.Column("ks", sa.Float(), nullable=True),
        sa.Column("p_value", sa.Float(), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("model", "week", "sender", "measure", name=op.f("pk_model_drift")),
    )


def downgrade() -> None:
    """Without them."""
    op.drop_table("model_drift")
    op.drop_table("input_statistics")
    op.drop_table("shadow_results")
    op.drop_table("model_shadows")
    op.drop_table("model_thresholds")
    op.drop_table("model_decisions")
