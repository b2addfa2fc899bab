"""Second opinions, links for outsiders, pending signatures. pre: before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "opinions",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("asked_by", sa.String(32), nullable=False),
        sa.Column("asked_user", sa.String(32)),
        sa.Column("asked_facility", sa.String(32)),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime()),
        sa.Column("closed_by", sa.String(32)),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_opinions")),
    )
    op.create_index(op.f("ix_opinions_study_instance_uid"), "opinions", ["study_instance_uid"])
    op.create_index(op.f("ix_opinions_closed_at"), "opinions", ["closed_at"])
    op.create_table(
        "opinion_words",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["number"], ["opinions.number"], name=op.f("fk_opinion_words_number_opinions")
        ),
        sa.PrimaryKeyConstraint("number", "place", name=op.f("pk_opinion_words")),
    )
    op.create_table(
        "shares",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("made_by", sa.String(32), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("pin_hash", sa.Text()),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("last_opened_at", UtcDateTime()),
        sa.Column("revoked_at", UtcDateTime()),
        sa.Column("revoked_by", sa.String(32)),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_shares")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_shares_token_sha256")),
    )
    op.create_index(op.f("ix_shares_study_instance_uid"), "shares", ["study_instance_uid"])
    op.create_table(
        "pending_signatures",
        sa.Column("state_sha256", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("user_name", sa.String(32), nullable=False),
        sa.Column("session_sha256", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("may_train", sa.Boolean(), nullable=False),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("state_sha256", name=op.f("pk_pending_signatures")),
    )


def downgrade() -> None:
    """Drop the tables; an older program knows nothing of them."""
    for table in ("pending_signatures", "shares", "opinion_words", "opinions"):
        op.drop_table(table)
