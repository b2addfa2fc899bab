"""Moves a whole site from SQLite to PostgreSQL: every row of every table, in one transaction of the target.

The source is held alone (SQLite's own lock), so nothing is written while it is read. Values go as they lie in
the file, times and JSON as text, through COPY; nothing is interpreted on the way. The target's transaction
ends with the counts and the chain of the audit log; only then is it committed. A move that ends earlier,
however, has changed nothing, and may be begun again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from hoichan.adapters.audit_sql import AuditSql
from hoichan.errors import ConfigurationError, RecordsError

_NOT_MOVED = frozenset({"alembic_version", "workers", "worker_facts"})  # the target has its own
_AT_ONCE = 2000  # rows read at a time

Progress = Callable[[str, int], object]  # table, rows since the last call


@dataclass(slots=True, kw_only=True)
class Moved:
    """What a move did."""

    rows: dict[str, int] = field(default_factory=dict)  # by table
    audit_records: int = 0  # verified in the target
    texts_cleaned: int = 0  # texts that held NUL characters, which PostgreSQL cannot keep


@contextmanager
def held_alone(file: Path) -> Iterator[sqlite3.Connection]:
    """The database of a house that does not run; nobody can open it meanwhile. Raises ConfigurationError."""
    if not file.exists():
        raise ConfigurationError(f"There is no database at {file}.")
    connection = sqlite3.connect(file, isolation_level=None, timeout=2)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise ConfigurationError(
                f"The house runs: another process has {file} open. Stop it, and begin again."
            ) from error
        yield connection
    finally:
        connection.close()


def rows_to_move(source: sqlite3.Connection) -> Mapping[str, int]:
    """How many rows each table of the source has."""
    return {
        table: source.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in _tables(source)
    }


def require_empty(target: sa.Engine) -> None:
    """Raises ConfigurationError where the target database holds anything that a move would mix with."""
    with _connected(target) as connection:
        inspector = sa.inspect(connection)
        for name in inspector.get_table_names():
            if name in _NOT_MOVED:
                continue
            quoted = connection.dialect.identifier_preparer.quote(name)
            if connection.execute(sa.text(f"SELECT 1 FROM {quoted} LIMIT 1")).first() is not None:
                raise ConfigurationError(
                    f"The target database is not empty: its table {name} has rows. Name an empty one."
                )


def move(
    source: sqlite3.Connection, target: sa.Engine, audit_key: Path, progress: Progress = lambda *_: None
) -> Moved:
    """Copy every row, check, commit. The target stands at the schema of the source, and is empty.

    Raises RecordsError where anything does not fit; the target is as before then.
    """
    moved = Moved()
    with _connected(target) as connection:
        order = _order(connection)
        unknown = set(_tables(source)) - set(order)
        if unknown:
            raise RecordsError(f"The target has no table {sorted(unknown)[0]}: other versions?")
        for table in order:
            if table in _tables(source):
                moved.rows[table] = _copy(source, connection, table, moved, progress)
        _verify(source, connection, moved)
        if moved.rows.get("audit"):
            moved.audit_records = _verify_audit(connection, audit_key)
    return moved


@contextmanager
def _connected(target: sa.Engine) -> Iterator[sa.Connection]:
    try:
        with target.begin() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise RecordsError(f"The target database did not answer ({type(error).__name__}).") from error


def _tables(source: sqlite3.Connection) -> list[str]:
    found = source.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    return [name for (name,) in found if name not in _NOT_MOVED]


def _order(connection: sa.Connection) -> list[str]:
    """The tables of the target, those first that others refer to."""
    named = sa.inspect(connection).get_sorted_table_and_fkc_names()
    return [name for name, _ in named if name is not None and name not in _NOT_MOVED]


def _copy(
    source: sqlite3.Connection, connection: sa.Connection, table: str, moved: Moved, progress: Progress
) -> int:
    import psycopg  # noqa: PLC0415  an extra

    columns = [row[1] for row in source.execute(f'PRAGMA table_info("{table}")')]
    wanted = {column["name"] for column in sa.inspect(connection).get_columns(table)}
    if set(columns) != wanted:
        raise RecordsError(f"The table {table} has other columns in the target: other versions?")
    names = ", ".join(f'"{column}"' for column in columns)
    read = source.execute(f'SELECT {names} FROM "{table}"')
    driver: Any = connection.connection.driver_connection
    count = 0
    try:
        with driver.cursor() as cursor, cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy:
            while rows := read.fetchmany(_AT_ONCE):
                for row in rows:
                    copy.write_row([_plain(value, moved) for value in row])
                count += len(rows)
                progress(table, len(rows))
    except psycopg.Error as error:  # its text quotes the row: only the kind of the fault may be told
        raise RecordsError(f"The table {table} does not fit ({type(error).__name__}).") from None
    _continue_numbers(connection, table)
    return count


def _plain(value: object, moved: Moved) -> object:
    if isinstance(value, str) and "\0" in value:
        moved.texts_cleaned += 1
        return value.replace("\0", "")
    return value


def _continue_numbers(connection: sa.Connection, table: str) -> None:
    """Numbers that the database gives go on after the last one that was copied."""
    for column in sa.inspect(connection).get_columns(table):
        if "nextval" in str(column.get("default") or ""):
            name = column["name"]
            connection.execute(
                sa.text(
                    f'SELECT setval(pg_get_serial_sequence(:table, :name), max("{name}")) '
                    f'FROM "{table}" HAVING max("{name}") IS NOT NULL'
                ),
                {"table": f'"{table}"', "name": name},
            )


def _verify(source: sqlite3.Connection, connection: sa.Connection, moved: Moved) -> None:
    for table, count in rows_to_move(source).items():
        there = connection.execute(sa.text(f'SELECT count(*) FROM "{table}"')).scalar_one()
        if not count == there == moved.rows[table]:
            raise RecordsError(f"The table {table} has {there} rows in the target, and had {count}.")


class _Within:
    """Stands for a database where everything is to happen on one open connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def connect(self) -> nullcontext[sa.Connection]:
        return nullcontext(self._connection)


def _verify_audit(connection: sa.Connection, key_file: Path) -> int:
    """The length of the log, whose chain is whole. Raises RecordsError."""
    log = AuditSql(cast("sa.Engine", _Within(connection)), key_file)
    broken = log.verify()
    if broken is not None:
        raise RecordsError(f"Record {log.position(broken)} of the audit log is not as it was written.")
    return log.head().length
