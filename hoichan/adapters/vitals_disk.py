"""What a process without a database tells about itself: a small file in the spool, `vitals/<role>-<n>.json`.

A process holds one place of its role for as long as it lives and goes on counting from where the one before
it stopped, so totals never go back, and there are as many files as ever ran at the same time. What was
counted in the last seconds before a kill is missing; nothing else is. A file that is older than a few seconds
belongs to nobody: that is how others see that the process has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from hoichan.errors import StorageUnusable
from hoichan.meters import Counts, Key, Tally

TELL_SECONDS = 5.0
SILENT_SECONDS = 20.0  # older than this: nobody writes it any more
_FOLDER = "vitals"
_PLACES = 256  # processes of one role at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one process told."""

    role: str
    age_seconds: float
    facts: Mapping[str, Any]
    totals: Counts

    @property
    def lives(self) -> bool:
        """Whether it told so lately."""
        return self.age_seconds < SILENT_SECONDS


class DiskVitals:
    """One process's place. A context manager: it tells at once, every few seconds, and when it ends."""

    def __init__(self, spool: Path, role: str, tally: Tally, facts: Mapping[str, Any]) -> None:
        """`facts`: identifiers, versions and ports only. Raises StorageUnusable."""
        self._tally = tally
        self._facts = facts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)
        try:
            self._lock, self._file = _place(spool / _FOLDER, role)
        except OSError as error:
            raise StorageUnusable(f"The spool {spool} cannot be written ({error.strerror}).") from error
        self._totals = Counter(_read(self._file)[1])

    def __enter__(self) -> DiskVitals:
        self.tell()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=TELL_SECONDS)
        self.tell()
        with suppress(OSError):
            os.utime(self._file, (0, 0))  # ended in order: seen at once
        self._lock.close()

    def tell(self) -> None:
        """Write the totals down. A full disk is told by others; the counts are kept for the next time."""
        self._totals.update(self._tally.take())
        told = {
            "facts": dict(self._facts),
            "totals": [[k.name, list(k.labels), k.part, v] for k, v in sorted(self._totals.items())],
        }
        part = self._file.with_suffix(".part")
        try:
            with part.open("w", encoding="utf-8") as file:
                json.dump(told, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._file)
        except OSError:
            with suppress(OSError):  # no room for a file, but it lives
                os.utime(self._file)

    def _run(self) -> None:
        while not self._stop.wait(TELL_SECONDS):
            self.tell()


def told(spool: Path) -> Sequence[Told]:
    """What every process of the spool told, also those that ended."""
    found = []
    now = time.time()
    for file in sorted((spool / _FOLDER).glob("*.json")):
        try:
            age = now - file.stat().st_mtime
        except FileNotFoundError:
            continue
        facts, totals = _read(file)
        role = file.stem.rpartition("-")[0]
        found.append(Told(role=role, age_seconds=max(0.0, age), facts=facts, totals=totals))
    return found


def _place(folder: Path, role: str) -> tuple[IO[bytes], Path]:
    """The first place that nobody holds; the system frees that of a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, _PLACES + 1):
        lock = (folder / f"{role}-{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock, folder / f"{role}-{number}.json"
        except BlockingIOError:
            lock.close()
        except OSError:
            lock.close()
            raise
    raise StorageUnusable(f"More than {_PLACES} processes of the role {role} on one spool.")


def _read(file: Path) -> tuple[Mapping[str, Any], dict[Key, float]]:
    """Facts and totals; nothing where there is no file, or one that a power cut damaged."""
    try:
        told = json.loads(file.read_bytes())
        totals = {
            Key(name, tuple(labels), part): float(value) for name, labels, part, value in told["totals"]
        }
        return dict(told["facts"]), totals
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}, {}
