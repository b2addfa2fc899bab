"""The tables of critical findings that people are told, and of what follows a finding (migration 0014)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# Every report that was looked at for critical findings: a report without a row is looked at again.
noticed_reports = sa.Table(
    "noticed_reports",
    metadata,
    sa.Column("report_uid", _UID, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("report_uid", _UID, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),  # by a signature; else the machine's word
    sa.Column("critical", sa.JSON, nullable=False),  # keys of findings
    sa.Column("state", sa.String(16), nullable=False),  # of NoticeState
    sa.Column("born_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("ended_by", sa.String(32)),  # user name of who acknowledged it
    sa.Index("ix_notices_state_born_at", "state", "born_at"),
)

# One row a notice and channel, from the moment it is due.
notice_tellings = sa.Table(
    "notice_tellings",
    metadata,
    sa.Column("number", sa.Integer, sa.ForeignKey("notices.number"), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", UtcDateTime, nullable=False),
    sa.Column("told_at", UtcDateTime),
    sa.Column("detail", sa.String(128), nullable=False),  # what the channel said last; nothing of a patient
)

# What shall be done about an accepted finding, by whom and until when.
follow_ups = sa.Table(
    "follow_ups",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("report_uid", _UID, nullable=False),  # the signed report that holds the finding
    sa.Column("finding_key", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),  # of FollowUpKind
    sa.Column("words", sa.Text, nullable=False),  # of a person; may name a patient
    sa.Column("owner", sa.String(32), nullable=False),  # user name
    sa.Column("due_on", sa.Date, nullable=False),
    sa.Column("asked_by", sa.String(32), nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # of FollowUpState
    sa.Column("outcome", sa.Text, nullable=False),  # words of a person; may name a patient
    sa.Column("closed_by", sa.String(32)),
    sa.Column("closed_at", UtcDateTime),
    sa.Index("ix_follow_ups_state_due_on", "state", "due_on"),
)
