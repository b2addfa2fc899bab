"""A data set on its way into the spool: it is written while it arrives, and never as a whole in memory."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from hoichan.adapters.parts import Content, Part, Parts
from hoichan.errors import SpoolFull
from hoichan.intake.door import is_uid, study_of
from hoichan.intake.headers import Buffer
from hoichan.intake.part10 import CHECKSUM_BYTES, Checksum, read_meta, write_meta
from hoichan.ports import AtRest, Stored
from hoichan.types import StudyInstanceUID

_COMPARED_AT_ONCE = 1 << 20  # bytes
_ROOM_LOOKED_AT = 1 << 22  # bytes; how much is written between two looks at the free space


class FullOnError:
    """Whatever the disk says in here, the sender hears: later. Raises SpoolFull for an OSError."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise SpoolFull(f"The spool cannot be written: {error.strerror}.") from error


class Crate:
    """One data set, with what the command said about it. See `hoichan.ports.Incoming`.

    Threads: one writes and keeps; `drop` may come from another at any time.
    """

    def __init__(
        self,
        *,
        parts: Parts,
        check_room: Callable[[], None],
        keep: Callable[[Crate], Stored],
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        calling_ae_title: str,
    ) -> None:
        """Opens the unfinished file. `check_room` raises SpoolFull. Raises OSError."""
        self.transfer_syntax_uid = transfer_syntax_uid
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.calling_ae_title = calling_ae_title
        self.size_bytes = 0  # of the data set
        self._check_room = check_room
        self._keep = keep
        self._checksum = Checksum()
        self._lock = threading.Lock()
        self._at_rest: AtRest = nullcontext
        self._open = True
        self._room_bytes = _ROOM_LOOKED_AT  # may be written before the next look
        check_room()
        # a request without names cannot be filed: no head, for its data set may be no DICOM at all
        self.is_named = is_uid(sop_class_uid) and is_uid(sop_instance_uid)
        self.part: Part = parts.begin()
        self._head = self.head()  # is written with the first bytes
        self.offset = len(self._head)

    def head(self) -> bytes:
        """The file meta of what has arrived so far; b"" where the request has no names. Always as long."""
        if not self.is_named:
            return b""
        return write_meta(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            calling_ae_title=self.calling_ae_title,
            checksum=self._checksum.digest(),
        )

    def write(self, pieces: Sequence[Content]) -> None:
        """Appends the next bytes. Raises SpoolFull."""
        with self._lock:
            if not self._open:
                raise SpoolFull("The object was given up.")
            if self._room_bytes < 0:
                self._check_room()
                self._room_bytes = _ROOM_LOOKED_AT
            try:
                size = self._append(pieces)
            except OSError as error:
                raise SpoolFull(f"The spool cannot be written: {error.strerror}.") from error
            self.size_bytes += size
            self._room_bytes -= size
            for piece in pieces:
                self._checksum.update(piece)

    def keep(self, at_rest: AtRest = nullcontext) -> Stored:
        """Files what has arrived; on return it outlives a power cut. See the port for what it raises."""
        with self._lock:
            if not self._open:
                raise SpoolFull("The object was given up.")
            try:
                if self._head:
                    self._append([])
                self._at_rest = at_rest
                return self._keep(self)
            except OSError as error:
                raise SpoolFull(f"The spool cannot be written: {error.strerror}.") from error
            finally:
                self._open = False
                self.part.drop()

    def _append(self, pieces: Sequence[Content]) -> int:
        """Writes, the head before the first; returns the length of the pieces. Raises OSError."""
        head, self._head = self._head, b""
        return self.part.write([head, *pieces] if head else pieces) - len(head)

    def drop(self) -> None:
        """Leaves nothing behind; harmless after `keep`, and more than once."""
        with self._lock:
            self._open = False
            self.part.drop()

    def publish(self, target: Path) -> None:
        """Gives the finished file its place. Raises FileExistsError and OSError."""
        if self.offset:
            self.part.write_at(self.offset - CHECKSUM_BYTES, self._checksum.digest())  # the end of the head
        self.part.publish(target, self._at_rest)

    @contextmanager
    def content(self) -> Iterator[Buffer]:
        """The file so far: `offset` bytes of file meta, then the data set."""
        if not self.offset + self.size_bytes:
            yield b""
            return
        with mmap.mmap(self.part.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped

    def study(self) -> StudyInstanceUID | None:
        """Which it says that it is of, fit to be filed or not; None where that cannot be read."""
        with self.content() as content:
            return study_of(content, transfer_syntax_uid=self.transfer_syntax_uid, start=self.offset)

    def is_held_by(self, file: Path) -> bool:
        """Whether a filed object has the same bytes of data set. Raises OSError, NotDicom or ValueError."""
        with file.open("rb") as filed:
            with mmap.mmap(filed.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                offset = read_meta(mapped).offset
            if os.fstat(filed.fileno()).st_size - offset != self.size_bytes:
                return False
            for done in range(0, self.size_bytes, _COMPARED_AT_ONCE):
                ours = os.pread(self.part.fileno(), _COMPARED_AT_ONCE, self.offset + done)
                if ours != os.pread(filed.fileno(), _COMPARED_AT_ONCE, offset + done):
                    return False
        return True
