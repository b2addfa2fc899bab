"""Objects in memory that keep the promises of the port, and can be told to be away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hoichan.errors import ObjectUnknown, RecordsUnavailable
from hoichan.types import Sha256


class FakeObjects:
    """The `Objects` port in a dictionary."""

    def __init__(self) -> None:
        self.away = False  # set it, and every call fails
        self.kept: dict[Sha256, bytes] = {}

    def put(self, content: bytes) -> Sha256:
        """Keep the bytes."""
        self._answer()
        digest = Sha256(hashlib.sha256(content).hexdigest())
        self.kept[digest] = bytes(content)
        return digest

    def get(self, digest: Sha256) -> bytes:
        """The bytes, unless somebody damaged them."""
        self._answer()
        if digest not in self.kept:
            raise ObjectUnknown
        content = self.kept[digest]
        if hashlib.sha256(content).hexdigest() != digest:
            raise RecordsUnavailable(f"Object {digest} is damaged.")
        return content

    def has(self, digest: Sha256) -> bool:
        """Whether the bytes are there."""
        self._answer()
        return digest in self.kept

    def remove(self, digest: Sha256) -> None:
        """Take the bytes away."""
        self._answer()
        self.kept.pop(digest, None)

    def every(self) -> Iterator[Sha256]:
        """All digests."""
        self._answer()
        yield from list(self.kept)

    def _answer(self) -> None:
        if self.away:
            raise RecordsUnavailable
