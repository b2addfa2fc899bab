"""How often a delivery was begun without an end. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """0 in what is there: nobody counted. A program of before, that knows no such column, writes 0."""
    op.add_column("deliveries", sa.Column("begun", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("deliveries", "begun")
