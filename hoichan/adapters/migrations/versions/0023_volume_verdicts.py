"""Verdicts about volumes, in drafts and signatures. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """NULL in what was signed before: nobody could say anything of a volume."""
    op.add_column("review_drafts", sa.Column("volumes", sa.JSON(), nullable=True))
    op.add_column("reviews", sa.Column("volumes", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Take them back; refused once somebody has signed one: no older program could tell it unchanged."""
    signed = sa.text("SELECT 1 FROM reviews WHERE volumes IS NOT NULL LIMIT 1")
    if op.get_bind().execute(signed).first() is not None:
        raise RuntimeError("There are signed verdicts about volumes: an older program cannot keep them.")
    op.drop_column("reviews", "volumes")
    op.drop_column("review_drafts", "volumes")
