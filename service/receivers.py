"""Which receivers count: those of the configuration file, and those that IT wrote at the page."""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.database import HEAD, open_database, schema_version
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.errors import HoichanError
from hoichan.ports import Clock
from hoichan.settings import Settings
from hoichan.settings.overlay import Overlaid, of_file, overlay

log = structlog.get_logger()


def in_force(settings: Settings, engine: sa.Engine, clock: Clock) -> Overlaid:
    """The file's settings with what the page says of receivers. Raises RecordsUnavailable."""
    rows = ReceiversSql(engine, clock)
    versions = rows.versions()
    return overlay(settings, versions, rows.owed()) if versions else of_file(settings)


def tell(laid: Overlaid) -> None:
    """Into the log of a process that starts: with which version, and what of it does not count."""
    if laid.version:
        log.info("receivers_of_the_page", version=laid.version)
    for one in laid.passed_over:
        log.warning("receiver_passed_over", part=one.part, entry=one.name, code=one.code)


def at_the_next_start(settings: Settings) -> Overlaid:
    """The same for a command that changes nothing; the file alone where no database answers yet."""
    try:
        engine = open_database(settings.storage.database_url)
        try:
            if schema_version(engine) != HEAD:
                return of_file(settings)
            return in_force(settings, engine, SystemClock())
        finally:
            engine.dispose()
    except HoichanError:
        return of_file(settings)


class Awaited:
    """Whether a receiver that this process does not know yet was written at the page meanwhile."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._rows = ReceiversSql(engine, clock)

    def __call__(self, name: str) -> bool:
        """Whether the newest version has it: what waits for it can go after a restart."""
        newest = next(iter(self._rows.versions()), None)
        return newest is not None and any(one.get("name") == name for one in newest.destinations)
