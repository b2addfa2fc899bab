"""The application over a record of the tests, put together in one place."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from hoichan.testing.reading import QUICK, Record
from service.api.app import create_app

_PREPARED: list[BaseRoute] = []


def an_app(record: Record) -> FastAPI:
    """The page and the API over the record, with passwords that are quick to check.

    FastAPI prepares a route's parameters when it is first asked for; all applications of a process share
    what it prepared, as those routes keep nothing. What is mounted and the channel stay an application's own.
    """
    app = create_app(
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
    routes = app.router.routes
    if not _PREPARED:
        _PREPARED.extend(routes)
    assert [type(route) for route in routes] == [type(route) for route in _PREPARED]
    routes[:] = [
        own if isinstance(own, (Mount, WebSocketRoute)) else prepared
        for own, prepared in zip(routes, _PREPARED, strict=True)
    ]
    return app
