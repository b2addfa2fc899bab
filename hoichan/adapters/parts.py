"""Files that appear whole or not at all, and never replace another, whoever else writes at the same time.

A file is written below one folder as `<name>.part`, locked by its writer, and linked to its place when it is
on disk. The system frees the lock when the writer dies, so a sweep knows what is abandoned, also between
containers that do not see each other's processes.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from hoichan.ports import AtRest

Content = bytes | memoryview

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # file systems without hard links
_WRITE_BEHIND = 1 << 18  # bytes
_MOST_PIECES = 512  # of one writev(); the system takes 1,024


class Part:
    """One unfinished file, open and locked; ends as a file at its place, or as nothing. For one thread."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._written = 0  # bytes
        self._started = 0  # up to here the disk was asked to write

    def fileno(self) -> int:
        """The open file, for reading back what was written."""
        return self._descriptor

    def write(self, pieces: Sequence[Content]) -> int:
        """Appends the pieces and returns their length. Raises OSError.

        The disk starts on every 256 KiB at once, so that the fsync at the end finds little left to do.
        """
        size = sum(map(len, pieces))
        if len(pieces) > _MOST_PIECES:
            pieces = [b"".join(pieces)]
        done = os.writev(self._descriptor, pieces)
        if done < size:  # a signal, or a disk that is nearly full
            rest = memoryview(b"".join(pieces))
            while done < size:
                done += os.write(self._descriptor, rest[done:])
        self._written += size
        behind = self._written - self._started
        if behind >= _WRITE_BEHIND:
            os.posix_fadvise(self._descriptor, self._started, behind, os.POSIX_FADV_DONTNEED)
            self._started = self._written
        return size

    def write_at(self, offset: int, content: bytes) -> None:
        """Writes over bytes that are there already. Raises OSError."""
        os.pwrite(self._descriptor, content, offset)

    def publish(self, target: Path, at_rest: AtRest = nullcontext) -> None:
        """fsync, link, fsync of the folder; the part itself is gone on return. Whoever began it drops it.

        The folder is made where it is missing. `at_rest` is entered while the disk is waited for. Raises
        FileExistsError where the target is there already, and any other OSError of the disk; the part can be
        read further then.
        """
        with at_rest():
            os.fsync(self._descriptor)
        try:
            self._link(target)
        except FileNotFoundError:
            make_folder(target.parent)
            self._link(target)
        self.drop()
        with at_rest():
            sync_folder(target.parent)

    def replace(self, target: Path) -> None:
        """As `publish`, but in the place of what is there."""
        os.fsync(self._descriptor)
        Path(self._path).replace(target)
        self.drop()
        sync_folder(target.parent)

    def drop(self) -> None:
        """Removes it; more than once does no harm."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 (done for every object)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _link(self, target: Path) -> None:
        """Gives the file its name, never taking one away. Raises FileExistsError."""
        try:
            os.link(self._path, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with alone(Path(self._path).parent, "names"):
                if target.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
                Path(self._path).rename(target)


class Parts:
    """A folder of unfinished files, on the file system of the finished ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stem = f"{folder}/{uuid.uuid4().hex}"
        self._numbers = itertools.count()

    def write(self, head: bytes, body: Content, target: Path) -> None:
        """Write, fsync, link, fsync of the folder. Leaves nothing behind when it fails.

        Raises FileExistsError where the target is there already, and any other OSError of the disk.
        """
        with self._begun() as part:
            part.write([head, body])
            part.publish(target)

    def replace(self, content: bytes, target: Path) -> None:
        """As `write`, but in the place of what is there."""
        with self._begun() as part:
            part.write([content])
            part.replace(target)

    def begin(self) -> Part:
        """A new unfinished file. Raises OSError."""
        while True:
            path = f"{self._stem}-{os.getpid()}-{next(self._numbers)}.part"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            part = Part(path, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits only for a sweep that saw it unlocked
                if os.fstat(descriptor).st_nlink:
                    return part
            except OSError:
                part.drop()
                raise
            part.drop()  # swept before it was locked

    def alone(self, what: str) -> AbstractContextManager[None]:
        """One at a time, of all threads of all processes."""
        return alone(self._folder, what)

    @contextmanager
    def _begun(self) -> Iterator[Part]:
        part = self.begin()
        try:
            yield part
        finally:
            part.drop()

    def sweep(self) -> int:
        """Removes the files whose writers are gone, and returns their number."""
        return sum(_removed_if_abandoned(part) for part in self._folder.glob("*.part"))


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """One at a time, of all threads of all processes."""
    with (folder / f"{what}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sync_folder(folder: Path) -> None:
    """Has the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder inside one that may have to be made too; both outlive a power cut."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    sync_folder(folder.parent.parent)


def touch(file: str) -> None:
    """Makes a file, or its time of change now. Raises OSError."""
    try:
        os.utime(file)
    except OSError:  # none yet, or another user's, which only its writing may touch
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))


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
