"""Objects by digest, as files: written once, fsynced, never changed. See `hoichan.ports.Objects`."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hoichan.errors import ObjectUnknown, RecordsUnavailable
from hoichan.types import Sha256

_HEX = frozenset("0123456789abcdef")


class ObjectsDisk:
    """The `Objects` port under one folder: `<first two digits>/<digest>`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: Sha256) -> Path:
        """Where an object lies."""
        return self._root / digest[:2] / digest

    def put(self, content: bytes) -> Sha256:
        """Keep the bytes; on return they are safe on disk. Raises RecordsUnavailable."""
        digest = Sha256(hashlib.sha256(content).hexdigest())
        target = self.path(digest)
        if target.exists():
            return digest
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                sync_folder(self._root)
            write_whole(content, target)
            sync_folder(target.parent)
        except OSError as error:
            raise RecordsUnavailable("The object store cannot be written.") from error
        return digest

    def get(self, digest: Sha256) -> bytes:
        """The bytes. Raises RecordsUnavailable when they cannot be read or no longer match their digest."""
        try:
            content = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise ObjectUnknown(f"Object {digest} is not in the object store.") from error
        except OSError as error:
            raise RecordsUnavailable(f"Object {digest} cannot be read.") from error
        return checked(digest, content)

    def has(self, digest: Sha256) -> bool:
        """Whether the bytes are there."""
        return self.path(digest).exists()

    def remove(self, digest: Sha256) -> None:
        """Take the bytes away, if they are there. Raises RecordsUnavailable."""
        try:
            self.path(digest).unlink(missing_ok=True)
        except OSError as error:
            raise RecordsUnavailable(f"Object {digest} cannot be removed.") from error

    def every(self) -> Iterator[Sha256]:
        """All digests, in no order. Raises RecordsUnavailable."""
        try:
            for folder in self._root.iterdir() if self._root.is_dir() else ():
                for file in folder.iterdir() if len(folder.name) == 2 else ():
                    if is_digest(file.name):
                        yield Sha256(file.name)
        except OSError as error:
            raise RecordsUnavailable("The object store cannot be listed.") from error


def checked(digest: Sha256, content: bytes) -> bytes:
    """The bytes, which are those of the digest. Raises RecordsUnavailable."""
    if hashlib.sha256(content).hexdigest() != digest:
        raise RecordsUnavailable(f"Object {digest} is damaged: its bytes no longer match its digest.")
    return content


def is_digest(name: str) -> bool:
    """Whether a name is a SHA-256 in hexadecimal, and not that of an unfinished file."""
    return len(name) == 64 and _HEX.issuperset(name)


def write_whole(content: bytes, target: Path) -> None:
    """Write, fsync, rename. Leaves nothing behind when it fails: the disk is full, and more tries come."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
