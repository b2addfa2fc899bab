"""The audit log on a SQL database: appended one after another, searched, verified; never changed.

The rules of the chain are `hoichan.guard.audit`'s. The key of the hashes lies beside the database in a file
that only this account reads: whoever has the database alone cannot write the log anew. Whoever has both can,
which is why the head is exported and kept elsewhere.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

import sqlalchemy as sa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hoichan.adapters.schema import audit
from hoichan.errors import AuditRecordInvalid, ConfigurationError, RecordsUnavailable, StorageUnusable
from hoichan.guard import audit as rules
from hoichan.guard.audit import GENESIS, KEY_BYTES, Audited, AuditRecord, Chained, Head, Outcome

KEY_FILE = "audit.key"  # under data_dir
_ONE_AT_A_TIME = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "LOCK TABLE audit IN EXCLUSIVE MODE"}
_AT_ONCE = 1000  # rows read at a time while verifying


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look for. None: whatever it is."""

    who: str | None = None
    study_instance_uid: str | None = None
    what: Audited | None = None
    since: datetime | None = None  # from this moment on
    until: datetime | None = None  # before this moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record and its place in the log, from 1."""

    position: int
    record: AuditRecord


class AuditSql:
    """The log of who did what. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, key_file: Path) -> None:
        self._engine = engine
        self._key_file = key_file
        self._kept_key = b""
        self._lock = Lock()

    # ------------------------------------------------------------------ the key
    def _key(self) -> bytes:
        with self._lock:
            if not self._kept_key:
                self._kept_key = _read_key(self._key_file) or self._made_key()
            return self._kept_key

    def _made_key(self) -> bytes:
        if not self.head().length:
            _make_key(self._key_file)
        key = _read_key(self._key_file)  # ours, or that of another who started at the same time
        if not key:
            raise ConfigurationError(
                f"The key of the audit log is not at {self._key_file}: put it back from the backup."
            )
        return key

    def derived_key(self, purpose: str) -> bytes:
        """32 bytes for another purpose, from which the log's own key cannot be found (RFC 5869)."""
        return HKDF(SHA256(), 32, salt=None, info=f"hoichan {purpose}".encode()).derive(self._key())

    def check(self) -> None:
        """Raises ConfigurationError where nothing can be recorded: the key is gone, or others may read it."""
        self._key()

    # ------------------------------------------------------------------ writing
    def append(self, record: AuditRecord) -> int:
        """Record at the end; its position, from 1. It is on disk when this returns."""
        key = self._key()
        with self._connection(writing=True) as connection:
            connection.exec_driver_sql(_ONE_AT_A_TIME[connection.dialect.name])
            last = connection.execute(
                sa.select(audit.c.position, audit.c.hash).order_by(audit.c.position.desc()).limit(1)
            ).first()
            before = bytes.fromhex(last.hash) if last else GENESIS
            position = last.position + 1 if last else 1
            connection.execute(
                audit.insert().values(
                    position=position,
                    what=record.what.value,
                    at=record.when,
                    who=record.who,
                    role=record.role,
                    source=record.source,
                    outcome=record.outcome.value,
                    study_instance_uid=record.uids[0] if record.uids else None,
                    more_uids=list(record.uids[1:]),
                    detail=record.detail,
                    hash=rules.chain(before, record, key).hex(),
                )
            )
        return int(position)

    # ------------------------------------------------------------------ reading
    def head(self) -> Head:
        """The end of the log, to be kept where the log is not."""
        with self._connection() as connection:
            last = sa.select(audit.c.hash).order_by(audit.c.position.desc()).limit(1).scalar_subquery()
            length, found = connection.execute(sa.select(sa.func.count(), last).select_from(audit)).one()
        return Head(length=length, hash=bytes.fromhex(found) if found else GENESIS)

    def verify(self, exported: Head | None = None) -> int | None:
        """The index, from 0, of the first record that is not as it was written; None when all are.

        The length of the log where an exported head says that there was more.
        """
        key, seen = self._key(), 0

        def records() -> Iterator[Chained]:
            nonlocal seen
            for row in self._rows():
                yield Chained(record=_record(row), hash=bytes.fromhex(row.hash))
                seen += 1

        try:
            return rules.verify(records(), key, exported)
        except (AuditRecordInvalid, ValueError):  # a row that is no record
            return seen

    def position(self, index: int) -> int | None:
        """The position of the record at an index, from 0; None past the end."""
        with self._connection() as connection:
            found: int | None = connection.execute(
                sa.select(audit.c.position).order_by(audit.c.position).limit(1).offset(index)
            ).scalar()
        return found

    def search(self, wanted: Wanted, *, limit: int, offset: int = 0) -> tuple[int, Sequence[Line]]:
        """How many records fit, and some of them, newest first."""
        conditions = _conditions(wanted)
        newest = sa.select(audit).where(*conditions).order_by(audit.c.position.desc())
        with self._connection() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(audit).where(*conditions)
            ).scalar_one()
            rows = connection.execute(newest.limit(limit).offset(offset)).all()
        return total, [Line(position=row.position, record=_record(row)) for row in rows]

    def lines(self, wanted: Wanted, *, after: int = 0) -> Iterator[Line]:
        """Every record that fits behind a position, oldest first; any number of them."""
        while True:
            page = (
                sa.select(audit)
                .where(audit.c.position > after, *_conditions(wanted))
                .order_by(audit.c.position)
                .limit(_AT_ONCE)
            )
            with self._connection() as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            for row in rows:
                yield Line(position=row.position, record=_record(row))
            after = rows[-1].position

    def _rows(self) -> Iterator[sa.Row[tuple[object, ...]]]:
        """Every row in order. Page by page: what was read does not change, and nothing stays open."""
        rows: Sequence[sa.Row[tuple[object, ...]]] = ()
        while True:
            page = sa.select(audit).order_by(audit.c.position).limit(_AT_ONCE)
            if rows:
                page = page.where(audit.c.position > rows[-1].position)
            with self._connection() as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            yield from rows

    @contextmanager
    def _connection(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() if writing else self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.who is not None:
        conditions.append(audit.c.who == wanted.who)
    if wanted.study_instance_uid is not None:
        conditions.append(audit.c.study_instance_uid == wanted.study_instance_uid)
    if wanted.what is not None:
        conditions.append(audit.c.what == wanted.what.value)
    if wanted.since is not None:
        conditions.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(audit.c.at < wanted.until)
    return conditions


def _record(row: sa.Row[tuple[object, ...]]) -> AuditRecord:
    """Raises ValueError or AuditRecordInvalid for a row that is no record."""
    first = () if row.study_instance_uid is None else (row.study_instance_uid,)
    return AuditRecord(
        what=Audited(row.what),
        when=row.at,
        who=row.who,
        role=row.role,
        source=row.source,
        outcome=Outcome(row.outcome),
        uids=(*first, *row.more_uids),
        detail=row.detail,
    )


def _read_key(file: Path) -> bytes:
    """The key; empty where there is no file. Raises ConfigurationError for one that cannot be trusted."""
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigurationError(f"Others can read the key of the audit log: chmod 600 {file}.")
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except FileNotFoundError:
        return b""
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The key of the audit log cannot be read: {file}.") from error
    if len(key) < KEY_BYTES:
        raise ConfigurationError(f"The key of the audit log is damaged: {file}.")
    return key


def _make_key(file: Path) -> None:
    """A new key, whole or not at all; of those who start together the first one's counts."""
    part = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:  # noqa: PTH123
            opened.write(secrets.token_bytes(KEY_BYTES).hex().encode("ascii"))
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):
            os.link(part, file)
        part.unlink()
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise StorageUnusable(f"The key of the audit log cannot be written: {file}.") from error
