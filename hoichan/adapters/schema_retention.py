"""The tables of what is kept and what goes: legal holds, classes of records, removals of pixels.

Nothing here is ever deleted: a hold is lifted, a class is set anew, a removal is done. Results, documents and
the audit log are never removed.
"""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# Nothing of the study, or of any study of the patient, is removed while a hold is not lifted.
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("hold_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, index=True),  # of one study, or
    sa.Column("patient_id", sa.Text, index=True),  # of one patient
    sa.Column("issuer_of_patient_id", sa.Text),  # NULL: whoever issued the number
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("added_at", UtcDateTime, nullable=False),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("lifted_at", UtcDateTime),
    sa.Column("lifted_by", sa.Text),
)

# What kind of medical record a study belongs to, where somebody said so; general otherwise.
record_classes = sa.Table(
    "record_classes",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("record_class", sa.String(32), nullable=False),  # `hoichan.reporting.retention.RecordClass`
    sa.Column("set_at", UtcDateTime, nullable=False),
    sa.Column("set_by", sa.Text, nullable=False),
)

# One row for each time that the pixels of a study were removed. Marked first, done when the files are gone.
removals = sa.Table(
    "removals",
    metadata,
    sa.Column("removal_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),  # marked | done | dropped
    sa.Column("marked_at", UtcDateTime, nullable=False),  # what came later is not touched
    sa.Column("ended_at", UtcDateTime),
    sa.Column("files", sa.Integer, nullable=False, server_default="0"),  # of the machine that led
    sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
)
