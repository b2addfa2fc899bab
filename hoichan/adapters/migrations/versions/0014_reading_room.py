"""Notices and follow-up. pre: run before the new program starts; adds only.

Reports that are there already count as looked at: an update tells nobody of old films.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "noticed_reports",
        sa.Column("report_uid", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("report_uid", name=op.f("pk_noticed_reports")),
    )
    op.execute("INSERT INTO noticed_reports (report_uid, at) SELECT report_uid, created_at FROM reports")
    op.create_table(
        "notices",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("report_uid", sa.String(64), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("critical", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("born_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("ended_by", sa.String(32)),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_notices")),
    )
    op.create_index(op.f("ix_notices_study_instance_uid"), "notices", ["study_instance_uid"])
    op.create_index("ix_notices_state_born_at", "notices", ["state", "born_at"])
    op.create_table(
        "notice_tellings",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("told_at", UtcDateTime()),
        sa.Column("detail", sa.String(128), nullable=False),
        sa.ForeignKeyConstraint(
            ["number"], ["notices.number"], name=op.f("fk_notice_tellings_number_notices")
        ),
        sa.PrimaryKeyConstraint("number", "channel", name=op.f("pk_notice_tellings")),
    )
    _follow_ups()


def _follow_ups() -> None:
    op.create_table(
        "follow_ups",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("report_uid", sa.String(64), nullable=False),
        sa.Column("finding_key", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("asked_by", sa.String(32), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("closed_by", sa.String(32)),
        sa.Column("closed_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_follow_ups")),
    )
    op.create_index(op.f("ix_follow_ups_study_instance_uid"), "follow_ups", ["study_instance_uid"])
    op.create_index("ix_follow_ups_state_due_on", "follow_ups", ["state", "due_on"])


def downgrade() -> None:
    """Drop the tables; an older program knows nothing of them."""
    for table in ("follow_ups", "notice_tellings", "notices", "noticed_reports"):
        op.drop_table(table)
