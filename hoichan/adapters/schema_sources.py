"""The tables of what we ask others for: sources to catch up from, and storage commitment.

A row of `commitments` is one question to one PACS; the newest one of a delivery is open until it is answered.
Identifiers and counts only.
"""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# How far we have come with each source.
sources = sa.Table(
    "sources",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("mark", sa.Text),  # as the adapter wrote it: a sequence number; NULL: never asked
    sa.Column("contacted_at", UtcDateTime),  # the last question that was answered
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),  # since then
    sa.Column("next_at", UtcDateTime),  # not asked before
    sa.Column("error", sa.String(64)),  # code of the last failure
)

# What the sources hold that we heard of. A wanted study is compared with ours, and what is missing fetched.
source_studies = sa.Table(
    "source_studies",
    metadata,
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),  # wanted | held | given_up
    sa.Column("instances", sa.Integer),  # at the source, when it was last seen there
    sa.Column("missing", sa.Integer, nullable=False, server_default="0"),  # here, when last compared
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),  # in a row without any instance
    sa.Column("seen_at", UtcDateTime, nullable=False, index=True),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Index("ix_source_studies_source_state_due_at", "source", "state", "due_at"),
)

commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("transaction_uid", _UID, primary_key=True),  # (0008,1195), a new one for each question
    sa.Column("idempotency_key", sa.String(128), nullable=False, index=True),  # of the delivery
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),  # open | superseded | committed | given_up
    sa.Column("questions", sa.Integer, nullable=False),  # asked about this delivery so far, in all
    sa.Column("resent", sa.Integer, nullable=False),  # how often something was sent again, in all
    sa.Column("begun_at", UtcDateTime, nullable=False),  # of the first question about this delivery
    sa.Column("due_at", UtcDateTime, nullable=False),  # ask, or ask again
)
