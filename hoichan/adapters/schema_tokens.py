"""The tables of programs that sign in, and of what is forwarded (migrations 0008, 0027)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# Programs. The token itself is only with the program: a copy of this table opens no door.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
)

# Since when a rule forwards: what was here before it was written is not sent by it.
forward_rules = sa.Table(
    "forward_rules",
    metadata,
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
)

# Which revisions a rule was held against: at once ("closed") and when the answer was there ("answered").
forward_plans = sa.Table(
    "forward_plans",
    metadata,
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("stage", sa.String(16), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)

# One row an instance, rule and destination. What moves is the state and its times.
forwards = sa.Table(
    "forwards",
    metadata,
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),  # order of sending: as it came
    sa.Column("sop_class_uid", _UID, nullable=False),
    sa.Column("transfer_syntax_uid", _UID, nullable=False),
    sa.Column("path", sa.Text, nullable=False),  # inside the spool
    sa.Column("state", sa.String(16), nullable=False),  # pending | sent | dead | held
    sa.Column("released", sa.Boolean, nullable=False),  # a person took the risk of its pixels on
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("next_attempt_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("acknowledgement", sa.String(256)),
    sa.Column("begun", sa.Integer, nullable=False, server_default="0"),  # starts that had no end (0027)
    sa.Index("ix_forwards_due", "destination", "state", "next_attempt_at"),
    sa.Index("ix_forwards_study_instance_uid", "study_instance_uid"),
)
