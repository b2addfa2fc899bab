"""Notes on disk: one small JSON file each, replaced whole or not at all, safe when the call returns.

    commitments/<name>.json       a storage commitment that was asked for and not reported yet
    steps/<mpps>.json             a performed procedure step and its studies
    pressure/door.json            why the doors say "later" for a while
    evidence/<study>/<name>.json  what was said about the completeness of a study

UIDs, states, counts, AE titles and addresses only; never a patient.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import structlog

from hoichan.adapters.parts import Parts, sync_folder
from hoichan.errors import IntakeError, SpoolFull

log = structlog.get_logger()

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*\Z")


class DiskNotes:
    """Below one folder, written through the unfinished files of the spool."""

    def __init__(self, root: Path, parts: Parts) -> None:
        self._root = root
        self._parts = parts

    def write(self, path: PurePosixPath, note: Mapping[str, Any]) -> None:
        """Keeps a note in the place of the former one. Raises SpoolFull."""
        target = self._place(path)
        with _full_on_error():
            missing = [folder for folder in (target.parent, *target.parent.parents) if not folder.is_dir()]
            target.parent.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                sync_folder(folder.parent)
            self._parts.replace(json.dumps(note, indent=1).encode(), target)

    def read(self, path: PurePosixPath) -> Mapping[str, Any] | None:
        """A note; None where there is none, or a damaged one. Raises SpoolFull when the disk fails."""
        with _full_on_error():
            try:
                note: Mapping[str, Any] = json.loads(self._place(path).read_bytes())
            except FileNotFoundError:
                return None
            except ValueError:  # never by us: notes appear whole
                log.error("note_damaged", folder=path.parts[0])
                return None
        return note

    def names(self, folder: PurePosixPath) -> Sequence[PurePosixPath]:
        """The notes of a folder, in the order of their names."""
        with _full_on_error():
            try:
                return sorted(folder / path.name for path in self._place(folder).iterdir() if path.is_file())
            except FileNotFoundError:
                return []

    def remove(self, path: PurePosixPath) -> None:
        """Takes a note away, if it is there. Raises SpoolFull."""
        with _full_on_error():
            self._place(path).unlink(missing_ok=True)

    def _place(self, path: PurePosixPath) -> Path:
        if not all(_NAME.match(part) for part in path.parts):
            raise IntakeError("Not a name of a note.")
        return self._root / path


@contextmanager
def _full_on_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolFull(f"A note cannot be kept: {error.strerror}.") from error
