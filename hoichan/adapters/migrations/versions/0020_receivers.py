"""Receivers and forwarding rules of the page. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "receiver_versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("destinations", sa.JSON(), nullable=False),
        sa.Column("forward", sa.JSON(), nullable=False),
        sa.Column("by", sa.String(32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("restores", sa.Integer()),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_receiver_versions")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("receiver_versions")
