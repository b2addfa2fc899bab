"""Sources to catch up from and commitments asked for. pre: run before the new program starts; adds only."""

from __future__ import annotations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
