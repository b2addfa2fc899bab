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

    def step(self) -> list[threading.Thread]:
        """One round; the threads that knock now."""
        now = self._clock.now()
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        if self._look_at is not None and now < self._look_at:
            return list(self._threads.values())
        self._look_at = now + LOOK
        for name, receiver in self._work.receivers().items():
            waits = receiver.state is Reach.UP or receiver.next_probe_at > now
            if waits or name in self._threads or name not in self._probes:
                continue
            thread = threading.Thread(target=self._knock, args=(receiver,), name=f"probe-{name}", daemon=True)
            self._threads[name] = thread
            thread.start()
        return list(self._threads.values())

    def _knock(self, receiver: Receiver) -> None:
        name = receiver.destination
        try:
            try:
                self._probes[name]()
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


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
