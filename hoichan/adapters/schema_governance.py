"""The tables of models in use: decisions, thresholds, what shadows said, what films were like (0012).

Nothing here holds a name or number of a patient: studies and reports stand by their UIDs.
"""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# What was decided about models, in order; only added to. What is in use follows from these rows.
model_decisions = sa.Table(
    "model_decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),  # promote | rollback | thresholds | freeze | thaw
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),  # of the package
    sa.Column("digest", sa.String(64), nullable=False),  # of the package: pinned
    sa.Column("thresholds", sa.String(64)),  # digest; NULL: those of the package
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("gates", sa.JSON, nullable=False),  # each gate, what was measured, whether it held
)

# Thresholds that somebody applied; never changed.
model_thresholds = sa.Table(
    "model_thresholds",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("made_at", UtcDateTime, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),  # as its file
    sa.Column("basis", sa.JSON, nullable=False),  # from how many studies, what was expected
)

# Since when a version runs in shadow here: earlier studies are not run again.
model_shadows = sa.Table(
    "model_shadows",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),  # of the package
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
)

# What a version in shadow said. A row is written before it is asked: a crash leaves "begun", and is told.
shadow_results = sa.Table(
    "shadow_results",
    metadata,
    sa.Column("report_uid", _UID, sa.ForeignKey("reports.report_uid"), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),  # "": no image of the study fits
    sa.Column("digest", sa.String(64), primary_key=True),  # of the package
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),  # begun | answered | failed | a RefusalCode
    sa.Column("logits", sa.JSON, nullable=False),
    sa.Column("gate", sa.Float),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Index("ix_shadow_results_digest_started_at", "digest", "started_at"),
)

# Simple statistics of the images that live models read.
input_statistics = sa.Table(
    "input_statistics",
    metadata,
    sa.Column("report_uid", _UID, sa.ForeignKey("reports.report_uid"), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    sa.Column("figures", sa.JSON, nullable=False),  # name -> number; empty: it could not be read
)

# One week held against the first weeks of the version, for all senders ("") and for each.
model_drift = sa.Table(
    "model_drift",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("week", sa.Date, primary_key=True),  # its Monday, site time
    sa.Column("sender", sa.String(16), primary_key=True),
    sa.Column("measure", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("reference_count", sa.Integer, nullable=False),
    sa.Column("week_count", sa.Integer, nullable=False),
    sa.Column("reference_value", sa.Float),  # mean or share
    sa.Column("week_value", sa.Float),
    sa.Column("psi", sa.Float),
    sa.Column("ks", sa.Float),
    sa.Column("p_value", sa.Float),
    sa.Column("state", sa.String(8), nullable=False),  # few | steady | watch | alarm
)
