"""Tables of the worklist towards other programs: who wants to be told, work asked for ahead of the images."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# Who wants to hear of jobs (PS3.4 CC.2.3). `workitem_uid` is a job, or one of the two well-known instances.
ups_subscriptions = sa.Table(
    "ups_subscriptions",
    metadata,
    sa.Column("ae_title", sa.String(16), primary_key=True),
    sa.Column("workitem_uid", _UID, primary_key=True),
    sa.Column("who", sa.String(64), nullable=False),  # the program that alone may open the channel
    sa.Column("deletion_lock", sa.Boolean, nullable=False),
    sa.Column("filter", sa.JSON, nullable=False),  # {} or keys of the filtered subscription
    sa.Column("since", UtcDateTime, nullable=False),  # what ended before is not told
    sa.Column("suspended_at", UtcDateTime),  # no new jobs are added after this; NULL: goes on
)

# What each subscriber was told last of each job, so that a lost connection loses no event.
ups_told = sa.Table(
    "ups_told",
    metadata,
    sa.Column("ae_title", sa.String(16), primary_key=True),
    sa.Column("workitem_uid", _UID, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("readiness", sa.String(16), nullable=False),
    sa.Column("progress", sa.Integer),
    sa.Column("cancel_asked", sa.Integer, nullable=False, server_default="0"),  # id of the last request told
    sa.Column("ended", sa.Boolean, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_ups_told_ae_title_ended", "ae_title", "ended"),
)

# Somebody asks the holder of a job to give it up. It is his to decide.
ups_cancel_requests = sa.Table(
    "ups_cancel_requests",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("workitem_uid", _UID, nullable=False, index=True),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),  # reason and contact, as they were said
)

# Work that was asked for before the images were here. It becomes a row of `workitems` when they are.
ups_awaited = sa.Table(
    "ups_awaited",
    metadata,
    sa.Column("workitem_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("urgency", sa.Integer, nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False, server_default=sa.false()),
)

# What another program said it made: references to results, kept as they were said.
ups_outputs = sa.Table(
    "ups_outputs",
    metadata,
    sa.Column("workitem_uid", _UID, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),  # items of (0040,4033)
)

# Every state that a job was in, in order, written by whoever changed it; only while somebody subscribes.
ups_steps = sa.Table(
    "ups_steps",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # (0074,1000)
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    sa.Index("ix_ups_steps_job", "study_instance_uid", "revision", "run"),
)
