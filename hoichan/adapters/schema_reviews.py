"""The tables of what radiologists say about reports (migration 0010)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# One draft a study. Each save raises the version; a save of an older version changes nothing.
review_drafts = sa.Table(
    "review_drafts",
    metadata,
    sa.Column("study_instance_uid", _UID, sa.ForeignKey("studies.study_instance_uid"), primary_key=True),
    sa.Column("report_uid", _UID, nullable=False),  # that was read
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("judgements", sa.JSON, nullable=False),
    sa.Column("sections", sa.JSON, nullable=False),
    sa.Column("seconds_spent", sa.Integer, nullable=False),
    sa.Column("author", sa.String(32), nullable=False, index=True),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("volumes", sa.JSON(none_as_null=True)),  # verdicts about volumes (migration 0023); NULL: none
)

# Who reads what. Soft: it tells others and stops nobody. Times are of the database's clock, one for all.
review_locks = sa.Table(
    "review_locks",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("reader", sa.String(32), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)

# Signatures. Rows are only added; triggers refuse anything else, and `content_sha256` covers the whole row
# (`hoichan.reporting.sealing`).
reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("report_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # 1, 2, 3, … of the study: two at once are one too many
    sa.Column("judged", _UID, nullable=False),
    sa.Column("predecessor", _UID, nullable=False, index=True),
    sa.Column("known_as", _UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reviewer", sa.String(32), nullable=False, index=True),
    sa.Column("reviewer_name", sa.Text, nullable=False),
    sa.Column("licence_number", sa.Text, nullable=False),
    sa.Column("signed_at", UtcDateTime, nullable=False, index=True),
    sa.Column("judgements", sa.JSON, nullable=False),
    sa.Column("sections", sa.JSON, nullable=False),
    sa.Column("language", sa.String(8), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("may_train", sa.Boolean, nullable=False),
    sa.Column("seconds_spent", sa.Integer, nullable=False),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("volumes", sa.JSON(none_as_null=True)),  # verdicts about volumes (migration 0023); NULL: none
    sa.Index("ix_reviews_study_instance_uid_number", "study_instance_uid", "number", unique=True),
)
