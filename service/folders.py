"""Watched folders: files that stopped growing are taken in, and then kept, deleted or moved.

A file is deleted or moved only after it is safe in the spool; a kill at any moment has it taken again, as a
duplicate. What cannot be taken goes to `_refused/` with the reason beside it, but not at once: a slow copy
may go on. A folder whose files are kept is never written to. Names of files are a sender's text: no log line
has them.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from hoichan.errors import HoichanError
from hoichan.intake.files import Counted
from hoichan.meters import Tally
from hoichan.ports import Spool
from hoichan.settings import Folder
from service.imports import Fate, Importer, Verdict

log = structlog.get_logger()

TAKEN, REFUSED = "_taken", "_refused"  # below the watched folder
ROUND_SECONDS = 1.0  # between two looks, or as long as a look took
PATIENCE_SECONDS = 60.0  # before a file that cannot be read or taken is believed to stay so
LONGEST_PAUSE_SECONDS = 60.0  # between looks while they fail
_UNFINISHED = (".part", ".partial", ".tmp", ".filepart", ".crdownload")  # copying programs rename them later


@dataclass(frozen=True, slots=True)
class _Sight:
    """A file as it was seen."""

    size_bytes: int
    modified_ns: int
    changed_ns: int  # a copy may keep the time of its source; this one nobody can set


class FolderWatch:
    """One watched folder."""

    def __init__(
        self,
        folder: Folder,
        spool: Spool,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        tally: Tally | None = None,
    ) -> None:
        self._folder = folder
        self._importer = Importer(
            spool,
            sender=folder.sender,
            maximum_bytes=folder.maximum_bytes,
            counted=None if tally is None else Counted(tally=tally, door="folder"),
        )
        self._monotonic = monotonic
        self._waiting: dict[Path, tuple[_Sight, float]] = {}  # how it was seen, and since when
        self._finished: dict[Path, _Sight] = {}  # what stays and need not be looked at again
        self._doubtful: dict[Path, tuple[_Sight, float]] = {}  # could not be taken; when to try again

    def step(self) -> int:
        """One look; the number of files that were dealt with. Raises SpoolFull, and OSError of the folder."""
        settled = self._settled()
        done = 0
        with self._importer.batch():
            for path, sight in settled:
                done += self._take(path, sight)
        return done

    def _settled(self) -> list[tuple[Path, _Sight]]:
        """Files that have not changed for long enough, in the order of their names."""
        now = self._monotonic()
        seen: dict[Path, tuple[_Sight, float]] = {}
        finished: dict[Path, _Sight] = {}
        settled = []
        for path, sight in self._files():
            if self._finished.get(path) == sight:
                finished[path] = sight
                continue
            before, since = self._waiting.get(path, (sight, now))
            since = since if before == sight else now
            seen[path] = (sight, since)
            doubted, not_before = self._doubtful.get(path, (None, 0.0))
            if doubted == sight and now < not_before:
                continue
            if now - since >= self._folder.settled_seconds:
                settled.append((path, sight))
        self._waiting, self._finished = seen, finished
        self._doubtful = {path: doubt for path, doubt in self._doubtful.items() if path in seen}
        return sorted(settled, key=lambda pair: pair[0])

    def _files(self) -> Iterator[tuple[Path, _Sight]]:
        root = self._folder.path
        for place, folders, names in os.walk(root, onerror=_raise):
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".") and not (name in (TAKEN, REFUSED) and Path(place) == root)
            ]
            for name in names:
                path = Path(place, name)
                if name.startswith((".", "~")) or path.suffix.lower() in _UNFINISHED:
                    continue
                with suppress(FileNotFoundError):
                    found = path.lstat()
                    if stat.S_ISREG(found.st_mode) and found.st_size:  # an empty one has not begun yet
                        yield path, _sight(found)

    def _take(self, path: Path, sight: _Sight) -> bool:
        """Whether the file was dealt with. Raises SpoolFull."""
        try:
            verdicts = list(self._importer.take(path))
            if _sight(path.lstat()) != sight:  # it grew while it was read: this is a cut-off file
                return False
            reasons = _reasons(verdicts)
            if reasons and self._folder.after != "keep" and self._doubted(path, sight):
                return False
            self._put_away(path, sight, reasons)
        except FileNotFoundError:  # another worker was quicker
            return False
        except OSError as error:
            self._doubted(path, sight)
            log.error("folder_file_unusable", folder=str(self._folder.path), error=error.strerror)
            return False
        fates = Counter(verdict.fate.value for verdict in verdicts)
        log.info("folder_file_taken", folder=str(self._folder.path), reasons=sorted(reasons), **fates)
        return True

    def _doubted(self, path: Path, sight: _Sight) -> bool:
        """Whether the file is to be tried once more, later; False when this was that time."""
        again = self._doubtful.get(path, (None, 0.0))[0] == sight
        self._doubtful[path] = (sight, self._monotonic() + PATIENCE_SECONDS)
        return not again

    def _put_away(self, path: Path, sight: _Sight, reasons: Counter[str]) -> None:
        if self._folder.after == "keep":
            self._finished[path] = sight
        elif reasons:
            place = self._move(path, REFUSED)
            note = {"reasons": dict(reasons), "refused_at": datetime.now(UTC).isoformat()}
            place.with_name(place.name + ".reason.json").write_text(json.dumps(note), encoding="utf-8")
        elif self._folder.after == "move":
            self._move(path, TAKEN)
        else:
            path.unlink()

    def _move(self, path: Path, where: str) -> Path:
        """To the same place below `_taken` or `_refused`; a name that is taken there gets a number."""
        target = self._folder.path / where / path.relative_to(self._folder.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 0
        place = target
        while place.exists():
            number += 1
            place = target.with_name(f"{target.name}.{number}")
        return path.rename(place)


def watch(
    folders: Sequence[Folder], spool: Spool, stop: threading.Event, tally: Tally | None = None
) -> list[threading.Thread]:
    """A thread a folder, until `stop` is set; what they take is counted in `tally`."""
    threads = [
        threading.Thread(target=_watch, args=(folder, spool, stop, tally), name="folder", daemon=True)
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    return threads


def _watch(folder: Folder, spool: Spool, stop: threading.Event, tally: Tally | None) -> None:
    watched = FolderWatch(folder, spool, tally=tally)
    pause = ROUND_SECONDS
    while not stop.wait(pause):
        started = time.monotonic()
        try:
            watched.step()
            pause = max(ROUND_SECONDS, time.monotonic() - started)
        except Exception as error:  # noqa: BLE001  the outermost loop of this thread: the next look tries again
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            log.error("folder_failed", folder=str(folder.path), code=code)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _reasons(verdicts: Sequence[Verdict]) -> Counter[str]:
    """Why a file is set aside: something in it was refused, or nothing in it is DICOM."""
    refused = Counter(verdict.code or "" for verdict in verdicts if verdict.fate is Fate.REFUSED)
    if verdicts and all(verdict.fate is Fate.NOT_DICOM for verdict in verdicts):
        refused.update(verdict.code or "" for verdict in verdicts)
    return refused


def _sight(found: os.stat_result) -> _Sight:
    return _Sight(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _raise(error: OSError) -> None:
    raise error
