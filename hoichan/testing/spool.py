"""A spool in memory that keeps the same promises as the one on disk, and can be told to be full."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pydicom import Dataset

from hoichan.errors import IntakeError, SpoolFull
from hoichan.intake.changes import keep_note
from hoichan.intake.door import identify, study_of
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import Checksum, read_meta, write_meta
from hoichan.ports import AtRest, Spool, Spooled, Stored
from hoichan.testing.datasets import encode
from hoichan.types import SOPInstanceUID, StudyInstanceUID


class FakeNotes:
    """Notes in a dictionary, as JSON, so that nothing else gets in."""

    def __init__(self) -> None:
        self.full = False  # set it, and no note is kept
        self._notes: dict[PurePosixPath, str] = {}

    def write(self, path: PurePosixPath, note: Mapping[str, Any]) -> None:
        """Keep a note; raises SpoolFull while `full` is set."""
        if self.full:
            raise SpoolFull
        if any(not part[:1].isalnum() for part in path.parts):
            raise IntakeError("Not a name of a note.")
        self._notes[path] = json.dumps(note)

    def read(self, path: PurePosixPath) -> Mapping[str, Any] | None:
        """A note; None where there is none."""
        note: Mapping[str, Any] | None = json.loads(self._notes[path]) if path in self._notes else None
        return note

    def names(self, folder: PurePosixPath) -> Sequence[PurePosixPath]:
        """The notes of a folder, in the order of their names."""
        return sorted(path for path in self._notes if path.parent == folder)

    def remove(self, path: PurePosixPath) -> None:
        """Take a note away, if it is there."""
        self._notes.pop(path, None)


class FakeIncoming:
    """A data set that arrives: its pieces in a list."""

    def __init__(self, spool: FakeSpool, **said: str) -> None:
        self._spool = spool
        self._said = said
        self._pieces: list[bytes] | None = []

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Raises SpoolFull while the spool is full."""
        if self._spool.full or self._pieces is None:
            raise SpoolFull
        self._pieces.extend(bytes(piece) for piece in pieces)

    def keep(self, at_rest: AtRest = nullcontext) -> Stored:
        """As the port says; no disk is waited for here."""
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            raise SpoolFull
        return self._spool.store(b"".join(pieces), **self._said)

    def drop(self) -> None:
        """Forgets the pieces."""
        self._pieces = None


def bring(
    spool: Spool, data_set: Dataset, *, calling_ae_title: str = "CR1", syntax: str = EXPLICIT_LITTLE
) -> Stored:
    """What the listener does with a data set that a sender brings."""
    return spool.store(
        encode(data_set, syntax),
        transfer_syntax_uid=syntax,
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        calling_ae_title=calling_ae_title,
    )


