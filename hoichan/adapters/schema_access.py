"""The tables of who may see what, and of the further ways to say who one is (migration 0011)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)
_NAME = sa.String(32)

# An account that is bound to facilities has a row, be the list empty or not; one without a row sees all.
account_scopes = sa.Table(
    "account_scopes",
    metadata,
    sa.Column("user_name", _NAME, sa.ForeignKey("users.user_name"), primary_key=True),
    sa.Column("facilities", sa.JSON, nullable=False),  # codes of [[facilities]] in the settings
    sa.Column("changed_at", UtcDateTime, nullable=False),
)

# Break-glass. Rows are only added; what a person wrote as a reason is for the auditor alone.
emergency_accesses = sa.Table(
    "emergency_accesses",
    metadata,
    sa.Column("user_name", _NAME, sa.ForeignKey("users.user_name"), primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("begun_at", UtcDateTime, primary_key=True),
    sa.Column("ends_at", UtcDateTime, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),  # guard.emergency.Reason
    sa.Column("words", sa.Text, nullable=False),
    sa.Index("ix_emergency_accesses_begun_at", "begun_at"),
)

# The shared secret of an authenticator (RFC 6238), sealed under a key that is not in the database.
second_factors = sa.Table(
    "second_factors",
    metadata,
    sa.Column("user_name", _NAME, sa.ForeignKey("users.user_name"), primary_key=True),
    sa.Column("sealed_secret", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("confirmed_at", UtcDateTime),  # NULL: shown, no code of it was typed yet
    sa.Column("last_step", sa.BigInteger, nullable=False),  # a code of this step or before is not taken again
)

# What opens once where the authenticator is lost. Digests of 80 random bits.
recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("user_name", _NAME, sa.ForeignKey("users.user_name"), primary_key=True),
    sa.Column("code_sha256", sa.String(64), primary_key=True),
    sa.Column("used_at", UtcDateTime),
)

# The password was right, the second factor is still asked for. The id is only in the browser.
half_sign_ins = sa.Table(
    "half_sign_ins",
    metadata,
    sa.Column("step_sha256", sa.String(64), primary_key=True),
    sa.Column("user_name", _NAME, sa.ForeignKey("users.user_name"), nullable=False),
    sa.Column("begun_at", UtcDateTime, nullable=False),
    sa.Column("back", sa.Text, nullable=False),
)

# Accounts whose password the hospital's own sign-in keeps (OpenID Connect).
external_accounts = sa.Table(
    "external_accounts",
    metadata,
    sa.Column("issuer", sa.String(255), primary_key=True),
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("user_name", _NAME, sa.ForeignKey("users.user_name"), nullable=False, unique=True),
    sa.Column("linked_at", UtcDateTime, nullable=False),
)

# Sign-ins that went to the issuer and have not come back; each comes back once.
external_sign_ins = sa.Table(
    "external_sign_ins",
    metadata,
    sa.Column("state_sha256", sa.String(64), primary_key=True),
    sa.Column("nonce", sa.String(64), nullable=False),
    sa.Column("code_verifier", sa.String(128), nullable=False),
    sa.Column("begun_at", UtcDateTime, nullable=False),
    sa.Column("back", sa.Text, nullable=False),
)
