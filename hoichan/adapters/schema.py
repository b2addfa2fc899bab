"""The tables of the record of studies, readable on one page.

A row is never rewritten to say something else: revisions, reports, results and trail lines are only
added. What moves is a state column and its times. Times are UTC; documents' bytes lie in the object
store and stand here by digest. Changes come as numbered migrations (`migrations/versions`).
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware times in, aware UTC times out; SQLite alone would drop the zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To naive UTC for the database. Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone cannot be stored.")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


_UID = sa.String(64)

# One row a study: where it stands, and what the reading list is sorted and searched by.
studies = sa.Table(
    "studies",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("state_reason", sa.String(64)),  # RefusalCode or error code
    sa.Column("last_revision", sa.Integer, nullable=False, server_default="0"),
    sa.Column(
        "tier", sa.Integer, nullable=False, server_default="9"
    ),  # 0 critical, 1 urgent, 2 routine, 9 none
    sa.Column("urgency", sa.Integer, nullable=False, server_default="2"),  # rank of types.Urgency
    sa.Column("calling_ae_title", sa.String(16), nullable=False, index=True),
    sa.Column("patient_id", sa.Text, nullable=False),
    sa.Column("issuer_of_patient_id", sa.Text),
    sa.Column("national_id", sa.Text),
    sa.Column("patient_name", sa.Text, nullable=False),
    sa.Column("patient_birth_date", sa.Date),
    sa.Column("patient_sex", sa.Text),
    sa.Column("patient_age_years", sa.Integer),
    sa.Column("accession_number", sa.Text, index=True),
    sa.Column("study_id", sa.Text),
    sa.Column("study_datetime", UtcDateTime, index=True),
    sa.Column("study_description", sa.Text),
    sa.Column("modalities", sa.Text, nullable=False, server_default=""),  # e.g. "CR\\SR"
    sa.Column("first_received_at", UtcDateTime, nullable=False),
    sa.Column("last_received_at", UtcDateTime, nullable=False, index=True),
    sa.Column("reported_at", UtcDateTime),
    sa.Column("delivered_at", UtcDateTime),  # when the last delivery of the newest revision was acknowledged
    sa.Index("ix_studies_state_order", "state", "tier", "first_received_at", "study_instance_uid"),
)
sa.Index(  # the list without the signed: they are nearly all, some day
    "ix_studies_open_order",
    *(studies.c[name] for name in ("tier", "first_received_at", "study_instance_uid")),
    sqlite_where=sa.text("state != 'signed'"),
    postgresql_where=sa.text("state != 'signed'"),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("study_instance_uid", _UID, sa.ForeignKey("studies.study_instance_uid"), primary_key=True),
    sa.Column("series_instance_uid", _UID, primary_key=True),
    sa.Column("modality", sa.Text, nullable=False),
    sa.Column("series_number", sa.Integer),
    sa.Column("series_description", sa.Text),
    sa.Column("body_part_examined", sa.Text),
    sa.Column("view_position", sa.Text),
    sa.Column("laterality", sa.Text),
    sa.Column("manufacturer", sa.Text),
    sa.Column("manufacturer_model_name", sa.Text),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("series_instance_uid", _UID, nullable=False),
    sa.Column("revision", sa.Integer),  # the first revision that holds it; NULL: not assembled yet
    sa.Column("sop_class_uid", _UID, nullable=False),
    sa.Column("transfer_syntax_uid", _UID, nullable=False),
    sa.Column("instance_number", sa.Integer),
    sa.Column("number_of_frames", sa.Integer, nullable=False),
    sa.Column("rows", sa.Integer),
    sa.Column("columns", sa.Integer),
    sa.Column("image_type", sa.JSON, nullable=False),
    sa.Column("presentation_intent_type", sa.Text),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(
        ["study_instance_uid", "series_instance_uid"],
        ["series.study_instance_uid", "series.series_instance_uid"],
        name="fk_instances_series",
    ),
)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("study_instance_uid", _UID, sa.ForeignKey("studies.study_instance_uid"), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column(
        "state", sa.String(16), nullable=False, index=True
    ),  # assembled | reported | failed | cancelled
    sa.Column("closed_by", sa.String(32), nullable=False),
    sa.Column("runs", sa.Integer, nullable=False, server_default="0"),  # asked for again by a person
    sa.Column("begun", sa.Integer, nullable=False, server_default="0"),  # starts that had no end
    sa.Column("assembled_at", UtcDateTime, nullable=False),
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("report_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("refusals", sa.JSON, nullable=False),
    sa.Column("algorithms", sa.JSON, nullable=False),  # name, version, source, sha256, status
    sa.Column("conclusion", sa.JSON, nullable=False),
    sa.Column("disclaimer", sa.JSON, nullable=False),
    sa.Column("predecessor", _UID),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("measurements", sa.JSON),  # of networks for volumes; NULL: none
    sa.ForeignKeyConstraint(
        ["study_instance_uid", "revision"],
        ["revisions.study_instance_uid", "revisions.revision"],
        name="fk_reports_revisions",
    ),
    sa.Index("ix_reports_study_instance_uid_revision", "study_instance_uid", "revision"),
    sa.Index("ix_reports_created_at", "created_at"),
)

# Raw numbers; kept forever, findings can be recomputed from them.
results = sa.Table(
    "results",
    metadata,
    sa.Column("report_uid", _UID, sa.ForeignKey("reports.report_uid"), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("algorithm_name", sa.String(64), primary_key=True),
    sa.Column("algorithm_version", sa.String(64), nullable=False),
    sa.Column("weights_sha256", sa.String(64), nullable=False),
    sa.Column("logits", sa.JSON, nullable=False),
    sa.Column("gate", sa.Float, nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("warnings", sa.JSON, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("report_uid", _UID, sa.ForeignKey("reports.report_uid"), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    # "": the same bytes for all; "*2", "*3", …: so are these, further objects of the kind
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),  # sending order
    sa.Column("uid", _UID, nullable=False, index=True),
    sa.Column("sop_class_uid", _UID),
    sa.Column("media_type", sa.String(64), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("idempotency_key", sa.String(128), primary_key=True),
    sa.Column("report_uid", _UID, sa.ForeignKey("reports.report_uid"), nullable=False, index=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("documents", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False, server_default="0"),  # starts that had no end (0024)
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("next_attempt_at", UtcDateTime, nullable=False),
    sa.Column("delivered_at", UtcDateTime),
    sa.Column("acknowledgement", sa.String(256)),
    sa.Column(
        "not_taken", sa.Boolean
    ),  # the last answer said so: a newer report need not wait behind this (0022)
    sa.Column("committed_at", UtcDateTime),  # the PACS took responsibility (PS3.4 annex J)
    sa.Index("ix_deliveries_state_next_attempt_at", "state", "next_attempt_at"),
    sa.Index("ix_deliveries_state_destination_created_at", "state", "destination", "created_at"),
)

trail = sa.Table(
    "trail",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
)

# Who works here. A worker that has not been seen for a while is dead, and its work is taken over.
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("executor_id", sa.String(128), primary_key=True),
    sa.Column("seen_at", UtcDateTime, nullable=False),  # by the database's clock, the same for all machines
)

# ---------------------------------------------------------------------- people
# Accounts are disabled, never deleted: the audit log speaks of them for decades.
users = sa.Table(
    "users",
    metadata,
    sa.Column("user_name", sa.String(32), primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),  # argon2id
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("password_changed_at", UtcDateTime, nullable=False),
    sa.Column("disabled_at", UtcDateTime),
    sa.Column("full_name", sa.Text),  # as it stands under a signature
    sa.Column("licence_number", sa.Text),  # số chứng chỉ hành nghề; without one nobody signs
)

# Who is signed in. The id itself is only in the browser: a copy of this table opens no door.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_sha256", sa.String(64), primary_key=True),
    sa.Column("user_name", sa.String(32), sa.ForeignKey("users.user_name"), nullable=False, index=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)

# Wrong passwords in a row, by account name and by address. Digests: people type passwords into name fields.
sign_in_failures = sa.Table(
    "sign_in_failures",
    metadata,
    sa.Column("subject_sha256", sa.String(64), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False, index=True),
    sa.Column("blocked_until", UtcDateTime, nullable=False),
)

# Who did what. Rows are only added; triggers refuse anything else (migration 0002), and each hash covers the
# row and the hash before it (`hoichan.guard.audit`). Identifiers only, nothing of a patient.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, …
    sa.Column("what", sa.String(32), nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    sa.Column("who", sa.Text, nullable=False, index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(2), nullable=False),
    sa.Column("study_instance_uid", _UID, index=True),  # the first UID of a record is its study's
    sa.Column("more_uids", sa.JSON, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
