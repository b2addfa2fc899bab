"""Files and archives from outside, one after another, into the spool; and what became of each.

Shared by `hoichan import` and the watched folders, which differ in what they do with a file afterwards.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import structlog

from hoichan.errors import ArchiveRefused, IntakeError, SpoolFull
from hoichan.intake.archives import is_zip, unpack
from hoichan.intake.files import Counted, is_media_directory, take_in
from hoichan.intake.part10 import is_part10
from hoichan.ports import Spool
from hoichan.types import StudyInstanceUID

log = structlog.get_logger()

_START = 132  # bytes that tell what a file is


class Fate(Enum):
    """What became of a file."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the same bytes were there before
    SET_ASIDE = "set_aside"  # kept in quarantine: a known instance with other content
    DIRECTORY = "directory"  # a DICOMDIR, a table of contents
    NOT_DICOM = "not_dicom"  # a viewer, a text, a picture
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One file, or one file of an archive."""

    name: str  # for whoever brought it; never for a log
    fate: Fate
    code: str | None = None  # why it was refused
    study_instance_uid: StudyInstanceUID | None = None


class Importer:
    """Takes files in for one sender. Use `batch` around what belongs together."""

    def __init__(
        self, spool: Spool, *, sender: str, maximum_bytes: int, counted: Counted | None = None
    ) -> None:
        """`maximum_bytes`: of one file, and of what one archive unpacks to."""
        self._counted = counted
        self._spool = spool
        self._sender = sender
        self._maximum_bytes = maximum_bytes
        self._batch: str | None = None

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Keeps the studies that files come for open until the end."""
        self._batch = name = uuid.uuid4().hex[:12]
        try:
            yield
        finally:
            self._batch = None
            self._spool.released(name)

    def take(self, path: Path, *, archives: bool = True) -> Iterator[Verdict]:
        """The verdict on a file, or those on the files of a ZIP archive. Does not follow a link.

        Raises SpoolFull, after which the same again is harmless, and OSError where the file cannot be read.
        """
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            start = file.read(_START)
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            if archives and is_zip(start):
                yield from self._unpacked(file, path.name)
            elif not is_part10(start):
                yield Verdict(name=path.name, fate=Fate.NOT_DICOM, code="intake.not_dicom")
            elif size > self._maximum_bytes:
                yield Verdict(name=path.name, fate=Fate.REFUSED, code="intake.too_large")
            else:
                yield self._judged(path.name, file.read())

    def _unpacked(self, file: BinaryIO, name: str) -> Iterator[Verdict]:
        try:
            for member, content in unpack(file, maximum_bytes=self._maximum_bytes):
                yield self._judged(f"{name}/{member}", content)
        except ArchiveRefused as error:
            yield Verdict(name=name, fate=Fate.REFUSED, code=f"{error.code}.{error.reason}")

    def _judged(self, name: str, content: bytes) -> Verdict:
        if is_zip(content):
            return Verdict(name=name, fate=Fate.REFUSED, code=f"{ArchiveRefused.code}.nested")
        if PurePosixPath(name).name.upper() == "DICOMDIR" or is_media_directory(content):
            return Verdict(name=name, fate=Fate.DIRECTORY)
        if not is_part10(content[:_START]):
            return Verdict(name=name, fate=Fate.NOT_DICOM, code="intake.not_dicom")
        try:
            stored = take_in(self._spool, content, calling_ae_title=self._sender, counted=self._counted)
        except SpoolFull:
            raise
        except IntakeError as error:
            log.warning(
                "file_refused", code=error.code, calling_ae_title=self._sender, size_bytes=len(content)
            )
            return Verdict(name=name, fate=Fate.REFUSED, code=error.code)
        fate = Fate.DUPLICATE if stored.duplicate else Fate.SET_ASIDE if stored.quarantined else Fate.ACCEPTED
        if fate is Fate.ACCEPTED and self._batch is not None:
            with suppress(SpoolFull):  # without the mark the study is only closed earlier
                self._spool.opened(stored.study_instance_uid, self._batch)
        log.info(
            "instance_stored",
            study=stored.study_instance_uid,
            instance=stored.sop_instance_uid,
            calling_ae_title=self._sender,
            duplicate=stored.duplicate,
            quarantined=stored.quarantined,
            size_bytes=len(content),
        )
        return Verdict(
            name=name, fate=fate, code=stored.quarantined, study_instance_uid=stored.study_instance_uid
        )
