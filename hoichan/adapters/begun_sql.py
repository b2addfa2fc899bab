"""That somebody has begun to read a report: the note of it to whoever keeps a Task for it, once a report.

The note is a delivery of the report that is read, so each receiver gets it after that report and before what
a signature makes.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.deliveries_sql import DeliveriesSql, is_report
from hoichan.adapters.schema import deliveries, documents, studies
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.transactions import transaction
from hoichan.types import Delivery, DeliveryState, Document, DocumentKind, Report

EVENT = "reading_told"


class BegunSql(DeliveriesSql):
    """Who is to be told. Every method may raise RecordsUnavailable (try again)."""

    def untold(self, report: Report) -> tuple[str, ...]:
        """The FHIR receivers that have the report, or wait for it, and do not know that it is being read.

        None where the study was signed before: its Task has ended.
        """
        told = sa.exists().where(
            documents.c.report_uid == report.report_uid, documents.c.kind == DocumentKind.FHIR_TASK.value
        )
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(deliveries.c.destination)
                .where(
                    deliveries.c.report_uid == report.report_uid,
                    deliveries.c.kind == "fhir",
                    deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.SENT]),
                    is_report(deliveries),
                    ~told,
                    ~_signed(report),
                )
                .order_by(deliveries.c.destination)
            ).scalars()
            return tuple(found)

    def keep(self, report: Report, document: Document, planned: Sequence[Delivery]) -> bool:
        """Keep the note and its deliveries at once; False where somebody did so, or signed, before."""
        digest = self._objects.put(document.content)
        with transaction(self._engine) as connection:
            uid = report.study_instance_uid
            connection.execute(  # as a signature does: one of the two comes first
                sa.select(studies.c.study_instance_uid)
                .where(studies.c.study_instance_uid == uid)
                .with_for_update()
            )
            if connection.execute(sa.select(_signed(report))).scalar():
                return False
            now = self._clock.now()
            row = rows.document_row(report.report_uid, document, 0, digest)
            if not rows.insert_once(connection, documents, row):
                return False
            for delivery in planned:
                values = rows.delivery_row(delivery, report.revision, now)
                connection.execute(deliveries.insert().values(values))
            details = {"revision": report.revision, "deliveries": len(planned)}
            self._trail(connection, uid, EVENT, details)
        return True


def _signed(report: Report) -> sa.ColumnElement[bool]:
    return sa.exists().where(reviews.c.study_instance_uid == report.study_instance_uid)
