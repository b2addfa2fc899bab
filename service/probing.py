"""Knocks at receivers that did not answer, and has everything that waits for one sent when it does.

One knock a receiver, each in a thread of its own: a receiver that is slow to fail delays no other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from hoichan.adapters.work_sql import Reach, Receiver, WorkSql
from hoichan.errors import HoichanError, Unreachable
from hoichan.ports import Clock, Probe
from hoichan.reporting.deliveries import next_attempt
from hoichan.settings import Work

log = structlog.get_logger()

LOOK = timedelta(seconds=1)  # between two looks at who has to be knocked at
FIRST_PAUSE_SECONDS = 1.0


class Prober:
    """Runs in the leading worker."""

    def __init__(self, work: WorkSql, probes: Mapping[str, Probe], clock: Clock, settings: Work) -> None:
        self._work = work
        self._probes = probes
        self._clock = clock
        self._settings = settings
        self._threads: dict[str, threading.Thread] = {}
        self._look_at: datetime | None = None
        self._seen_at = clock.now()  # by a clock that somebody may set

    def step(self) -> list[threading.Thread]:
        """One round; the threads that knock now."""
        now = self._clock.now()
        if now < self._seen_at:
            log.warning(
                "clock_set_back", seconds=(self._seen_at - now).total_seconds(), woken=self._work.wake()
            )
        self._seen_at = now
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        if self._look_at is not None and _is_ahead(self._look_at, now, LOOK):
            return list(self._threads.values())
        self._look_at = now + LOOK
        longest = timedelta(seconds=self._settings.longest_probe_seconds)
        for name, receiver in self._work.receivers().items():
            waits = receiver.state is Reach.UP or _is_ahead(receiver.next_probe_at, now, longest)
            probe = self._probes.get(name)
            if waits or name in self._threads or probe is None:
                continue
            thread = threading.Thread(
                target=self._knock, args=(receiver, probe), name=f"probe-{name}", daemon=True
            )
            self._threads[name] = thread
            thread.start()
        return list(self._threads.values())

    def _knock(self, receiver: Receiver, probe: Probe) -> None:
        name = receiver.destination
        try:
            try:
                probe()
            except Unreachable as error:
                seconds = next_attempt(
                    receiver.failures + 1, FIRST_PAUSE_SECONDS, self._settings.longest_probe_seconds
                )
                self._work.silent(name, error.detail, self._clock.now() + timedelta(seconds=seconds))
                if receiver.state is not Reach.DOWN:
                    log.warning("receiver_down", destination=name, detail=error.detail)
            else:
                woken = self._work.answers(name)
                log.info("receiver_up", destination=name, woken=woken)
        except Exception as error:  # noqa: BLE001  the outermost frame of this thread
            log.error("probe_failed", destination=name, code=_code(error))


def _is_ahead(planned: datetime, now: datetime, longest: timedelta) -> bool:
    """Whether a time is to come. One further ahead than anybody plans is of a clock that was set back."""
    return now < planned <= now + 2 * longest


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
