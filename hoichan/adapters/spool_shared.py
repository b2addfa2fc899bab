"""A machine's spool whose files, once recorded, can be read on every machine. See `originals`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hoichan.adapters.originals import Originals
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.types import Instance


class SharedSpool(DiskSpool):
    """The `Spool` port: what this machine received, and behind it what the others did."""

    def __init__(
        self, root: Path, originals: Originals, *, reserve_bytes: int = 0, open_mark_seconds: float = 900
    ) -> None:
        super().__init__(root, reserve_bytes=reserve_bytes, open_mark_seconds=open_mark_seconds)
        self.originals = originals

    def file(self, path: PurePosixPath) -> Path:
        """The place on this machine of a path inside the spool, fetched where another machine received it.

        Raises IntakeError for a path that leads out, RecordsUnavailable while the object store is away.
        """
        here = super().file(path)
        return here if here.exists() else self.originals.fetch(path)

    def holds(self, instance: Instance) -> bool:
        """Whether the file can still be read, here or from the object store. Raises RecordsUnavailable."""
        return super().file(instance.path).exists() or self.originals.is_shared(instance.sha256)
