"""Bytes that outlive the machine that received them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hoichan.ports.spool import Spooled
from hoichan.types import Instance, Sha256


class Objects(Protocol):
    """Bytes by their SHA-256: written once, whole or not at all, never changed.

    Every method raises RecordsUnavailable while the store is away: the same call can succeed later.
    """

    def put(self, content: bytes) -> Sha256:
        """Keep the bytes; on return they outlive a power cut. The same bytes twice are kept once."""
        ...

    def get(self, digest: Sha256) -> bytes:
        """The bytes. Raises ObjectUnknown where there are none, RecordsUnavailable where they are damaged."""
        ...

    def has(self, digest: Sha256) -> bool:
        """Whether the bytes are there."""
        ...

    def remove(self, digest: Sha256) -> None:
        """Take the bytes away, if they are there."""
        ...

    def every(self) -> Iterator[Sha256]:
        """All digests, in no order."""
        ...


class Originals(Protocol):
    """Received files beyond the machine that received them. Every method may raise RecordsUnavailable."""

    def share(self, instance: Instance) -> None:
        """Have every machine able to read a file of this one. Raises IntakeError where it is damaged."""
        ...

    def set_aside_if_other(self, instance: Instance, spooled: Spooled) -> bool:
        """Put a file of this machine into quarantine where the record of its UID is of other bytes."""
        ...
