"""What lies in quarantine: who sent it, when, how large, and of which study it says it is.

pre: run before the new program starts; adds only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0026"
down_revision = "0024"


def upgrade() -> None:
    """Columns that the worker of each machine fills."""
    op.add_column("quarantined", sa.Column("received_at", UtcDateTime(), nullable=True))
    op.add_column("quarantined", sa.Column("study_instance_uid", sa.String(length=64), nullable=True))
    op.add_column("quarantined", sa.Column("calling_ae_title", sa.String(length=64), nullable=True))
    op.add_column("quarantined", sa.Column("size_bytes", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_quarantined_study_instance_uid"), "quarantined", ["study_instance_uid"])


def downgrade() -> None:
    """Take them back."""
    op.drop_index(op.f("ix_quarantined_study_instance_uid"), "quarantined")
    for name in ("size_bytes", "calling_ae_title", "study_instance_uid", "received_at"):
        op.drop_column("quarantined", name)
