"""What a person drops at once is one arrival: its studies stay open between one request and the next.

A browser sends object by object. Each request names its batch; while one of a batch is under way, and for a
moment after the last, no study of it is closed, as none is while an association sends into it.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

HEADER = "x-upload-batch"
IDLE_SECONDS = 2.0  # the next request follows at once; a page that was closed sends none
_NAME = re.compile(r"[0-9a-f]{16,32}\Z")


class Timer(Protocol):
    """Calls something once, later, unless it is cancelled."""

    def start(self) -> None:
        """Begin to wait."""

    def cancel(self) -> None:
        """Do not call, if it did not yet."""


def _timer(seconds: float, then: Callable[[], None]) -> Timer:
    timer = threading.Timer(seconds, then)
    timer.daemon = True
    return timer


class Batches:
    """Counts the requests of each batch. Safe for many threads."""

    def __init__(
        self,
        released: Callable[[str], None],
        *,
        timer: Callable[[float, Callable[[], None]], Timer] = _timer,
    ) -> None:
        """`released`: hears the name of a batch of which no more comes."""
        self._released = released
        self._timer = timer
        self._under_way: dict[str, int] = {}  # names that were not released, and their requests
        self._ends: dict[str, Timer] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _release_all, self._under_way, released)  # the page ends

    def enter(self, name: str) -> None:
        """A request of the batch begins."""
        with self._lock:
            self._under_way[name] = self._under_way.get(name, 0) + 1
            ending = self._ends.pop(name, None)
        if ending is not None:
            ending.cancel()

    def leave(self, name: str) -> None:
        """A request of the batch has ended."""
        with self._lock:
            self._under_way[name] -= 1
            if self._under_way[name]:
                return
            ending = self._ends[name] = self._timer(IDLE_SECONDS, lambda: self._end(name))
        ending.start()

    def _end(self, name: str) -> None:
        with self._lock:
            if self._under_way.get(name) != 0:  # another began just now
                return
            del self._under_way[name]
            self._ends.pop(name, None)
        self._released(name)


def batch_of(header: str | None) -> str | None:
    """The name of a batch, as a page made it up; None where there is none."""
    return header if header is not None and _NAME.match(header) else None


def _release_all(names: dict[str, int], released: Callable[[str], None]) -> None:
    for name in list(names):
        released(name)
