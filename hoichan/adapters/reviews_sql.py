"""Drafts, soft locks and signed reviews on a SQL database. Every method may raise RecordsUnavailable.

A signature is one transaction: the review, the report it makes, its documents and deliveries, and the end of
its draft. Of two who sign at once one finds the draft or the report changed, and nothing of his is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters import review_rows, rows
from hoichan.adapters.deliveries_sql import DeliveriesSql
from hoichan.adapters.patients_sql import is_person_of
from hoichan.adapters.person_rows import PERSON
from hoichan.adapters.review_receivers import have_it, stop_unsent
from hoichan.adapters.review_standing import standing
from hoichan.adapters.schema import (
    UtcDateTime,
    deliveries,
    documents,
    reports,
    results,
    studies,
)
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.schema_reviews import review_drafts, review_locks, reviews
from hoichan.adapters.signed_pages import stored_page
from hoichan.adapters.transactions import transaction
from hoichan.errors import DraftChanged, PatientChanged, ReportChanged, StepRefused, StudyUnknown
from hoichan.reporting.deliveries import WITHDRAWN
from hoichan.types import (
    Delivery,
    Document,
    Report,
    ReportStatus,
    Review,
    ReviewDraft,
    ReviewKind,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
)

_AT_ONCE = 500  # rows read at a time while verifying


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftLock:
    """Who has a study open to read it."""

    reader: str
    since: datetime  # aware, UTC
    until: datetime  # where nobody says again that the study is open


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a line of the list shows of its review."""

    draft_by: str | None = None
    signed_by: str | None = None  # of the signature that stands
    signed_revision: int | None = None
    locked_by: str | None = None