class FakeSpool:
    """Keeps everything in dictionaries; `file()` writes a file only when somebody asks for it."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.full = False  # set it, and every store is refused
        self.unmarked: set[StudyInstanceUID] = set()  # nothing is refused half-way here
        self.quarantine: dict[PurePosixPath, tuple[str, bytes]] = {}  # path -> reason, data set
        self.notes = FakeNotes()
        self._now = now
        self._lock = threading.Lock()  # a door stores from many threads
        self._files: dict[PurePosixPath, tuple[datetime, bytes]] = {}
        self._studies: dict[StudyInstanceUID, list[PurePosixPath]] = {}
        self._fresh: dict[StudyInstanceUID, None] = {}
        self._open: dict[str, set[StudyInstanceUID]] = {}
        self._folder: TemporaryDirectory[str] | None = None

    def receive(
        self, *, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, calling_ae_title: str
    ) -> FakeIncoming:
        """As the port says; raises SpoolFull while `full` is set."""
        if self.full:
            raise SpoolFull
        return FakeIncoming(
            self,
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            calling_ae_title=calling_ae_title,
        )

    def store(
        self,
        data_set: bytes,
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        calling_ae_title: str,
    ) -> Stored:
        """As the port says; raises SpoolFull while `full` is set."""
        if self.full:
            raise SpoolFull
        sha256 = hashlib.sha256(data_set).hexdigest()
        try:
            identity = identify(
                data_set,
                transfer_syntax_uid=transfer_syntax_uid,
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
            )
        except IntakeError as error:
            refused = study_of(data_set, transfer_syntax_uid=transfer_syntax_uid)
            with self._lock:
                path = self._set_aside(data_set, sha256, error.code)
                if refused is not None:
                    keep_note(
                        self.notes,
                        refused,
                        path=path,
                        instance=sop_instance_uid,
                        calling_ae_title=calling_ae_title,
                        refused=error.code,
                    )
                    if refused in self._studies:
                        self._fresh[refused] = None
            raise
        study = identity.study_instance_uid
        path = PurePosixPath("studies", study, f"{identity.sop_instance_uid}.dcm")
        head = write_meta(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae_title=calling_ae_title,
            checksum=Checksum(data_set).digest(),
        )
        with self._lock:
            known = self._files.get(path)
            duplicate = known is not None and known[1][read_meta(known[1]).offset :] == data_set
            quarantined = None
            if known is None:
                self._files[path] = (self._now(), head + data_set)
                self._studies.setdefault(study, []).append(path)
                self._fresh[study] = None
            elif not duplicate:
                quarantined = "changed_content"
                path = self._set_aside(data_set, sha256, quarantined)
                self._files[path] = (self._now(), head + data_set)
                keep_note(
                    self.notes, study, path=path, instance=sop_instance_uid, calling_ae_title=calling_ae_title
                )
                self._fresh[study] = None
        return Stored(
            sop_instance_uid=SOPInstanceUID(sop_instance_uid),
            study_instance_uid=study,
            path=path,
            duplicate=duplicate,
            quarantined=quarantined,
        )

    def _set_aside(self, data_set: bytes, sha256: str, reason: str) -> PurePosixPath:
        path = PurePosixPath("quarantine", f"{sha256[:8]}-{reason}.bin")
        self.quarantine[path] = (reason, data_set)
        return path

    def opened(self, study: StudyInstanceUID, association: str) -> None:
        """An association is sending into this study."""
        self._open.setdefault(association, set()).add(study)

    def released(self, association: str) -> None:
        """The association ended; its studies are looked at again."""
        self._fresh.update(dict.fromkeys(sorted(self._open.pop(association, set()))))

    def take_fresh(self) -> Sequence[StudyInstanceUID]:
        """Marked studies, longest waiting first."""
        taken = list(self._fresh)
        self._fresh.clear()
        return taken

    def looking(self, study: StudyInstanceUID | None) -> None:
        """Nobody dies here."""

    def looked_at(self, study: StudyInstanceUID) -> None:
        """Nobody dies here, so nothing was kept."""

    def deaths(self, study: StudyInstanceUID) -> int:
        """Nobody dies here."""
        return 0

    def give_back(self) -> int:
        """Nobody dies here."""
        return 0

    def mark_fresh(self, study: StudyInstanceUID) -> None:
        """Has the study looked at again."""
        self._fresh[study] = None

    def every_study(self) -> Sequence[StudyInstanceUID]:
        """All studies."""
        return list(self._studies)

    def everything(self) -> Iterator[Mapping[StudyInstanceUID, frozenset[PurePosixPath]]]:
        """All studies with the paths of their files."""
        yield {study: frozenset(paths) for study, paths in self._studies.items()}

    def listing(self, study: StudyInstanceUID) -> Sequence[Spooled]:
        """The files of one study, oldest first."""
        return [
            Spooled(
                path=path,
                calling_ae_title=read_meta(self._files[path][1]).calling_ae_title,
                received_at=self._files[path][0],
            )
            for path in self._studies.get(study, ())
        ]

    def is_open(self, study: StudyInstanceUID) -> bool:
        """Whether an association is still sending into this study."""
        return any(study in studies for studies in self._open.values())

    def locate(self, instances: Collection[str], among: Collection[str] | None = None) -> Mapping[str, str]:
        """SOP Class UID by SOP Instance UID of what is filed."""
        return {
            path.stem: read_meta(content).sop_class_uid
            for path, (_, content) in self._files.items()
            if path.stem in instances and (among is None or path.parts[-2] in among)
        }

    def file(self, path: PurePosixPath) -> Path:
        """A real file with the object's bytes, made when first asked for."""
        if path.is_absolute() or ".." in path.parts:
            raise IntakeError("A path of the spool must stay inside it.")
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="fake-spool-")
        place = Path(self._folder.name) / path
        if path in self._files and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self._files[path][1])
        return place

    def free_bytes(self) -> int:
        """Nothing while full."""
        return 0 if self.full else 1 << 40

    def close(self) -> None:
        """Removes the files that `file()` made."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
