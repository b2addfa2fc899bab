"""Finds filed instances by their UID alone: where the index says, or else in every study."""

from __future__ import annotations

import mmap
import os
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

import structlog

from hoichan.adapters.parts import sync_folder
from hoichan.adapters.spool_index import index_of
from hoichan.errors import NotDicom
from hoichan.intake.part10 import read_meta

log = structlog.get_logger()


def locate(
    root: Path, instances: Collection[str], folders: Collection[PurePath | str] | None = None
) -> Mapping[str, str]:
    """SOP Class UID by SOP Instance UID of what is filed and safe on disk.

    `folders`: of the studies to look in, inside `root`; None: all. Raises OSError.
    """
    if folders is not None or not instances:
        return _located(root, instances, folders or ())
    try:
        with index_of(root) as index:
            found = _located(root, instances, index.folders_of(instances))
            rest = set(instances) - found.keys()
            if rest:
                began = time.monotonic()
                listed = index.refresh()
                log.info("instances_indexed", studies=listed, seconds=round(time.monotonic() - began, 3))
                found.update(_located(root, rest, index.folders_of(rest)))
            return found
    except (OSError, sqlite3.Error) as error:  # no hints: slow, and as right
        log.warning("instance_index_unusable", error=type(error).__name__)
        return _located(root, instances, _youngest_first(root / "studies"))


def _located(root: Path, instances: Collection[str], folders: Collection[PurePath | str]) -> dict[str, str]:
    wanted = {f"{uid}.dcm" for uid in instances}
    found: dict[str, str] = {}
    for place in folders:
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
