"""What doctors say about reports. pre: run before the new program starts; adds only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoichan.adapters.schema import UtcDateTime

revision = "0010"
down_revision = "0009"

_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER reviews_no_{verb.lower()} BEFORE {verb} ON reviews "
        "BEGIN SELECT RAISE(ABORT, 'signed reviews are append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION hoichan_reviews_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'signed reviews are append-only'; END $$",
        "CREATE TRIGGER reviews_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reviews "
        "FOR EACH STATEMENT EXECUTE FUNCTION hoichan_reviews_append_only()",
    ],
}


def upgrade() -> None:
    """Create the tables, the triggers that keep signed reviews, and who a signature is of."""
    op.add_column("users", sa.Column("full_name", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("licence_number", sa.Text(), nullable=True))
    op.create_table(
        "review_drafts",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("report_uid", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("judgements", sa.JSON(), nullable=False),
        sa.Column("sections", sa.JSON(), nullable=False),
        sa.Column("seconds_spent", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=32), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name=op.f("fk_review_drafts_study_instance_uid_studies"),
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_review_drafts")),
    )
    op.create_index(op.f("ix_review_drafts_author"), "review_drafts", ["author"])
    op.create_table(
        "review_locks",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(length=32), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_review_locks")),
    )
    _reviews()
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def _reviews() -> None:
    texts = ("reviewer_name", "licence_number", "reason")
    op.create_table(
        "reviews",
        *(
            sa.Column(name, sa.String(length=64), nullable=False)
            for name in ("report_uid", "study_instance_uid", "judged", "predecessor", "known_as")
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reviewer", sa.String(length=32), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("signed_at", UtcDateTime(), nullable=False),
        sa.Column("judgements", sa.JSON(), nullable=False),
        sa.Column("sections", sa.JSON(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("may_train", sa.Boolean(), nullable=False),
        sa.Column("seconds_spent", sa.Integer(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("report_uid", name=op.f("pk_reviews")),
    )
    for column in ("predecessor", "reviewer", "signed_at"):
        op.create_index(op.f(f"ix_reviews_{column}"), "reviews", [column])
    op.create_index(
        "ix_reviews_study_instance_uid_number", "reviews", ["study_instance_uid", "number"], unique=True
    )


def downgrade() -> None:
    """Drop the tables; refused once somebody has signed: no older program keeps a signature."""
    if op.get_bind().execute(sa.text("SELECT 1 FROM reviews LIMIT 1")).first() is not None:
        raise RuntimeError("There are signed reviews: an older program cannot keep them.")
    for table in ("reviews", "review_locks", "review_drafts"):
        op.drop_table(table)
    with op.batch_alter_table("users") as users:
        users.drop_column("licence_number")
        users.drop_column("full_name")
