"""Empty records for tests: the migrations run once a process, every further SQLite file is a copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import cast

import sqlalchemy as sa

from hoichan.adapters.database import migrate, open_database, schema_version
from hoichan.settings import Settings


def migrated(engine: sa.Engine) -> None:
    """Bring a database to the schema of this program, as `migrate` does."""
    if engine.dialect.name != "sqlite" or schema_version(engine) is not None:
        migrate(engine)
        return
    with closing(sqlite3.connect(":memory:")) as template, closing(engine.raw_connection()) as connection:
        template.deserialize(_schema())
        template.backup(cast(sqlite3.Connection, connection.driver_connection))


def prepared(settings: Settings) -> Settings:
    """These settings; the record that they name has its schema from now on: nobody who opens it waits."""
    engine = open_database(settings.storage.database_url)
    migrated(engine)
    engine.dispose()
    return settings


@cache
def _schema() -> bytes:
    engine = open_database("sqlite://")
    migrate(engine)
    with closing(engine.raw_connection()) as connection:
        made = cast(sqlite3.Connection, connection.driver_connection).serialize()
    engine.dispose()
    return bytes(made)
