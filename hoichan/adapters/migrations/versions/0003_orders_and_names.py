"""Orders, changed patients and search keys. pre: run before the new program starts; adds only.

The keys of the studies that are there already are made here: about a minute a million studies.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime
from hoichan.intake.names import search_keys

revision = "0003"
down_revision = "0002"

_AT_ONCE = 2000
_UID = sa.String(length=64)


def upgrade() -> None:
    """Create the tables, and the keys of what is there."""
    _create_orders()
    _create_patients()
    _create_search()
    _fill_search(op.get_bind())


def downgrade() -> None:
    """Drop what was added."""
    for table in (
        *("search_keys", "changed_contents", "retractions", "questions", "patient_versions"),
        *("patient_events", "order_links", "orders", "messages"),
    ):
        op.drop_table(table)


def _person() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), nullable=True),
        sa.Column("national_id", sa.Text(), nullable=True),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Date(), nullable=True),
        sa.Column("patient_sex", sa.Text(), nullable=True),
    )


def _index(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _create_orders() -> None:
    op.create_table(
        "messages",
        sa.Column("message_key", sa.String(length=64), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("answer", sa.String(length=2), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("repeated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acknowledgement", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("message_key", name=op.f("pk_messages")),
    )
    _index("messages", "received_at", "answer")
    op.create_table(
        "orders",
        sa.Column("order_id", sa.String(length=36), nullable=False),
        sa.Column("message_key", sa.String(length=64), nullable=False),
        sa.Column("told_at", UtcDateTime(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("placer_order_number", sa.Text(), nullable=True),
        sa.Column("filler_order_number", sa.Text(), nullable=True),
        sa.Column("accession_number", sa.Text(), nullable=True),
        sa.Column("requested_procedure_id", sa.Text(), nullable=True),
        sa.Column("study_instance_uid", _UID, nullable=True),
        sa.Column("scheduled_procedure_step_id", sa.Text(), nullable=True),
        sa.Column("modality", sa.String(length=16), nullable=True),
        sa.Column("procedure", sa.JSON(), nullable=False),
        sa.Column("region", sa.String(length=16), nullable=True),
        sa.Column("scheduled_at", UtcDateTime(), nullable=True),
        sa.Column("ordered_at", UtcDateTime(), nullable=True),
        sa.Column("priority", sa.String(length=16), nullable=True),
        sa.Column("indication", sa.Text(), nullable=True),
        *_person(),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    _index("orders", "fresh", "placer_order_number", "filler_order_number", "accession_number")
    _index("orders", "study_instance_uid", "patient_id")
    op.create_table(
        "order_links",
        sa.Column("study_instance_uid", _UID, nullable=False),
        sa.Column("order_id", sa.String(length=36), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name=op.f("fk_order_links_study_instance_uid_studies"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.order_id"], name=op.f("fk_order_links_order_id_orders")
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_order_links")),
    )
    _index("order_links", "order_id")


def _create_patients() -> None:
    op.create_table(
        "patient_events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("message_key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("applied_at", UtcDateTime(), nullable=True),
        sa.Column("prior_patient_id", sa.Text(), nullable=True),
        sa.Column("prior_issuer", sa.Text(), nullable=True),
        *_person(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_events")),
    )
    _index("patient_events", "applied_at", "prior_patient_id", "patient_id")
    op.create_table(
        "patient_versions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", _UID, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("reference", sa.String(length=64), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=True),
        *_person(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_versions")),
    )
    _index("patient_versions", "study_instance_uid")
    op.create_table(
        "questions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", _UID, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("reference", sa.String(length=64), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("answered_by", sa.String(length=64), nullable=True),
        sa.Column("answered_at", UtcDateTime(), nullable=True),
        sa.Column("accession_number", sa.Text(), nullable=True),
        *_person(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_questions")),
    )
    _index("questions", "study_instance_uid", "state")
    op.create_table(
        "retractions",
        sa.Column("report_uid", _UID, nullable=False),
        sa.Column("study_instance_uid", _UID, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("destinations", sa.JSON(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=True),
        *_person(),
        sa.PrimaryKeyConstraint("report_uid", name=op.f("pk_retractions")),
    )
    _index("retractions", "study_instance_uid", "done_at")
    op.create_table(
        "changed_contents",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", _UID, nullable=False),
        sa.Column("study_instance_uid", _UID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("difference", sa.String(length=16), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=True),
        *_person(),
        sa.PrimaryKeyConstraint("sha256", "sop_instance_uid", name=op.f("pk_changed_contents")),
    )
    _index("changed_contents", "study_instance_uid")


def _create_search() -> None:
    key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "search_keys",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("key", key, nullable=False),
        sa.Column("study_instance_uid", _UID, nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", "study_instance_uid", name=op.f("pk_search_keys")),
        sqlite_with_rowid=False,
    )


def _fill_search(connection: sa.Connection) -> None:
    studies = sa.table(
        "studies",
        *(
            sa.column(name)
            for name in (
                *("study_instance_uid", "patient_name", "patient_id", "national_id"),
                *("accession_number", "first_received_at"),
            )
        ),
    )
    keys = sa.table(
        "search_keys",
        *(sa.column(name) for name in ("kind", "key", "study_instance_uid", "received_at")),
    )
    last = ""
    while True:
        page = connection.execute(
            sa.select(studies)
            .where(studies.c.study_instance_uid > last)
            .order_by(studies.c.study_instance_uid)
            .limit(_AT_ONCE)
        ).all()
        if not page:
            return
        rows = [
            {
                "kind": str(kind),
                "key": key,
                "study_instance_uid": row.study_instance_uid,
                "received_at": row.first_received_at,
            }
            for row in page
            for kind, key in search_keys(
                [row.patient_name], filter(None, (row.patient_id, row.national_id, row.accession_number))
            )
        ]
        if rows:
            connection.execute(keys.insert(), rows)
        last = page[-1].study_instance_uid
