"""What lies in the spool and not in the record, though no mark says so: after a power cut marks may be gone.

Every study is compared, once after each start, beside the work and slower than it could be done: no worker
of a site with a million studies waits for that. What somebody took and did not look at is found at once by
other means (`Spool.give_back`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Set
from pathlib import PurePosixPath

import structlog

from hoichan.errors import HoichanError
from hoichan.ports import Spool
from hoichan.types import StudyInstanceUID

log = structlog.get_logger()

REST = 3.0  # times as long as some studies took: a quarter of one processor at most
AGAIN_SECONDS = 60.0  # after the disk or the database was away

Recorded = Callable[[Collection[StudyInstanceUID]], Set[PurePosixPath]]


class LeftBehind:
    """Compares the spool with the record."""

    def __init__(
        self, spool: Spool, recorded: Recorded, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`recorded`: the paths of all instances of some studies, as `RecordedSql.paths` finds them."""
        self._spool = spool
        self._recorded = recorded
        self._monotonic = monotonic

    def compare(self, stop: threading.Event) -> int:
        """Have every study looked at that has a file which the record lacks; returns how many.

        Ends early when `stop` is set. Raises RecordsUnavailable, SpoolFull or OSError.
        """
        studies = left = 0
        for some in self._spool.everything():
            began = self._monotonic()
            recorded = self._recorded(some)
            for study, paths in some.items():
                if not paths <= recorded:
                    self._spool.mark_fresh(study)
                    left += 1
            studies += len(some)
            if stop.wait(REST * (self._monotonic() - began)):
                return left
        log.info("spool_compared", studies=studies, left_behind=left)
        return left

    def start(self, stop: threading.Event) -> threading.Thread:
        """Compare in a thread of its own, again and again until it was done once."""

        def run() -> None:
            while not stop.is_set():
                try:
                    self.compare(stop)
                    return
                except (HoichanError, OSError) as error:
                    code = error.code if isinstance(error, HoichanError) else type(error).__name__
                    log.error("background_failed", task="left behind", code=code)
                    stop.wait(AGAIN_SECONDS)

        thread = threading.Thread(target=run, name="left-behind", daemon=True)
        thread.start()
        return thread
