"""Received files beyond the machine that received them: shared by digest, fetched when asked for, removed.

Each machine's door writes to its own disk and needs nothing else (ADR-0006). The worker beside it copies a
file to the object store before it records the instance, so a recorded instance can be read on every machine;
one that is killed in between copies again, which changes nothing. The store holds the data set as it came,
under the digest that stands in the record; what surrounds it in a file is made again from the record.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from hoichan.adapters.objects_disk import sync_folder, write_whole
from hoichan.adapters.schema import instances, studies
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.errors import DamagedObject, RecordsUnavailable
from hoichan.intake.part10 import Checksum, FileMeta, digest, read_meta, write_meta
from hoichan.ports import Objects, Spooled
from hoichan.types import Instance, Sha256, SOPInstanceUID

_IN_USE_SECONDS = 3600.0  # a copy that was asked for so lately may be open
_FORGOTTEN_SECONDS = 86400.0  # a copy that nobody asked for since goes, however much room there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went from this machine's disk."""

    files: int
    size_bytes: int


class Originals:
    """The files of one machine's spool, and their copies in the object store where there is one."""

    def __init__(
        self,
        spool_dir: Path,
        *,
        engine: sa.Engine,
        objects: Objects | None,
        cache_dir: Path,
        cache_bytes: int,
    ) -> None:
        """`objects` None: all machines share the spool's folder, or there is only one."""
        self._spool_dir = spool_dir
        self._engine = engine
        self._objects = objects
        self._cache_dir = cache_dir
        self._cache_bytes = cache_bytes

    @property
    def shared(self) -> bool:
        """Whether other machines read from the object store."""
        return self._objects is not None

    def share(self, instance: Instance) -> None:
        """Copy a file of this machine's spool to the object store; on return every machine can read it.

        Raises RecordsUnavailable (try again), DamagedObject or NotDicom: the file is no longer what came.
        """
        if self._objects is None or self._objects.has(instance.sha256):
            return
        with (
            (self._spool_dir / instance.path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            meta = read_meta(mapped)
            if digest(mapped, meta) != instance.sha256:
                raise DamagedObject
            self._objects.put(mapped[meta.offset :])

    def set_aside_if_other(self, instance: Instance, spooled: Spooled) -> bool:
        """Put a file of this machine into quarantine where the record of its UID is of other bytes.

        Two machines that receive different objects under one UID cannot see it at the door. What this machine
        recorded itself is known by its time, without reading it. Raises RecordsUnavailable.
        """
        if spooled.received_at == instance.received_at:
            return False
        place = self._spool_dir / spooled.path
        try:
            content = place.read_bytes()
            meta = read_meta(content)
            found = hashlib.sha256(content[meta.offset :]).hexdigest()
            if found == instance.sha256:
                return False
            self._set_aside(place, content, meta, spooled, found)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise RecordsUnavailable(f"A file of the spool cannot be set aside: {error.strerror}.") from error
        return True

    def _set_aside(self, place: Path, content: bytes, meta: FileMeta, spooled: Spooled, sha256: str) -> None:
        """As the spool does with changed content; the name is of the file, so that again is the same."""
        stem = f"{spooled.received_at:%Y%m%dT%H%M%S.%fZ}-{sha256[:8]}"
        note = {
            "file": f"{stem}.dcm",
            "reason": CHANGED_CONTENT,
            "received_at": spooled.received_at.isoformat(),
            "calling_ae_title": spooled.calling_ae_title,
            "sop_class_uid": meta.sop_class_uid,
            "sop_instance_uid": meta.sop_instance_uid,
            "study_instance_uid": place.parent.name,
            "transfer_syntax_uid": meta.transfer_syntax_uid,
            "sha256": sha256,
            "size_bytes": len(content) - meta.offset,
        }
        folder = self._spool_dir / "quarantine"
        write_whole(json.dumps(note, indent=1).encode(), folder / f"{stem}.json")
        place.rename(folder / f"{stem}.dcm")
        sync_folder(folder)

    def is_shared(self, digest: Sha256) -> bool:
        """Whether the object store has the data set. Raises RecordsUnavailable."""
        return self._objects is not None and self._objects.has(digest)

    def fetch(self, path: PurePosixPath) -> Path:
        """A copy on this machine of what another one received; where there is none, the place it would have.

        Raises RecordsUnavailable while the object store or the record is away.
        """
        copy = self._cache_dir / path
        if self._objects is None or len(path.parts) != 4:
            return self._spool_dir / path
        with suppress(OSError):
            os.utime(copy)
            return copy
        row = self._row(path)
        if row is None:
            return self._spool_dir / path
        data_set = self._objects.get(Sha256(row["sha256"]))
        content = (
            write_meta(
                sop_class_uid=row["sop_class_uid"],
                sop_instance_uid=row["sop_instance_uid"],
                transfer_syntax_uid=row["transfer_syntax_uid"],
                calling_ae_title=row["calling_ae_title"],
                checksum=Checksum(data_set).digest(),
            )
            + data_set
        )
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(len(content))
            write_whole(content, copy)
        except OSError as error:
            raise RecordsUnavailable(f"A copy of an object cannot be kept: {error.strerror}.") from error
        return copy

    def remove(self, gone: Iterable[PurePosixPath], *, before: datetime) -> Removed:
        """Take files away from this machine's spool, those only that were written before a moment.

        What came later, also under the same name, stays. The copies in the object store are left to
        `remove_shared`. Raises RecordsUnavailable where the disk refuses; again is always safe.
        """
        files = size = 0
        folders = set()
        try:
            for path in gone:
                with suppress(FileNotFoundError):
                    (self._cache_dir / path).unlink()
                place = self._spool_dir / path
                with suppress(FileNotFoundError):
                    about = place.stat()
                    if about.st_mtime >= before.timestamp():
                        continue
                    place.unlink()
                    files += 1
                    size += about.st_size
                    folders.add(place.parent)
        except OSError as error:
            raise RecordsUnavailable(f"A file of the spool cannot be removed: {error.strerror}.") from error
        for folder in folders:
            with suppress(OSError):  # others are in it, or are coming
                folder.rmdir()
        return Removed(files=files, size_bytes=size)

    def remove_shared(self, gone: Iterable[Sha256]) -> int:
        """Take the copies away from the object store; how many were there. Raises RecordsUnavailable."""
        found = 0
        if self._objects is not None:
            for digest_ in gone:
                if self._objects.has(digest_):
                    self._objects.remove(digest_)
                    found += 1
        return found

    def quarantined(self) -> set[SOPInstanceUID]:
        """The instances of which this machine set another version aside. Raises RecordsUnavailable."""
        found = set()
        try:
            for note in (self._spool_dir / "quarantine").glob("*.json"):
                about = json.loads(note.read_bytes())
                if about["reason"] == CHANGED_CONTENT and about["sop_instance_uid"]:
                    found.add(SOPInstanceUID(about["sop_instance_uid"]))
        except (OSError, ValueError, KeyError) as error:
            raise RecordsUnavailable("The quarantine cannot be read.") from error
        return found

    def size(self, paths: Iterable[PurePosixPath]) -> int:
        """Bytes that the files take on this machine."""
        total = 0
        for path in paths:
            with suppress(OSError):
                total += (self._spool_dir / path).stat().st_size
        return total

    def _row(self, path: PurePosixPath) -> sa.RowMapping | None:
        """What is recorded of the instance that a path of the spool names: studies/<hh>/<study>/<sop>.dcm."""
        try:
            with self._engine.connect() as connection:
                return (
                    connection.execute(
                        sa.select(
                            instances.c.sop_instance_uid,
                            instances.c.sop_class_uid,
                            instances.c.transfer_syntax_uid,
                            instances.c.sha256,
                            studies.c.calling_ae_title,
                        )
                        .join(studies, studies.c.study_instance_uid == instances.c.study_instance_uid)
                        .where(
                            instances.c.study_instance_uid == path.parts[2],
                            instances.c.sop_instance_uid == path.stem,
                        )
                    )
                    .mappings()
                    .one_or_none()
                )
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def _make_room(self, size: int) -> None:
        """Remove copies that nobody asked for lately, oldest first, until the new one fits."""
        found = []
        for file in self._cache_dir.rglob("*.dcm"):
            with suppress(FileNotFoundError):
                about = file.stat()
                found.append((about.st_mtime, about.st_size, file))
        now, total = time.time(), size + sum(one[1] for one in found)
        for asked_at, bytes_, file in sorted(found):
            idle = now - asked_at
            if idle < _IN_USE_SECONDS or (total <= self._cache_bytes and idle < _FORGOTTEN_SECONDS):
                continue
            with suppress(OSError):
                file.unlink()
                total -= bytes_
                file.parent.rmdir()
