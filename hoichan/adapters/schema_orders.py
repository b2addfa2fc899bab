"""The tables of orders, of patients who were corrected, and of what the list is searched by.

Messages, versions of a patient and questions are only added; what moves is a state and its times. An order
is one row that says how it stands now; what was told stays in `messages`.
"""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # ordered by bytes, for ranges


def _person() -> tuple[sa.Column[object], ...]:
    """A person as DICOM and HL7 know them; the same columns as in `studies`."""
    return (
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text),
        sa.Column("national_id", sa.Text),
        sa.Column("patient_name", sa.Text, nullable=False),
        sa.Column("patient_birth_date", sa.Date),
        sa.Column("patient_sex", sa.Text),
    )


# What came through the order door, whole, and what was answered. The same message has the same key.
messages = sa.Table(
    "messages",
    metadata,
    sa.Column("message_key", sa.String(64), primary_key=True),  # SHA-256, see `hoichan.intake.messages`
    sa.Column("received_at", UtcDateTime, nullable=False, index=True),
    sa.Column("source", sa.String(64), nullable=False),  # address
    sa.Column("kind", sa.String(16), nullable=False),  # MSH-9, e.g. "ORM^O01"; "" when unreadable
    sa.Column("answer", sa.String(2), nullable=False, index=True),  # AA | AE | AR
    sa.Column("code", sa.String(64)),  # of the error; NULL: taken
    sa.Column("repeated", sa.Integer, nullable=False, server_default="0"),  # came again so often
    sa.Column("acknowledgement", sa.LargeBinary, nullable=False),  # the bytes of the answer
    sa.Column("content", sa.LargeBinary, nullable=False),  # the bytes as they came
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.String(36), primary_key=True),
    sa.Column("message_key", sa.String(64), nullable=False),  # the last that spoke of it
    sa.Column("told_at", UtcDateTime, nullable=False),  # time of that message (MSH-7)
    sa.Column("cancelled", sa.Boolean, nullable=False),
    sa.Column("fresh", sa.Boolean, nullable=False, index=True),  # studies were not looked at since
    sa.Column("placer_order_number", sa.Text, index=True),
    sa.Column("filler_order_number", sa.Text, index=True),
    sa.Column("accession_number", sa.Text, index=True),
    sa.Column("requested_procedure_id", sa.Text),
    sa.Column("study_instance_uid", _UID, index=True),
    sa.Column("scheduled_procedure_step_id", sa.Text),
    sa.Column("modality", sa.String(16)),
    sa.Column("procedure", sa.JSON, nullable=False),  # code value, scheme, meaning; {} when unknown
    sa.Column("region", sa.String(16)),
    sa.Column("scheduled_at", UtcDateTime),
    sa.Column("ordered_at", UtcDateTime),
    sa.Column("priority", sa.String(16)),
    sa.Column("indication", sa.Text),
    *_person(),
    sa.Index("ix_orders_patient_id", "patient_id"),
)

# The one order of a study.
order_links = sa.Table(
    "order_links",
    metadata,
    sa.Column("study_instance_uid", _UID, sa.ForeignKey("studies.study_instance_uid"), primary_key=True),
    sa.Column("order_id", sa.String(36), sa.ForeignKey("orders.order_id"), nullable=False, index=True),
    sa.Column("reason", sa.String(32), nullable=False),  # hoichan.intake.orders.MatchReason
    sa.Column("at", UtcDateTime, nullable=False),
)

# What the HIS said about people: demographics as they are now, and numbers that became one.
patient_events = sa.Table(
    "patient_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("message_key", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),  # update | merge
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("applied_at", UtcDateTime, index=True),  # NULL: studies were not looked at yet
    sa.Column("prior_patient_id", sa.Text, index=True),  # merge: the number that is no more
    sa.Column("prior_issuer", sa.Text),
    *_person(),
    sa.Index("ix_patient_events_patient_id", "patient_id"),
)

# Whose study it was said to be, oldest first, once anything was corrected; the current one is in `studies`.
patient_versions = sa.Table(
    "patient_versions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("source", sa.String(16), nullable=False),  # hoichan.intake.patients.Source
    sa.Column("reference", sa.String(64), nullable=False),  # message key, SOP Instance UID, question or user
    sa.Column("accession_number", sa.Text),
    *_person(),
)

# What only a person may decide: another patient for a study, or a number that its images lack.
questions = sa.Table(
    "questions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),  # hoichan.intake.patients.Doubt
    sa.Column("reference", sa.String(64), nullable=False),  # message key, SOP Instance UID or order
    sa.Column("holds", sa.Boolean, nullable=False),  # nothing is analysed until it is answered
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(8), nullable=False, index=True),  # open | taken | kept | gone
    sa.Column("answered_by", sa.String(64)),
    sa.Column("answered_at", UtcDateTime),
    sa.Column("accession_number", sa.Text),
    *_person(),
)

# Reports that went out under another patient, and have to be taken back from each receiver.
retractions = sa.Table(
    "retractions",
    metadata,
    sa.Column("report_uid", _UID, primary_key=True),  # the report that is taken back
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("done_at", UtcDateTime, index=True),  # its documents and deliveries are kept
    sa.Column("destinations", sa.JSON, nullable=False),  # names of those that have it, or may have it
    sa.Column("accession_number", sa.Text),
    *_person(),
)

# Folded names and numbers, also those from before a correction, walked by prefix.
search_keys = sa.Table(
    "search_keys",
    metadata,
    sa.Column("kind", sa.String(8), primary_key=True),  # name | number
    sa.Column("key", _KEY, primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("received_at", UtcDateTime, nullable=False),  # of the study's first image: newest first
    sa.Index("ix_search_keys_by_time", "kind", "received_at", "key", "study_instance_uid"),  # common names
    sqlite_with_rowid=False,
)

# Which words stand in one name anywhere: from the first word of a key to each other. Never taken away (0022).
name_pairs = sa.Table(
    "name_pairs",
    metadata,
    sa.Column("first", _KEY, primary_key=True),
    sa.Column("other", _KEY, primary_key=True),
    sqlite_with_rowid=False,
)

# A known SOP Instance UID that came with other content; the first content stays.
changed_contents = sa.Table(
    "changed_contents",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),  # of the data set that was set aside
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("path", sa.Text, nullable=False),  # inside the spool
    sa.Column("difference", sa.String(16), nullable=False),  # patient | attributes | pixels | unreadable
    sa.Column("calling_ae_title", sa.String(16), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("accession_number", sa.Text),
    *_person(),
)
