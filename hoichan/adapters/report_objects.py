"""The DICOM objects that were written of a report, by name: what a note names that takes it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from hoichan.adapters.schema import documents
from hoichan.adapters.transactions import transaction
from hoichan.types import DocumentKind, ReportObject


def report_objects(engine: sa.Engine) -> Callable[[str], Sequence[ReportObject]]:
    """A look-up by the report's UID, in the order they were written. It may raise RecordsUnavailable."""

    def found(report_uid: str) -> Sequence[ReportObject]:
        with transaction(engine) as connection:
            rows = connection.execute(
                sa.select(documents.c.kind, documents.c.sop_class_uid, documents.c.uid)
                .where(documents.c.report_uid == report_uid, documents.c.sop_class_uid.is_not(None))
                .order_by(documents.c.position)
            )
            return [
                ReportObject(kind=DocumentKind(kind), sop_class_uid=sop_class, sop_instance_uid=uid)
                for kind, sop_class, uid in rows
            ]

    return found
