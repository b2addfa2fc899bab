"""Measurements of networks for volumes. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Measurements of a report, and the raw numbers of each series."""
    op.add_column("reports", sa.Column("measurements", sa.JSON(), nullable=True))
    op.create_table(
        "volume_results",
        sa.Column("report_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("algorithm_name", sa.String(length=64), nullable=False),
        sa.Column("algorithm_version", sa.String(length=64), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("measurements", sa.JSON(), nullable=False),
        sa.Column("voxels", sa.JSON(), nullable=False),
        sa.Column("voxel_ml", sa.Float(), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_uid"], ["reports.report_uid"], name=op.f("fk_volume_results_report_uid_reports")
        ),
        sa.PrimaryKeyConstraint(
            "report_uid", "series_instance_uid", "algorithm_name", name=op.f("pk_volume_results")
        ),
    )


def downgrade() -> None:
    """Take them back."""
    op.drop_table("volume_results")
    op.drop_column("reports", "measurements")
