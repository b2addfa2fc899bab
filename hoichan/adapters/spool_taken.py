"""Marks of arrivals that somebody took and is looking at: they outlive whoever dies meanwhile.

    taken/<taker>/<study>    one mark; `taker` is any name that nobody else has
    taken/<taker>/.lock      locked as long as the taker lives; holds the name of what it looks at now

The system frees the lock of a process that dies, so its marks are told from those of the living, also between
containers that do not see each other's processes. A mark is as many bytes long as processes died looking at
its study: from the second on it rests, longer each time, so that one study never keeps all others waiting.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Lock

import structlog

from hoichan.intake.door import is_uid
from hoichan.types import StudyInstanceUID

log = structlog.get_logger()

_LOCK = ".lock"
_LONGEST_NAME = 64  # bytes of a UID
BLAMED_AFTER = 2  # deaths: a power cut may hit a study once that is not to blame
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 30.0, 3600.0


class Taken:
    """Takes marks out of `fresh` and keeps them until they were looked at. For threads and processes."""

    def __init__(self, root: Path) -> None:
        self._fresh = root / "fresh"
        self._takers = root / "taken"
        self._mine: Path | None = None
        self._lock = -1
        self._guard = Lock()

    def take(self) -> Sequence[StudyInstanceUID]:
        """Marked studies, longest waiting first; nobody else takes them. Raises OSError."""
        found: list[tuple[int, str]] = []
        for entry in os.scandir(self._fresh):
            with suppress(FileNotFoundError):  # another reader took it
                mark = entry.stat()
                if _rests(mark):
                    continue
                Path(entry.path).rename(self._folder() / entry.name)
                found.append((mark.st_mtime_ns, entry.name))
        return [StudyInstanceUID(name) for _, name in sorted(found)]

    def looking(self, study: StudyInstanceUID | None) -> None:
        """Who dies from now on died looking at this study; None: at no study."""
        name = (study or "").encode("ascii")[:_LONGEST_NAME]
        with suppress(OSError):  # a disk without room: then nobody is blamed
            self._folder()
            os.pwrite(self._lock, name, 0)
            os.ftruncate(self._lock, len(name))

    def looked_at(self, study: StudyInstanceUID) -> None:
        """Whatever the mark stood for is written down."""
        if self._mine is not None:
            with suppress(OSError):  # then somebody looks at it once more
                (self._mine / study).unlink()

    def deaths(self, study: StudyInstanceUID) -> int:
        """How many processes died looking at a study that this one took and has not looked at yet."""
        with suppress(OSError):
            if self._mine is not None:
                return (self._mine / study).stat().st_size
        return 0

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
            self._blame(lock.read(_LONGEST_NAME).decode("ascii", "replace"))
            (taker / _LOCK).unlink()
            taker.rmdir()
        return count

    def _blame(self, study: str) -> None:
        """A process died looking at it."""
        if not study or not is_uid(study):
            return
        with suppress(OSError), (self._fresh / study).open("ab") as mark:
            mark.write(b".")
            mark.flush()
            log.warning("died_looking_at_study", study=study, deaths=mark.tell())

    def _folder(self) -> Path:
        with self._guard:
            while self._mine is None:
                folder = self._takers / uuid.uuid4().hex
                folder.mkdir(parents=True)
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                fcntl.flock(lock, fcntl.LOCK_EX)  # waits only for one that saw it unlocked
                if os.fstat(lock).st_nlink:
                    self._mine, self._lock = folder, lock
                    weakref.finalize(self, os.close, lock)  # held as long as whoever looks
                else:  # and took it for that of a dead one
                    os.close(lock)
            return self._mine


def _rests(mark: os.stat_result) -> bool:
    """Whether a study that processes died looking at has to wait before somebody looks again."""
    if mark.st_size < BLAMED_AFTER:
        return False
    rest = FIRST_REST_SECONDS * 2.0 ** min(mark.st_size - BLAMED_AFTER, 32)
    return 0 <= time.time() - mark.st_mtime < min(rest, LONGEST_REST_SECONDS)


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
