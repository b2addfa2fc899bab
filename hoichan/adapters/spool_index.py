"""In which study an instance lies: a file of hints beside the studies, that only makes finding quicker.

Nothing is written here while objects come. When somebody asks for an instance that is not known, the studies
are listed whose folders have changed since they were listed last; the first time that is all of them. Whoever
takes a hint looks into the folder, so what is stale here does no harm, and the file may be lost at any time.

    studies    uid and time of change of its folder, as it was listed; 0: list it again
    instances  which of them, and of which study: 63 bits of SHA-256 each
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

FOLDER, _FILE = "index", "instances.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS studies (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, changed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS instances (id INTEGER, study INTEGER, PRIMARY KEY (id, study)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_of_study ON instances (study);
"""
_CACHE_KIB = 65_536
_BUSY_SECONDS = 1.0  # another process may be listing; then this one looks for itself
# A folder that changed just before it was listed may change again within one tick of the file system's clock.
_TICK_NS = 2_000_000_000


class InstanceIndex:
    """Open for one question. Every method raises OSError or sqlite3.Error: then there are no hints."""

    def __init__(self, root: Path, connection: sqlite3.Connection) -> None:
        self._studies = root / "studies"
        self._connection = connection

    def folders_of(self, instances: Collection[str]) -> list[PurePosixPath]:
        """Where these instances lay when their studies were listed, inside the root."""
        found: set[str] = set()
        for uid in instances:
            found.update(
                row[0]
                for row in self._connection.execute(
                    "SELECT s.uid FROM instances i JOIN studies s ON s.id = i.study WHERE i.id = ?",
                    [_id(uid)],
                )
            )
        return [PurePosixPath("studies", _half(uid), uid) for uid in sorted(found)]

    def refresh(self) -> int:
        """List the studies that have changed; returns how many were."""
        listed = 0
        self._connection.execute("BEGIN IMMEDIATE")
        for half in range(256):
            known = self._known(half)
            for uid, folder, changed in _studies_in(self._studies / f"{half:02x}"):
                if known.pop(uid, None) != changed:
                    self._list(uid, folder, changed)
                    listed += 1
            for uid in known:
                self._forget(uid)
        self._connection.execute("COMMIT")
        return listed

    def _known(self, half: int) -> dict[str, int]:
        """Of the studies whose hash begins with this byte."""
        first = half << 55
        asked = "SELECT uid, changed FROM studies WHERE id BETWEEN ? AND ?"
        return dict(self._connection.execute(asked, [first, first + (1 << 55) - 1]))

    def _list(self, uid: str, folder: str, changed: int) -> None:
        is_settled = changed < time.time_ns() - _TICK_NS
        with suppress(FileNotFoundError, NotADirectoryError):  # gone meanwhile
            names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".dcm")]
            self._forget(uid)
            self._connection.execute(
                "INSERT INTO studies VALUES (?, ?, ?)", [_id(uid), uid, changed if is_settled else 0]
            )
            self._connection.executemany(
                "INSERT INTO instances VALUES (?, ?)",
                {(_id(name.removesuffix(".dcm")), _id(uid)) for name in names},
            )

    def _forget(self, uid: str) -> None:
        self._connection.execute("DELETE FROM instances WHERE study = ?", [_id(uid)])
        self._connection.execute("DELETE FROM studies WHERE id = ?", [_id(uid)])


@contextmanager
def index_of(root: Path) -> Iterator[InstanceIndex]:
    """The index of a spool, made where it is missing; one that is damaged is thrown away.

    Raises OSError or sqlite3.Error, also out of what is done with it.
    """
    file = root / FOLDER / _FILE
    file.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.executescript(_TABLES)
        yield InstanceIndex(root, connection)
    except sqlite3.OperationalError:  # no room, or another process has it
        raise
    except sqlite3.DatabaseError:  # damaged: the next one begins anew
        with suppress(OSError):
            file.with_name(f"{_FILE}-journal").unlink(missing_ok=True)
            file.unlink(missing_ok=True)
        raise
    finally:
        connection.close()


def _studies_in(half: Path) -> Iterator[tuple[str, str, int]]:
    """UID, folder, and when it changed: asked before it is listed, so what comes later changes it again."""
    with suppress(FileNotFoundError):
        for study in list(os.scandir(half)):
            try:
                changed = study.stat().st_mtime_ns
            except FileNotFoundError:  # gone meanwhile
                continue
            yield study.name, study.path, changed


def _id(uid: str) -> int:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big") >> 1


def _half(uid: str) -> str:
    """The folder of a study inside `studies`, as `spool_disk` has it."""
    return hashlib.sha256(uid.encode()).hexdigest()[:2]
