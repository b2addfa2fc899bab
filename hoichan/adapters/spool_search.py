"""Finds filed instances by their UID alone; the spool keeps no index of them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from hoichan.adapters.parts import sync_folder
from hoichan.errors import NotDicom
from hoichan.intake.part10 import read_meta


def locate(studies: Path, instances: Collection[str]) -> Mapping[str, str]:
    """SOP Class UID by SOP Instance UID of what is filed and safe on disk, the youngest studies first.

    For one that is missing every folder is looked at. Raises OSError.
    """
    wanted = {f"{uid}.dcm" for uid in instances}
    found: dict[str, str] = {}
    folders = [
        (entry.stat().st_mtime_ns, entry.path) for half in studies.iterdir() for entry in os.scandir(half)
    ]
    for _, folder in sorted(folders, reverse=True):
        with os.scandir(folder) as entries:
            here = wanted.intersection(entry.name for entry in entries)
        if here:
            sync_folder(Path(folder))  # a writer may have died between link and fsync
        for name in here:
            with suppress(NotDicom, ValueError):  # damaged on the disk, so not safe
                found[name.removesuffix(".dcm")] = _sop_class(Path(folder, name))
        wanted -= here
        if not wanted:
            break
    return found


def _sop_class(file: Path) -> str:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read_meta(mapped).sop_class_uid
