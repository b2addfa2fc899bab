"""Finds filed instances by their UID alone; the spool keeps no index of them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from hoichan.adapters.parts import sync_folder
from hoichan.errors import NotDicom
from hoichan.intake.part10 import read_meta


def locate(
    root: Path, instances: Collection[str], folders: Collection[PurePath | str] | None = None
) -> Mapping[str, str]:
    """SOP Class UID by SOP Instance UID of what is filed and safe on disk.

    `folders`: of the studies to look in, inside `root`; None: all, the youngest first, and for an instance
    that is missing every one. Raises OSError.
    """
    wanted = {f"{uid}.dcm" for uid in instances}
    found: dict[str, str] = {}
    for place in _youngest_first(root / "studies") if folders is None else folders:
        folder = root / place
        if not wanted:
            break
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            here = wanted.intersection(entry.name for entry in entries)
            if here:
                sync_folder(folder)  # a writer may have died between link and fsync
            for name in here:
                with suppress(NotDicom, ValueError):  # damaged on the disk, so not safe
                    found[name.removesuffix(".dcm")] = _sop_class(folder / name)
            wanted -= here
    return found


def _youngest_first(studies: Path) -> Sequence[str]:
    found = [
        (entry.stat().st_mtime_ns, entry.path) for half in studies.iterdir() for entry in os.scandir(half)
    ]
    return [folder for _, folder in sorted(found, reverse=True)]


def _sop_class(file: Path) -> str:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read_meta(mapped).sop_class_uid
