"""Looks at long queues less often: never more than a tenth of the time goes into looking.

One slow look among quick ones says nothing of the queue: the processor or the database was at something else,
as the analysis of a film. Only what is slow several times in a row is long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

QUICK_SECONDS = 0.02  # a look that takes no longer may be repeated at once
SHARE = 0.1
LOOKS = 3  # the quickest of so many tells how long a look takes


class Pace:
    """Used as a context around the look; `is_due` tells whether the next one may begin."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began = 0.0
        self._next_at = 0.0
        self._took = deque([0.0] * LOOKS, maxlen=LOOKS)  # seconds, of the last looks

    def is_due(self) -> bool:
        """Whether it is time for another look."""
        return self._monotonic() >= self._next_at

    def __enter__(self) -> None:
        self._began = self._monotonic()

    def __exit__(self, *_: object) -> None:
        now = self._monotonic()
        self._took.append(now - self._began)
        took = min(self._took)
        self._next_at = now + took / SHARE if took > QUICK_SECONDS else now
