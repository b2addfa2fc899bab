"""Who may see what. pre: run before the new program starts; adds tables only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0011"
down_revision = "0010"
_NEW = (
    *("account_scopes", "emergency_accesses", "second_factors", "recovery_codes", "half_sign_ins"),
    *("external_accounts", "external_sign_ins"),
)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "account_scopes",
        _user_name(),
        sa.Column("facilities", sa.JSON(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        _of_a_user("account_scopes"),
        sa.PrimaryKeyConstraint("user_name", name=op.f("pk_account_scopes")),
    )
    op.create_table(
        "emergency_accesses",
        _user_name(),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        _of_a_user("emergency_accesses"),
        sa.PrimaryKeyConstraint(
            "user_name", "study_instance_uid", "begun_at", name=op.f("pk_emergency_accesses")
        ),
    )
    op.create_index("ix_emergency_accesses_begun_at", "emergency_accesses", ["begun_at"])
    _factors()
    _issuers()


def _factors() -> None:
    op.create_table(
        "second_factors",
        _user_name(),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("confirmed_at", UtcDateTime(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        _of_a_user("second_factors"),
        sa.PrimaryKeyConstraint("user_name", name=op.f("pk_second_factors")),
    )
    op.create_table(
        "recovery_codes",
        _user_name(),
        sa.Column("code_sha256", sa.String(length=64), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        _of_a_user("recovery_codes"),
        sa.PrimaryKeyConstraint("user_name", "code_sha256", name=op.f("pk_recovery_codes")),
    )
    op.create_table(
        "half_sign_ins",
        sa.Column("step_sha256", sa.String(length=64), nullable=False),
        _user_name(),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("back", sa.Text(), nullable=False),
        _of_a_user("half_sign_ins"),
        sa.PrimaryKeyConstraint("step_sha256", name=op.f("pk_half_sign_ins")),
    )


def _issuers() -> None:
    op.create_table(
        "external_accounts",
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        _user_name(),
        sa.Column("linked_at", UtcDateTime(), nullable=False),
        _of_a_user("external_accounts"),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_external_accounts")),
        sa.UniqueConstraint("user_name"),
    )
    op.create_table(
        "external_sign_ins",
        sa.Column("state_sha256", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("code_verifier", sa.String(length=128), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("back", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("state_sha256", name=op.f("pk_external_sign_ins")),
    )


def _user_name() -> sa.Column[str]:
    return sa.Column("user_name", sa.String(length=32), nullable=False)


def _of_a_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["user_name"], ["users.user_name"], name=op.f(f"fk_{table}_user_name_users")
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in _NEW:
        op.drop_table(table)
