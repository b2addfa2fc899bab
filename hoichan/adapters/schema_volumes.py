"""What networks for volumes measured (0019): raw numbers, kept forever like those of `results`."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

volume_results = sa.Table(
    "volume_results",
    metadata,
    sa.Column("report_uid", _UID, sa.ForeignKey("reports.report_uid"), primary_key=True),
    sa.Column("series_instance_uid", _UID, primary_key=True),
    sa.Column("algorithm_name", sa.String(64), primary_key=True),
    sa.Column("algorithm_version", sa.String(64), nullable=False),
    sa.Column("weights_sha256", sa.String(64), nullable=False),
    sa.Column("measurements", sa.JSON, nullable=False),  # as in `reports`, of this series
    sa.Column("voxels", sa.JSON, nullable=False),  # slices, rows, columns
    sa.Column("voxel_ml", sa.Float, nullable=False),
    sa.Column("sop_instance_uids", sa.JSON, nullable=False),  # the slices that were read, in order
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
)
