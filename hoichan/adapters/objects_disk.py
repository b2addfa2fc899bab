"""Documents by digest, as files: written once, fsynced, never changed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from hoichan.errors import RecordsUnavailable
from hoichan.types import Sha256


class ObjectsDisk:
    """A content-addressed store under one folder."""

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
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(content, target)
            sync_folder(target.parent)
        except OSError as error:
            raise RecordsUnavailable("The object store cannot be written.") from error
        return digest

    def get(self, digest: Sha256) -> bytes:
        """The bytes. Raises RecordsUnavailable when they cannot be read or no longer match their digest."""
        try:
            content = self.path(digest).read_bytes()
        except OSError as error:
            raise RecordsUnavailable(f"Object {digest} cannot be read.") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise RecordsUnavailable(f"Object {digest} is damaged: its bytes no longer match its digest.")
        return content


def _write(content: bytes, target: Path) -> None:
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
