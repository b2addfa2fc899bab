"""When the doors have to say "later" because the house cannot follow, and how they hear of it.

The house writes a note into the spool, the doors read it: they need no database. The note holds for a short
while only, so a house that died with its doors shut does not keep them shut: the spool can wait for days.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Protocol

from hoichan.errors import Overloaded
from hoichan.ports import Notes

PLACE = PurePosixPath("pressure/door.json")
HOLDS = timedelta(seconds=60)  # how long the doors believe a note
LOOK_SECONDS = 1.0  # between two looks of a door
OPEN_AGAIN = 0.8  # of the limit; less often open and shut than at the limit itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much there is."""

    waiting: int  # studies without an answer
    free_memory_bytes: int | None  # None: not known here


class Limits(Protocol):
    """What is too much (`[work]` of the settings)."""

    @property
    def most_waiting(self) -> int:
        """Studies."""
        ...

    @property
    def memory_reserve_bytes(self) -> int:
        """Free memory that is left alone."""
        ...


def pressure(load: Load, limits: Limits, *, was_shut: bool) -> str | None:
    """Why the doors have to be shut: "queue" or "memory"; None where they are open."""
    share = OPEN_AGAIN if was_shut else 1.0
    if load.waiting > limits.most_waiting * share:
        return "queue"
    if load.free_memory_bytes is not None and load.free_memory_bytes < limits.memory_reserve_bytes / share:
        return "memory"
    return None


def shut(notes: Notes, reason: str, now: datetime) -> None:
    """Tell the doors to say "later". Raises SpoolFull."""
    until = (now + HOLDS).isoformat(timespec="seconds")
    notes.write(PLACE, {"reason": reason, "until": until})


def open_again(notes: Notes) -> None:
    """Tell the doors to let in. Raises SpoolFull."""
    notes.remove(PLACE)


class Gauge:
    """What a door knows of the pressure inside; looks at most once a second. For many threads."""

    def __init__(
        self,
        notes: Notes,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._notes = notes
        self._monotonic = monotonic
        self._now = now
        self._look_at = 0.0
        self._until: datetime | None = None
        self._reason = ""

    def check(self) -> None:
        """Raises Overloaded while the house cannot follow, SpoolFull when the disk fails."""
        if self._monotonic() >= self._look_at:
            self._look_at = self._monotonic() + LOOK_SECONDS
            note = self._notes.read(PLACE)
            self._until = None if note is None else datetime.fromisoformat(note["until"])
            self._reason = "" if note is None else str(note["reason"])
        if self._until is not None and self._now() < self._until:
            raise Overloaded(f"Too much waits here ({self._reason}); send again later.")
