"""Files that appear whole or not at all, and never replace another, whoever else writes at the same time.

A file is written below one folder as `<name>.part`, locked by its writer, and linked to its place when it is
on disk. The system frees the lock when the writer dies, so a sweep knows what is abandoned, also between
containers that do not see each other's processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # file systems without hard links


class Parts:
    """A folder of unfinished files, on the file system of the finished ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, head: bytes, body: bytes, target: Path) -> None:
        """Write, fsync, link, fsync of the folder. Leaves nothing behind when it fails.

        Raises FileExistsError where the target is there already, and any other OSError of the disk.
        """
        part, file = self._open()
        try:
            with file:
                file.write(head)
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
                self._publish(part, target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        sync_folder(target.parent)

    def replace(self, content: bytes, target: Path) -> None:
        """As `write`, but in the place of what is there."""
        part, file = self._open()
        try:
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        sync_folder(target.parent)

    def sweep(self) -> int:
        """Removes the files whose writers are gone, and returns their number."""
        return sum(_removed_if_abandoned(part) for part in self._folder.glob("*.part"))

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """One at a time, of all threads of all processes."""
        with (self._folder / f"{what}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _open(self) -> tuple[Path, BinaryIO]:
        """A new unfinished file, locked."""
        while True:
            part = self._folder / f"{uuid.uuid4().hex}.part"
            file = part.open("xb")
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # waits only for a sweep that saw it unlocked
                if os.fstat(file.fileno()).st_nlink:
                    return part, file
            except OSError:
                file.close()
                part.unlink(missing_ok=True)
                raise
            file.close()  # swept before it was locked

    def _publish(self, part: Path, target: Path) -> None:
        """Gives the file its name, never taking one away. Raises FileExistsError."""
        try:
            os.link(part, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with self.alone("names"):
                if target.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
                part.rename(target)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def touch_in_folder(file: Path) -> None:
    """Makes a file and its folder, also while another process takes the empty folder away."""
    for last in (False, False, True):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.touch()
            return
        except FileNotFoundError:
            if last:
                raise


def _removed_if_abandoned(part: Path) -> bool:
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
