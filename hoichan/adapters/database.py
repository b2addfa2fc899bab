"""Opening the database, and bringing its schema to the version this program needs.

SQLite runs in WAL with synchronous=FULL: an acknowledged delivery or a signature must survive a
power cut (STACK, decision 1).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from hoichan.errors import ConfigurationError, RecordsUnavailable, StorageUnusable

HEAD = "0028"  # the migration this program is written for
# A process that hangs in the middle of a transaction loses it after this long: whoever takes over its work
# would wait for its locks.
FROZEN_SECONDS = 15
# Whoever opens SQLite waits for one that repairs its journal after a crash, or writes on a slow disk.
BUSY_SECONDS = 60.0
# A connection that rested longer is asked whether it still lives; one in steady use is not asked each time.
RESTED_SECONDS = 1.0
_MIGRATIONS = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = {  # held until the end of the transaction, by the first of those that start together
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(730164912)",  # any number that nobody else takes
}


def open_database(url: str) -> sa.Engine:
    """An engine with safe settings for the kind of database. Raises ConfigurationError for a bad URL.

    Error texts never hold the values of a row: they may be a person's.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError("Configuration key 'storage.database' is not a database URL.") from error
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    return _open_server(parsed)


def _open_server(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{FROZEN_SECONDS}s'")
        cursor.close()
        connection.commit()

    @sa.event.listens_for(engine, "checkin")
    def _rests(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _ask(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        now = time.monotonic()
        if now - record.info.get("rests_since", now) < RESTED_SECONDS:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:  # nor are those that came before it: the server was away
            raise sa.exc.InvalidatePoolError

    return engine


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if url.database:
        file = Path(url.database)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        except (OSError, sqlite3.OperationalError) as error:
            raise StorageUnusable(
                f"The database under {file.parent} cannot be written: check the folder and the disk."
            ) from error
        except sqlite3.DatabaseError as error:
            raise StorageUnusable(
                f"{file} is no database, or is damaged: bring a backup back (hoichan restore)."
            ) from error
    engine = sa.create_engine(url, connect_args={"timeout": 30}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def schema_version(engine: sa.Engine) -> str | None:
    """The migration the database stands at; None when it is empty. Raises RecordsUnavailable."""
    try:
        with engine.connect() as connection:
            return _version(connection)
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise RecordsUnavailable(
            "The database does not answer: see that it runs, and that storage.database names it "
            f"({type(error).__name__})."
        ) from error


def is_newer(version: str | None) -> bool:
    """Whether a schema is of a program that is newer than this one."""
    return version is not None and version > HEAD


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return version


def migrate(engine: sa.Engine) -> str | None:
    """Bring the schema to HEAD, where it is not there already; returns the version it had before.

    Processes that start together wait for each other, and only the first of them finds work. Raises
    RecordsUnavailable, or ConfigurationError for a database of a newer program.
    """
    before = schema_version(engine)
    if before == HEAD:
        return before
    if is_newer(before):
        raise ConfigurationError(
            f"The database has schema {before}, of a newer program; this one needs {HEAD}. Start the newer "
            "program, or bring the backup back that was made before (hoichan restore)."
        )
    from alembic import command  # noqa: PLC0415  nine tenths of a second that most starts need not pay
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        connection.exec_driver_sql(_ONE_AT_A_TIME[engine.dialect.name])
        before = _version(connection)
        if before != HEAD:
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
    return before
