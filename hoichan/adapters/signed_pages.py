"""The page of a signed report, out of what was kept when it was signed."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import documents
from hoichan.adapters.transactions import transaction
from hoichan.encoding.signed_page_of import page_of_bundle
from hoichan.errors import HoichanError
from hoichan.ports import Objects
from hoichan.types import DocumentKind, SOPInstanceUID


def stored_page(engine: sa.Engine, objects: Objects, report_uid: SOPInstanceUID) -> bytes:
    """The PDF; b"" where none was made, or its object is lost. May raise RecordsUnavailable (try again)."""
    with transaction(engine) as connection:
        digest = connection.execute(
            sa.select(documents.c.sha256).where(
                documents.c.report_uid == report_uid, documents.c.kind == DocumentKind.FHIR
            )
        ).scalar()
    if digest is None:
        return b""
    try:
        return page_of_bundle(objects.get(digest))
    except (HoichanError, OSError):
        return b""
