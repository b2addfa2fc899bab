"""Reports by time, for those who ask what is new. pre: run before the new program starts; adds only."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_reports_created_at", "reports", ["created_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_reports_created_at", "reports")
