"""Versions of receivers in memory, with the promises of the port."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from hoichan.ports import Clock
from hoichan.ports.receivers import Entry, Owed, ReceiverVersion


class FakeReceivers:
    """The `ReceiverVersions` port in a list."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: list[ReceiverVersion] = []
        self.waits = Owed()  # set it, and `owed` says it

    def versions(self) -> Sequence[ReceiverVersion]:
        """All of them, the newest first."""
        return list(reversed(self._kept))

    def newest(self) -> int:
        """Its number; 0 for none."""
        return len(self._kept)

    def write(
        self,
        destinations: Sequence[Entry],
        forward: Sequence[Entry],
        *,
        seen: int,
        who: str,
        reason: str,
        restores: int | None = None,
    ) -> int | None:
        """A new version; None where `seen` is not the newest."""
        if seen != len(self._kept):
            return None
        self._kept.append(
            ReceiverVersion(
                version=seen + 1,
                destinations=_stored(destinations),
                forward=_stored(forward),
                by=who,
                at=self._clock.now(),
                reason=reason,
                restores=restores,
            )
        )
        return seen + 1

    def owed(self) -> Owed:
        """What was set."""
        return self.waits


def _stored(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """As it comes back from a database: a copy, lists for tuples."""
    return tuple(cast(list[dict[str, Any]], json.loads(json.dumps([dict(one) for one in entries]))))
