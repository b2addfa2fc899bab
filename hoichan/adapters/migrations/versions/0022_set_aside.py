"""What was set aside, on every machine; which words meet in names; deliveries that were not taken.

pre: run before the new program starts; adds only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0022"
down_revision = "0021"


_AT_ONCE = 10_000  # rows
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # ordered by bytes


def upgrade() -> None:
    """Objects that kill who reads them, what lies in quarantine, and words that meet in a name."""
    op.create_table(
        "set_aside",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("spool", sa.String(length=32), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("released_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", "sop_instance_uid", name=op.f("pk_set_aside")),
    )
    op.create_table(
        "quarantined",
        sa.Column("spool", sa.String(length=32), nullable=False),
        sa.Column("note", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("spool", "note", name=op.f("pk_quarantined")),
    )
    pairs = op.create_table(
        "name_pairs",
        sa.Column("first", _KEY, nullable=False),
        sa.Column("other", _KEY, nullable=False),
        sa.PrimaryKeyConstraint("first", "other", name=op.f("pk_name_pairs")),
        sqlite_with_rowid=False,
    )
    _fill(pairs)
    op.add_column("deliveries", sa.Column("not_taken", sa.Boolean(), nullable=True))
    op.create_index(op.f("ix_quarantined_sop_instance_uid"), "quarantined", ["sop_instance_uid"])


def _fill(pairs: sa.Table) -> None:
    """The words that met so far: some seconds at a million studies."""
    keys = sa.table("search_keys", sa.column("kind"), sa.column("key"))
    names = sa.select(keys.c.key).where(keys.c.kind == "name").distinct()
    connection = op.get_bind()
    met: set[tuple[str, str]] = set()
    for (key,) in connection.execute(names.execution_options(yield_per=_AT_ONCE)):
        first, *others = key.split()
        met.update((first, other) for other in others)
    rows = [{"first": first, "other": other} for first, other in sorted(met)]
    for begin in range(0, len(rows), _AT_ONCE):
        connection.execute(pairs.insert(), rows[begin : begin + _AT_ONCE])


def downgrade() -> None:
    """Take them back."""
    op.drop_column("deliveries", "not_taken")
    op.drop_table("name_pairs")
    op.drop_table("quarantined")
    op.drop_table("set_aside")
