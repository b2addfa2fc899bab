"""What was seen by who went to sign elsewhere. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """NULL in what is there: nobody said; such a signature waits for minutes at most."""
    op.add_column("pending_signatures", sa.Column("last_signed", sa.String(64)))
    op.add_column("pending_signatures", sa.Column("whose", sa.String(64)))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("pending_signatures", "whose")
    op.drop_column("pending_signatures", "last_signed")
