"""The application over a record of the tests, put together in one place."""

from __future__ import annotations

from fastapi import FastAPI

from hoichan.testing.reading import QUICK, Record
from service.api.app import create_app


def an_app(record: Record) -> FastAPI:
    """The page and the API over the record, with passwords that are quick to check."""
    return create_app(
        record.settings,
        reading=record.reading,
        studies_port=record.studies,
        people_sql=record.people,
        tokens=record.tokens,
        passwords=QUICK,
        audit=record.audit,
        clock=record.clock,
        held=record.held,
        spool_root=record.spool_root,
    )
