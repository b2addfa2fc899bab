"""Routing rules of the page; studies by day, by sender. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create the table and the indexes."""
    op.create_table(
        "routing_versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("by", sa.String(32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("restores", sa.Integer()),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_routing_versions")),
    )
    op.create_index(op.f("ix_studies_calling_ae_title"), "studies", ["calling_ae_title"])
    op.create_index(op.f("ix_studies_study_datetime"), "studies", ["study_datetime"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index(op.f("ix_studies_study_datetime"), "studies")
    op.drop_index(op.f("ix_studies_calling_ae_title"), "studies")
    op.drop_table("routing_versions")
