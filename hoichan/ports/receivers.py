"""What was written at the page about receivers and forwarding: every version whole; what is still owed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

Entry = Mapping[str, Any]  # as the configuration file would have it, without secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverVersion:
    """The page's receivers and forwarding rules from one change to the next."""

    version: int  # 1, 2, 3, …
    destinations: tuple[Entry, ...]
    forward: tuple[Entry, ...]
    by: str  # user name
    at: datetime  # aware, UTC
    reason: str
    restores: int | None  # an older version that this one brings back; 0: none


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What has not arrived yet."""

    destinations: Mapping[str, int] = field(default_factory=dict)  # results and images, by receiver
    rules: Mapping[str, int] = field(default_factory=dict)  # images, by forwarding rule


class ReceiverVersions(Protocol):
    """Versions are only added. Every method may raise RecordsUnavailable (try again)."""

    def versions(self) -> Sequence[ReceiverVersion]:
        """All of them, the newest first."""
        ...

    def newest(self) -> int:
        """The number of the newest; 0 where there is none. Cheap: asked every second."""
        ...

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
        """A new version; its number. `seen`: the one that the writer changed, 0 for none.

        None where somebody else wrote one meanwhile, and then nothing was written.
        """
        ...

    def owed(self) -> Owed:
        """What is still to be delivered."""
        ...
