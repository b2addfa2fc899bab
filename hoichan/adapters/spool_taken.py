"""Marks of arrivals that somebody took and is looking at: they outlive whoever dies meanwhile.

    taken/<taker>/<study>    one mark; `taker` is any name that nobody else has
    taken/<taker>/.lock      locked as long as the taker lives

The system frees the lock of a process that dies, so its marks are told from those of the living, also between
containers that do not see each other's processes.
"""

from __future__ import annotations

import fcntl
import os
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Lock

from hoichan.types import StudyInstanceUID

_LOCK = ".lock"


class Taken:
    """Takes marks out of `fresh` and keeps them until they were looked at. For threads and processes."""

    def __init__(self, root: Path) -> None:
        self._fresh = root / "fresh"
        self._takers = root / "taken"
        self._mine: Path | None = None
        self._guard = Lock()

    def take(self) -> Sequence[StudyInstanceUID]:
        """Marked studies, longest waiting first; nobody else takes them. Raises OSError."""
        found: list[tuple[int, str]] = []
        for entry in os.scandir(self._fresh):
            with suppress(FileNotFoundError):  # another reader took it
                waiting_since = entry.stat().st_mtime_ns
                Path(entry.path).rename(self._folder() / entry.name)
                found.append((waiting_since, entry.name))
        return [StudyInstanceUID(name) for _, name in sorted(found)]

    def looked_at(self, study: StudyInstanceUID) -> None:
        """Whatever the mark stood for is written down."""
        if self._mine is not None:
            with suppress(OSError):  # then somebody looks at it once more
                (self._mine / study).unlink()

    def give_back(self) -> int:
        """Marks of takers that died are marks of arrivals again; returns how many. Raises OSError."""
        if not self._takers.is_dir():
            return 0
        others = [Path(one.path) for one in os.scandir(self._takers) if one.path != str(self._mine)]
        return sum(map(self._given_back, others))

    def _given_back(self, taker: Path) -> int:
        count = 0
        with suppress(BlockingIOError, FileNotFoundError), (taker / _LOCK).open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for mark in os.scandir(taker):
                if mark.name != _LOCK:
                    Path(mark.path).rename(self._fresh / mark.name)
                    count += 1
            (taker / _LOCK).unlink()
            taker.rmdir()
        return count

    def _folder(self) -> Path:
        with self._guard:
            while self._mine is None:
                folder = self._takers / uuid.uuid4().hex
                folder.mkdir(parents=True)
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                fcntl.flock(lock, fcntl.LOCK_EX)  # waits only for one that saw it unlocked
                if os.fstat(lock).st_nlink:
                    self._mine = folder
                    weakref.finalize(self, os.close, lock)  # held as long as whoever looks
                else:  # and took it for that of a dead one
                    os.close(lock)
            return self._mine


def studies_on_disk(root: Path) -> Iterator[Mapping[StudyInstanceUID, frozenset[PurePosixPath]]]:
    """Every study with the paths of its files inside the spool, one folder of studies at a time.

    What comes or goes meanwhile may be missing: its mark says so. Raises OSError.
    """
    for half in sorted(entry.path for entry in os.scandir(root / "studies")):
        found = {}
        for study in os.scandir(half):
            with suppress(FileNotFoundError):
                found[StudyInstanceUID(study.name)] = frozenset(
                    PurePosixPath("studies", Path(half).name, study.name, name)
                    for name in os.listdir(study.path)  # noqa: PTH208  names alone, a million times
                    if name.endswith(".dcm")
                )
        yield found
