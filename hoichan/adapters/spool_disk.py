"""The spool: a folder that holds every accepted object, and the only tie between the door and the house.

    part/                                being written, locked by its writer; swept when a door starts
    studies/<hh>/<study>/<sop>.dcm       our file meta, then the data set as it came; hh = sha256(study)[:2]
    fresh/<study>                        mark: arrivals since the house last looked
    taken/<taker>/<study>                the same mark while somebody looks, see `spool_taken`
    open/<study>/<pid>-<association>     mark: an association is still sending into the study
    quarantine/<utc>-<sha>.dcm|.bin      what could not be filed, with the reason in a .json beside it
    commitments/ steps/ evidence/ changes/   notes, see `notes_disk`

Any number of processes write and read. An object is acknowledged after its file and its folder are on disk:
write, fsync, link, fsync of the folder, mark. A link is made only where nothing is yet, so of two processes
that bring the same object one is first and the other finds its file. The marks need no fsync: after a power
cut the house sweeps all studies. Any failure of the disk is SpoolFull: nothing was promised, the sender tries
again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

from hoichan.adapters.notes_disk import DiskNotes
from hoichan.adapters.parts import Parts, sync_folder, touch, touch_in_folder
from hoichan.adapters.spool_incoming import Crate, FullOnError
from hoichan.adapters.spool_search import locate
from hoichan.adapters.spool_taken import Taken, studies_on_disk
from hoichan.errors import IntakeError, NotDicom, SpoolFull, StorageUnusable
from hoichan.intake.changes import keep_note
from hoichan.intake.door import Identity, identify, is_uid
from hoichan.intake.part10 import FileMeta, read_meta
from hoichan.intake.pressure import Gauge
from hoichan.ports import Spooled, Stored
from hoichan.types import StudyInstanceUID

CHANGED_CONTENT = "changed_content"  # a known SOP Instance UID came with other bytes
_FOLDERS = ("part", "studies", "fresh", "open", "quarantine")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class DiskSpool:
    """The spool on a disk. Safe for many threads of many processes."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0, open_mark_seconds: float = 900) -> None:
        """Makes the folders. Raises StorageUnusable when they cannot be made or written.

        `reserve_bytes`: below this much free space nothing is accepted.
        `open_mark_seconds`: an older mark of an open association is not believed any more.
        """
        self._root = root
        self._fresh = str(root / "fresh")
        self._parts = Parts(root / "part")
        self.notes = DiskNotes(root, self._parts)
        self._gauge = Gauge(self.notes)
        self._taken = Taken(root)
        self._reserve_bytes = reserve_bytes
        self._open_mark_seconds = open_mark_seconds
        self._marks: dict[str, set[StudyInstanceUID]] = {}
        self._marks_lock = threading.Lock()
        self.unmarked: set[StudyInstanceUID] = set()
        try:
            for name in _FOLDERS:
                (root / name).mkdir(parents=True, exist_ok=True)
            probe = root / "part" / f"{uuid.uuid4().hex}.part"
            probe.touch()
            probe.unlink(missing_ok=True)  # a sweep may have been faster
            sync_folder(root)
        except OSError as error:
            if error.errno in _NO_ROOM and (root / _FOLDERS[-1]).is_dir():
                return  # stands, and says so to every sender, until there is room
            raise StorageUnusable(
                f"The spool {root} cannot be written ({error.strerror}): check the disk and its permissions."
            ) from error

    def sweep(self) -> int:
        """Removes what dead processes left behind, unfinished files and marks, and returns their number.

        What a living process writes is left alone. Raises StorageUnusable.
        """
        left = self.sweep_unfinished()
        try:
            for folder in (self._root / "open").iterdir():
                for mark in folder.iterdir():
                    if self._is_lost(mark):
                        mark.unlink(missing_ok=True)
                        left += 1
                with suppress(OSError):  # marks of the living are in it
                    folder.rmdir()
        except OSError as error:
            raise StorageUnusable(f"The spool {self._root} cannot be swept ({error.strerror}).") from error
        return left

    def sweep_unfinished(self) -> int:
        """Removes unfinished files whose writers are dead, and returns their number; at any time.

        A writer holds the lock of its file until the system has ended it. Raises StorageUnusable.
        """
        try:
            return self._parts.sweep()
        except OSError as error:
            raise StorageUnusable(f"The spool {self._root} cannot be swept ({error.strerror}).") from error

    def _is_lost(self, mark: Path) -> bool:
        """Whether the association of a mark cannot be alive: its process is gone, or it is too old."""
        pid, _, association = mark.name.partition("-")
        if pid == str(os.getpid()):  # a former process had the same number
            return association not in self._marks
        try:
            os.kill(int(pid), 0)
            return mark.stat().st_mtime < time.time() - self._open_mark_seconds
        except PermissionError:  # alive, and another user's
            return False
        except (ProcessLookupError, FileNotFoundError, ValueError, OverflowError):
            return True

    def store(
        self,
        data_set: bytes,
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        calling_ae_title: str,
    ) -> Stored:
        """Keeps one data set; on return it outlives a power cut. See the port for what it raises."""
        crate = self.receive(
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            calling_ae_title=calling_ae_title,
        )
        try:
            if self.free_bytes() - len(data_set) < self._reserve_bytes:
                raise SpoolFull
            crate.write([data_set])
            return crate.keep()
        finally:
            crate.drop()

    def receive(
        self, *, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, calling_ae_title: str
    ) -> Crate:
        """Opens the file of a data set that is about to arrive. Raises SpoolFull or Overloaded."""
        with FullOnError():
            self._gauge.check()
            return Crate(
                parts=self._parts,
                check_room=self._check_room,
                keep=self._keep,
                transfer_syntax_uid=transfer_syntax_uid,
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                calling_ae_title=calling_ae_title,
            )

    def _check_room(self) -> None:
        if self.free_bytes() < self._reserve_bytes:
            raise SpoolFull

    def _keep(self, crate: Crate) -> Stored:
        with FullOnError():
            try:
                with crate.content() as content:
                    identity = identify(
                        content,
                        start=crate.offset,
                        transfer_syntax_uid=crate.transfer_syntax_uid,
                        sop_class_uid=crate.sop_class_uid,
                        sop_instance_uid=crate.sop_instance_uid,
                    )
            except IntakeError as error:
                study = crate.study()
                path = self._quarantine(crate, reason=error.code, study=study)
                if study is not None:
                    self._tell(study, path, crate, refused=error.code)
                raise
            return self._file(crate, identity)

    def _file(self, crate: Crate, identity: Identity) -> Stored:
        study = identity.study_instance_uid
        path = study_path(study) / f"{identity.sop_instance_uid}.dcm"
        target = self._root / path
        duplicate = quarantined = None
        if target.exists():
            duplicate = _holds(target, crate)
        else:
            try:
                crate.publish(target)
            except FileExistsError:  # another was first
                duplicate = _holds(target, crate)
        if duplicate is None:
            self._arrived(study)
        elif duplicate:
            sync_folder(target.parent)  # the first sender may have died between rename and fsync
            if study in self.unmarked:
                self._arrived(study)
        else:
            path = self._quarantine(crate, reason=CHANGED_CONTENT, study=study)
            quarantined = CHANGED_CONTENT
            self._tell(study, path, crate)
        return Stored(
            sop_instance_uid=identity.sop_instance_uid,
            study_instance_uid=study,
            path=path,
            duplicate=bool(duplicate),
            quarantined=quarantined,
        )

    def _tell(
        self, study: StudyInstanceUID, path: PurePosixPath, crate: Crate, *, refused: str | None = None
    ) -> None:
        """Has the house look at what was set aside."""
        instance, title = crate.sop_instance_uid, crate.calling_ae_title
        keep_note(self.notes, study, path=path, instance=instance, calling_ae_title=title, refused=refused)
        if refused is None or (self._root / study_path(study)).is_dir():  # else with its first image
            self._arrived(study)

    def _arrived(self, study: StudyInstanceUID) -> None:
        """Marks the study; one that could not be marked is remembered until its object comes again."""
        self.unmarked.add(study)
        touch(f"{self._fresh}/{study}")
        self.unmarked.discard(study)

    def _quarantine(self, crate: Crate, *, reason: str, study: StudyInstanceUID | None) -> PurePosixPath:
        """Keeps what cannot be filed; the same bytes for the same reason are kept once."""
        with crate.content() as content, memoryview(content) as whole, whole[crate.offset :] as data_set:
            sha256 = hashlib.sha256(data_set).hexdigest()
            with self._parts.alone("quarantine"):
                return self._set_aside(crate, data_set, sha256, reason, study)

    def _set_aside(
        self, crate: Crate, data_set: memoryview, sha256: str, reason: str, study: StudyInstanceUID | None
    ) -> PurePosixPath:
        folder = self._root / "quarantine"
        for note in folder.glob(f"*-{sha256[:8]}*.json"):
            known = json.loads(note.read_text(encoding="utf-8"))
            if (known["sha256"], known["reason"]) == (sha256, reason):
                return PurePosixPath("quarantine", known["file"])
        now = datetime.now(UTC)
        stem = f"{now:%Y%m%dT%H%M%S.%fZ}-{sha256[:8]}"
        name = stem + (".dcm" if crate.is_named and reason != NotDicom.code else ".bin")
        self._parts.write(crate.head() if name.endswith(".dcm") else b"", data_set, folder / name)
        note_of = {
            "file": name,
            "reason": reason,
            "received_at": now.isoformat(),
            "calling_ae_title": crate.calling_ae_title,
            "sop_class_uid": crate.sop_class_uid if is_uid(crate.sop_class_uid) else None,
            "sop_instance_uid": crate.sop_instance_uid if is_uid(crate.sop_instance_uid) else None,
            "study_instance_uid": study,
            "transfer_syntax_uid": crate.transfer_syntax_uid,
            "sha256": sha256,
            "size_bytes": crate.size_bytes,
        }
        self._parts.write(json.dumps(note_of, indent=1).encode(), b"", folder / f"{stem}.json")
        return PurePosixPath("quarantine", name)

    def opened(self, study: StudyInstanceUID, association: str) -> None:
        """Marks the study as being sent into. Raises SpoolFull when the mark cannot be made."""
        with self._marks_lock:
            if study in self._marks.get(association, ()):
                return
            with FullOnError():
                touch_in_folder(self._mark(study, association))
            self._marks.setdefault(association, set()).add(study)

    def released(self, association: str) -> None:
        """Takes the association's marks away and has its studies looked at again.

        A mark that cannot be removed is left: readers stop believing it after `open_mark_seconds`.
        """
        with self._marks_lock:
            studies = self._marks.pop(association, set())
            for study in studies:
                mark = self._mark(study, association)
                with suppress(OSError):
                    mark.unlink(missing_ok=True)
                    mark.parent.rmdir()  # refuses while others are still open
        for study in studies:
            with suppress(OSError):
                (self._root / "fresh" / study).touch()

    def take_fresh(self) -> Sequence[StudyInstanceUID]:
        """Studies with arrivals, longest waiting first; nobody else gets them while this process lives."""
        return self._taken.take()

    def looking(self, study: StudyInstanceUID | None) -> None:
        """What is looked at now; None: nothing."""
        self._taken.looking(study)

    def looked_at(self, study: StudyInstanceUID) -> None:
        """What was taken is written down."""
        self._taken.looked_at(study)

    def deaths(self, study: StudyInstanceUID) -> int:
        """How many died looking at it."""
        return self._taken.deaths(study)

    def give_back(self) -> int:
        """Has studies looked at again that somebody took and died; returns how many. Raises SpoolFull."""
        with FullOnError():
            return self._taken.give_back()

    def fresh(self) -> Sequence[StudyInstanceUID]:
        """Studies that are marked, without taking the marks."""
        return [StudyInstanceUID(entry.name) for entry in os.scandir(self._root / "fresh")]

    def mark_fresh(self, study: StudyInstanceUID) -> None:
        """Has the study looked at again. Raises SpoolFull when the mark cannot be made."""
        with FullOnError():
            (self._root / "fresh" / _safe(study)).touch()

    def every_study(self) -> Sequence[StudyInstanceUID]:
        """All studies on disk, in no particular order."""
        studies = self._root / "studies"
        return [StudyInstanceUID(folder.name) for half in studies.iterdir() for folder in half.iterdir()]

    def everything(self) -> Iterator[Mapping[StudyInstanceUID, frozenset[PurePosixPath]]]:
        """All studies and the paths of their files, some thousands at a time."""
        return studies_on_disk(self._root)

    def listing(self, study: StudyInstanceUID) -> Sequence[Spooled]:
        """The files of one study, oldest first; none when it is unknown."""
        folder = study_path(_safe(study))
        found: list[tuple[int, Spooled]] = []
        try:
            entries = list(os.scandir(self._root / folder))
        except FileNotFoundError:
            return []
        for entry in entries:
            if not entry.name.endswith(".dcm"):
                continue
            written = entry.stat().st_mtime_ns
            try:
                calling_ae_title = _meta_of(Path(entry.path)).calling_ae_title
            except (NotDicom, ValueError):  # damaged on the disk; whoever reads it will say so
                calling_ae_title = ""
            spooled = Spooled(
                path=folder / entry.name,
                calling_ae_title=calling_ae_title,
                received_at=datetime.fromtimestamp(written / 1e9, UTC),
            )
            found.append((written, spooled))
        found.sort(key=lambda pair: (pair[0], pair[1].path))
        return [spooled for _, spooled in found]

    def is_open(self, study: StudyInstanceUID) -> bool:
        """Whether a living association sent into this study less than `open_mark_seconds` ago."""
        oldest = time.time() - self._open_mark_seconds
        try:
            marks = list(os.scandir(self._root / "open" / _safe(study)))
        except FileNotFoundError:
            return False
        for mark in marks:
            with suppress(FileNotFoundError):  # released meanwhile
                if mark.stat().st_mtime > oldest:
                    return True
        return False

    def locate(self, instances: Collection[str], among: Collection[str] | None = None) -> Mapping[str, str]:
        """SOP Class UID by SOP Instance UID of what is filed and safe on disk. Raises SpoolFull."""
        with FullOnError():
            return locate(self._root, instances, among and [study_path(StudyInstanceUID(s)) for s in among])

    def file(self, path: PurePosixPath) -> Path:
        """The place on this machine of a path inside the spool. Raises IntakeError for one that leads out."""
        if path.is_absolute() or ".." in path.parts:
            raise IntakeError("A path of the spool must stay inside it.")
        return self._root / path

    def free_bytes(self) -> int:
        """What an ordinary user may still write, in bytes."""
        space = os.statvfs(self._root)
        return space.f_bavail * space.f_frsize

    def _mark(self, study: StudyInstanceUID, association: str) -> Path:
        return self._root / "open" / _safe(study) / f"{os.getpid()}-{association}"


def _safe(study: StudyInstanceUID) -> StudyInstanceUID:
    if not is_uid(study):
        raise IntakeError("Not a Study Instance UID.")
    return study


@lru_cache(maxsize=1024)  # of those that images come to just now
def study_path(study: StudyInstanceUID) -> PurePosixPath:
    """Where the files of a study lie in the spool."""
    return PurePosixPath("studies", hashlib.sha256(study.encode()).hexdigest()[:2], study)


def _meta_of(file: Path) -> FileMeta:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read_meta(mapped)


def _holds(file: Path, crate: Crate) -> bool:
    """Whether the file has these bytes; one that is damaged on the disk has others."""
    try:
        return crate.is_held_by(file)
    except (NotDicom, ValueError):
        return False
