"""The tables of second opinions, links for outsiders, and signatures that wait (migrations 0017, 0028)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)
_NAME = sa.String(32)

# One question to a colleague, or to everybody of a facility. Who is asked sees the study while it is open.
opinions = sa.Table(
    "opinions",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("asked_by", _NAME, nullable=False),
    sa.Column("asked_user", _NAME),  # either this one …
    sa.Column("asked_facility", _NAME),  # … or the accounts that are bound to this one
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("closed_at", UtcDateTime, index=True),  # None: open
    sa.Column("closed_by", _NAME),
)

# What was said about it, the question first. Rows are only added.
opinion_words = sa.Table(
    "opinion_words",
    metadata,
    sa.Column("number", sa.Integer, sa.ForeignKey("opinions.number"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),  # 1, 2, 3, …
    sa.Column("author", _NAME, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("words", sa.Text, nullable=False),
)

# Links for outsiders. The link itself is kept nowhere: a digest of 256 random bits is.
shares = sa.Table(
    "shares",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("made_by", _NAME, nullable=False),
    sa.Column("made_at", UtcDateTime, nullable=False),
    sa.Column("ends_at", UtcDateTime, nullable=False),
    sa.Column("pin_hash", sa.Text),  # argon2id; None: the link alone opens it
    sa.Column("opened", sa.Integer, nullable=False),
    sa.Column("last_opened_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("revoked_by", _NAME),
)

# Signatures whose signer is at the hospital's own sign-in, to say again who it is. Taken once.
pending_signatures = sa.Table(
    "pending_signatures",
    metadata,
    sa.Column("state_sha256", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("user_name", _NAME, nullable=False),
    sa.Column("session_sha256", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # of the draft that was on the screen
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("may_train", sa.Boolean, nullable=False),
    sa.Column("language", sa.String(8), nullable=False),
    sa.Column("begun_at", UtcDateTime, nullable=False),
    sa.Column("last_signed", sa.String(64)),  # the last signature then (0028)
    sa.Column("whose", sa.String(64)),  # a hash of the study's person then (0028)
)
