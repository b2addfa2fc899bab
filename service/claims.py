"""Jobs that other programs claimed and then forgot: taken back, so that every study has an answer."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from hoichan.adapters.workitems_sql import WorkitemsSql
from hoichan.ports import Clock

log = structlog.get_logger()
LONGEST_SILENCE = timedelta(hours=1)
EVERY = timedelta(seconds=30)


class Claims:
    """Looks now and then."""

    def __init__(self, work: WorkitemsSql, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._next: datetime | None = None

    def step(self) -> int:
        """How many were taken back. Raises RecordsUnavailable."""
        now = self._clock.now()
        if self._next is not None and now < self._next:
            return 0
        self._next = now + EVERY
        released = self._work.release_silent(LONGEST_SILENCE)
        if released:
            log.warning("claims_taken_back", jobs=released)
        return released