class ReviewsSql(DeliveriesSql):
    """What radiologists say about reports."""

    # ------------------------------------------------------------------ what is judged
    def machine_report(self, study: Study, *, maps: bool = False) -> Report | None:
        """The newest report of the machine about a study; None: none. `maps`: with heat maps."""
        with transaction(self._engine) as connection:
            row = connection.execute(_newest(study.study_instance_uid)).mappings().first()
            if row is None:
                return None
            ran = list(
                connection.execute(
                    sa.select(results).where(results.c.report_uid == row["report_uid"])
                ).mappings()
            )
        return review_rows.machine_report(row, ran, study, maps=maps)

    def begin(self, report: Report, *, who: str) -> bool:
        """Keep a report that begins with a person; False where it is there already. Nothing is sent."""
        with transaction(self._engine) as connection:
            self._hold(connection, report.study_instance_uid)
            if not rows.insert_once(connection, reports, rows.report_row(report)):
                return False
            details: dict[str, str | int] = {"user": who, "revision": report.revision}
            self._trail(connection, report.study_instance_uid, "report_begun", details)
            return True

    def report(self, report_uid: SOPInstanceUID, study: Study) -> Report | None:
        """One report of the machine, also one that a newer one has replaced."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    sa.select(reports).where(
                        reports.c.report_uid == report_uid,
                        reports.c.study_instance_uid == study.study_instance_uid,
                    )
                )
                .mappings()
                .first()
            )
        return review_rows.machine_report(row, (), study) if row is not None else None

    def heatmaps(self, report_uid: SOPInstanceUID) -> Mapping[int, Mapping[str, object]]:
        """The kept heat map of each finding of a report that has one, by the finding's place in it."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(reports.c.findings).where(reports.c.report_uid == report_uid)
            ).scalar()
        return {
            place: evidence["heatmap"]
            for place, finding in enumerate(found or ())
            for evidence in finding["evidence"][:1]
            if "heatmap" in evidence
        }

    # ------------------------------------------------------------------ drafts
    def draft(self, study: StudyInstanceUID) -> ReviewDraft | None:
        """The draft of a study; None where there is none."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                sa.select(review_drafts).where(review_drafts.c.study_instance_uid == study)
            ).mappings()
            found = row.first()
        return None if found is None else review_rows.draft(found)

    def save_draft(self, draft: ReviewDraft) -> ReviewDraft:
        """Keep a draft; `version` is that which the writer has seen, 0 for a new one.

        Returns it as kept, one version on. Raises DraftChanged, and then nothing was written.
        """
        kept = replace(draft, version=draft.version + 1, updated_at=self._clock.now())
        values = review_rows.draft_row(kept)
        with transaction(self._engine) as connection:
            if draft.version == 0:
                done = rows.insert_once(connection, review_drafts, values)
            else:
                changed = connection.execute(
                    review_drafts.update()
                    .where(
                        review_drafts.c.study_instance_uid == draft.study_instance_uid,
                        review_drafts.c.version == draft.version,
                    )
                    .values(values)
                )
                done = changed.rowcount == 1
            if not done:
                raise DraftChanged
        return kept

    def discard_draft(self, study: StudyInstanceUID) -> None:
        """Forget a draft. Nothing happens where there is none."""
        with transaction(self._engine) as connection:
            connection.execute(review_drafts.delete().where(review_drafts.c.study_instance_uid == study))

    # ------------------------------------------------------------------ soft locks
    def lock(self, study: StudyInstanceUID, reader: str, seconds: float) -> SoftLock:
        """Say that a reader has the study for so long; the lock that stands: that of whoever was first."""
        with transaction(self._engine) as connection:
            now = self._database_now(connection)
            table = review_locks
            connection.execute(
                table.delete().where(table.c.study_instance_uid == study, table.c.expires_at <= now)
            )
            values = {
                "study_instance_uid": study,
                "reader": reader,
                "since": now,
                "expires_at": now + timedelta(seconds=seconds),
            }
            if not rows.insert_once(connection, table, values):
                connection.execute(
                    table.update()
                    .where(table.c.study_instance_uid == study, table.c.reader == reader)
                    .values(expires_at=values["expires_at"])
                )
            row = connection.execute(sa.select(table).where(table.c.study_instance_uid == study)).one()
        return SoftLock(reader=row.reader, since=row.since, until=row.expires_at)

    def release(self, study: StudyInstanceUID, reader: str) -> None:
        """The reader has closed it. A lock of another stays."""
        with transaction(self._engine) as connection:
            connection.execute(
                review_locks.delete().where(
                    review_locks.c.study_instance_uid == study, review_locks.c.reader == reader
                )
            )

    def locked(self, study: StudyInstanceUID) -> SoftLock | None:
        """Who has the study; None where nobody has, or has not said so for long."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                sa.select(review_locks).where(
                    review_locks.c.study_instance_uid == study,
                    review_locks.c.expires_at > self._database_now(connection),
                )
            ).first()
        return None if row is None else SoftLock(reader=row.reader, since=row.since, until=row.expires_at)

    def _database_now(self, connection: sa.Connection) -> datetime:
        """By the database's clock, which is the same for all machines."""
        now = (
            "timezone('utc', clock_timestamp())"
            if connection.dialect.name == "postgresql"
            else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        )
        found: datetime = connection.execute(
            sa.text(f"SELECT {now} AS now").columns(now=UtcDateTime)
        ).scalar_one()
        return found

    # ------------------------------------------------------------------ signed reviews
    def reviews(self, study: StudyInstanceUID) -> tuple[Review, ...]:
        """Every signature of a study, oldest first."""
        with transaction(self._engine) as connection:
            return _signed(connection, study)

    def stands(self, study: StudyInstanceUID) -> bool:
        """Whether the last signature stands: neither withdrawn nor taken back from a former patient."""
        with transaction(self._engine) as connection:
            return bool(standing(connection, [study]))

    def every_review(self) -> Iterator[Review]:
        """Every signature there is, page by page: what was read does not change."""
        last = ""
        while True:
            with transaction(self._engine) as connection:
                page = list(
                    connection.execute(
                        sa.select(reviews)
                        .where(reviews.c.report_uid > last)
                        .order_by(reviews.c.report_uid)
                        .limit(_AT_ONCE)
                    ).mappings()
                )
            if not page:
                return
            for row in page:
                yield review_rows.review(row)
            last = page[-1]["report_uid"]

    def signed_page(self, report_uid: SOPInstanceUID) -> bytes:
        """The page of a signed report as it was kept; b"" where there is none, or it is lost."""
        return stored_page(self._engine, self._objects, report_uid)

    def marks(self, wanted: Collection[StudyInstanceUID]) -> Mapping[StudyInstanceUID, Mark]:
        """What the list shows of each of these studies; nothing where nobody has touched it."""
        uids = list(wanted)
        with transaction(self._engine) as connection:
            drafts = dict(
                connection.execute(
                    sa.select(review_drafts.c.study_instance_uid, review_drafts.c.author).where(
                        review_drafts.c.study_instance_uid.in_(uids)
                    )
                ).all()
            )
            locks = dict(
                connection.execute(
                    sa.select(review_locks.c.study_instance_uid, review_locks.c.reader).where(
                        review_locks.c.study_instance_uid.in_(uids),
                        review_locks.c.expires_at > self._database_now(connection),
                    )
                ).all()
            )
            signed = standing(connection, uids)
        return {
            StudyInstanceUID(uid): Mark(
                draft_by=drafts.get(uid),
                signed_by=signed[uid]["reviewer"] if uid in signed else None,
                signed_revision=signed[uid]["revision"] if uid in signed else None,
                locked_by=locks.get(uid),
            )
            for uid in {*drafts, *locks, *signed}
        }

    def sign(
        self,
        review: Review,
        report: Report,
        *,
        study: Study,
        draft_version: int,
        made: Sequence[Document],
        planned: Sequence[Delivery],
    ) -> None:
        """Keep a signature with its report, documents and deliveries, and end its draft. One transaction.

        `study`: as the documents have it. Raises DraftChanged, ReportChanged, StepRefused or PatientChanged
        where something moved meanwhile.
        """
        digests = [self._objects.put(document.content) for document in made]
        uid = review.study_instance_uid
        with transaction(self._engine) as connection:
            self._hold(connection, uid)
            if not is_person_of(connection, rows.study_row(study)):
                raise PatientChanged
            newest = connection.execute(_newest(uid)).mappings().first()
            if newest is None or newest["report_uid"] != review.judged:
                raise ReportChanged
            ended = connection.execute(
                review_drafts.delete().where(
                    review_drafts.c.study_instance_uid == uid, review_drafts.c.version == draft_version
                )
            )
            if ended.rowcount != 1:
                raise DraftChanged
            self._append(connection, review)
            connection.execute(reports.insert().values(rows.report_row(report)))
            for position, (document, digest) in enumerate(zip(made, digests, strict=True)):
                row = rows.document_row(report.report_uid, document, position, digest)
                connection.execute(documents.insert().values(row))
            now = self._clock.now()
            for delivery in planned:
                row = rows.delivery_row(delivery, report.revision, now)
                connection.execute(deliveries.insert().values(row))
            connection.execute(review_locks.delete().where(review_locks.c.study_instance_uid == uid))
            self._move(connection, uid, StudyState.SIGNED, state_reason=None)
            self._trail(
                connection,
                uid,
                "report_signed",
                {
                    "kind": review.kind.value,
                    "reviewer": review.reviewer,
                    "report": review.report_uid,
                    "revision": review.revision,
                    "deliveries": len(planned),
                },
            )

    def withdraw(self, review: Review) -> None:
        """Keep a withdrawal, and have its report taken back from every receiver. One transaction.

        Raises StepRefused where another signature came first.
        """
        uid, report_uid = review.study_instance_uid, review.predecessor
        with transaction(self._engine) as connection:
            head = self._hold(connection, uid)
            self._append(connection, review)
            connection.execute(
                retractions.insert().values(
                    report_uid=report_uid,
                    study_instance_uid=uid,
                    revision=review.revision,
                    asked_at=self._clock.now(),
                    destinations=have_it(connection, report_uid),
                    accession_number=head["accession_number"],
                    **{name: head[name] for name in PERSON},
                )
            )
            stop_unsent(connection, deliveries.c.report_uid == report_uid, because=WITHDRAWN)
            connection.execute(review_drafts.delete().where(review_drafts.c.study_instance_uid == uid))
            self._move(connection, uid, StudyState.REPORTED, state_reason=None)
            self._trail(
                connection,
                uid,
                "review_withdrawn",
                {"reviewer": review.reviewer, "report": report_uid, "revision": review.revision},
            )

    def _append(self, connection: sa.Connection, review: Review) -> None:
        """Add a signature after the last one. Raises StepRefused where it is not the next step any more."""
        before = _signed(connection, review.study_instance_uid)
        stands = bool(standing(connection, [review.study_instance_uid]))
        begins = review.kind is ReviewKind.FINAL
        follows = review.judged if begins else before[-1].report_uid if before else None
        if begins == stands or review.predecessor != follows:
            raise StepRefused("Somebody signed meanwhile.")
        connection.execute(reviews.insert().values(review_rows.review_row(review, len(before) + 1)))

    def _hold(self, connection: sa.Connection, uid: StudyInstanceUID) -> rows.Row:
        head = (
            connection.execute(
                sa.select(studies).where(studies.c.study_instance_uid == uid).with_for_update()
            )
            .mappings()
            .one_or_none()
        )
        if head is None:
            raise StudyUnknown(f"No study {uid}.")
        return head


def _newest(study: StudyInstanceUID) -> sa.Select[tuple[object, ...]]:
    noted = sa.exists().where(rejected_reports.c.report_uid == reports.c.report_uid)
    return (
        sa.select(reports, noted.label("taken_back"))
        .where(reports.c.study_instance_uid == study, reports.c.status == ReportStatus.UNVERIFIED)
        .order_by(reports.c.revision.desc(), reports.c.created_at.desc(), reports.c.report_uid.desc())
        .limit(1)
    )


def _signed(connection: sa.Connection, study: StudyInstanceUID) -> tuple[Review, ...]:
    found = connection.execute(
        sa.select(reviews).where(reviews.c.study_instance_uid == study).order_by(reviews.c.number)
    ).mappings()
    return tuple(review_rows.review(row) for row in found)
