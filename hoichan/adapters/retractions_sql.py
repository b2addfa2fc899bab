"""Reports that have to be taken back, and the documents that do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.deliveries_sql import DeliveriesSql
from hoichan.adapters.schema import deliveries, documents, reports
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.transactions import transaction
from hoichan.types import (
    Delivery,
    Document,
    ReportStatus,
    ReviewKind,
    SOPInstanceUID,
    StudyInstanceUID,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraction:
    """A report that lies with the wrong patient, or that its signer withdrew."""

    report_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    revision: int
    destinations: tuple[str, ...]  # that have it, or may have it
    by_reader: bool = False  # a person withdrew it after signing
    by_note: bool = False  # a rejection note named its SR


class RetractionsSql(DeliveriesSql):
    """What is to be taken back. Every method may raise RecordsUnavailable (try again)."""

    def pending(self, study: StudyInstanceUID | None = None) -> tuple[Retraction, ...]:
        """Retractions without documents yet, oldest first; of one study or of all."""
        wanted: list[sa.ColumnElement[bool]] = [retractions.c.done_at.is_(None)]
        if study is not None:
            wanted.append(retractions.c.study_instance_uid == study)
        with transaction(self._engine) as connection:
            withdrawn = sa.exists().where(
                reviews.c.predecessor == retractions.c.report_uid, reviews.c.kind == ReviewKind.WITHDRAWAL
            )
            noted = sa.exists().where(rejected_reports.c.report_uid == retractions.c.report_uid)
            found = connection.execute(
                sa.select(retractions, withdrawn.label("by_reader"), noted.label("by_note"))
                .where(*wanted)
                .order_by(retractions.c.asked_at, retractions.c.revision)
            ).mappings()
            return tuple(
                Retraction(
                    report_uid=SOPInstanceUID(row["report_uid"]),
                    study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
                    revision=row["revision"],
                    destinations=tuple(row["destinations"]),
                    by_reader=bool(row["by_reader"]),
                    by_note=bool(row["by_note"]),
                )
                for row in found
            )

    def sent(self, retraction: Retraction) -> Sequence[Document]:
        """The kept documents of the report, as they were sent."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(documents)
                .where(documents.c.report_uid == retraction.report_uid)
                .order_by(documents.c.position)
            )
            kept = list(found.mappings())
        return [rows.document(row, self._objects.get(row["sha256"])) for row in kept]

    def keep(
        self,
        retraction: Retraction,
        report_uid: SOPInstanceUID,
        *,
        conclusion: Mapping[str, str],
        made: Sequence[Document],
        planned: Sequence[Delivery],
    ) -> bool:
        """The retraction as a report of its own with its documents and deliveries; False when it is there."""
        digests = [self._objects.put(document.content) for document in made]
        now = self._clock.now()
        with transaction(self._engine) as connection:
            former = (
                connection.execute(sa.select(reports).where(reports.c.report_uid == retraction.report_uid))
                .mappings()
                .one()
            )
            values = {
                **former,
                "report_uid": report_uid,
                "status": str(ReportStatus.WITHDRAWN),
                "findings": [],
                "refusals": [],
                "conclusion": dict(conclusion),
                "predecessor": retraction.report_uid,
                "created_at": now,
            }
            is_new = rows.insert_once(connection, reports, values)
            if is_new:
                for position, (document, digest) in enumerate(zip(made, digests, strict=True)):
                    row = rows.document_row(report_uid, document, position, digest)
                    connection.execute(documents.insert().values(row))
                for delivery in planned:
                    row = rows.delivery_row(delivery, retraction.revision, now)
                    connection.execute(deliveries.insert().values(row))
                self._trail(
                    connection,
                    retraction.study_instance_uid,
                    "report_withdrawn",
                    {
                        "revision": retraction.revision,
                        "report": retraction.report_uid,
                        "deliveries": len(planned),
                    },
                )
            connection.execute(
                retractions.update()
                .where(retractions.c.report_uid == retraction.report_uid)
                .values(done_at=now)
            )
        return is_new
