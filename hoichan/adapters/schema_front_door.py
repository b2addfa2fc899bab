"""The tables of what doors and others told about studies that lie elsewhere (migration 0015)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# What rejection notes took back, by image; a note may lie in another study, and come before the image.
rejected_instances = sa.Table(
    "rejected_instances",
    metadata,
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("note_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),  # of the image
    sa.Column("title", sa.String(16), nullable=False),  # code value, DCM (CID 7011)
    sa.Column("at", UtcDateTime, nullable=False),
)

# Reports of the machine whose SR a note took back.
rejected_reports = sa.Table(
    "rejected_reports",
    metadata,
    sa.Column("report_uid", _UID, primary_key=True),
    sa.Column("note_uid", _UID, nullable=False),
    sa.Column("title", sa.String(16), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
