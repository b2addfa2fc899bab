"""Puts due deliveries into the engine's queue, each try once, and a few for each receiver.

The rest waits in the record, where something urgent can still go before it. A receiver that was knocked at
and did not answer is left alone, but for one try an hour: a knock may be wrong.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container
from datetime import datetime, timedelta

from hoichan.adapters.work_sql import Reach, WorkSql
from hoichan.ports import Clock, Engine, Studies
from service.pace import Pace

# A row that is still due this long after its try was enqueued waits behind a slow receiver, or its try was
# given up: the engine is asked again, and does nothing if the try still waits.
ASK_AGAIN = timedelta(seconds=60)
DEPTH = 8  # tries in the engine's hands for each receiver
TRIAL = timedelta(hours=1)  # between two tries at a receiver that is thought to be down

Try = tuple[str, int]  # key and attempts


class Dispatcher:
    """Remembers what it enqueued, so that a long queue costs one look and not one write a row."""

    def __init__(
        self,
        studies: Studies,
        work: WorkSql,
        engine: Engine,
        clock: Clock,
        *,
        probes: Container[str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`probes`: the receivers that are knocked at; None: all of them."""
        self._probes = probes
        self._studies = studies
        self._work = work
        self._engine = engine
        self._clock = clock
        self._enqueued: dict[Try, datetime] = {}
        self._tried: dict[str, datetime] = {}  # receivers that are down
        self._pace = Pace(monotonic)

    def step(self) -> int:
        """One round; returns how many tries were enqueued."""
        if not self._pace.is_due():
            return 0
        now = self._clock.now()
        left_alone = self._left_alone(now)
        with self._pace:
            rows = self._studies.due(now, each=DEPTH, but=left_alone)
        due = {(d.idempotency_key, d.attempts): d for d in rows}
        self._enqueued = {key: at for key, at in self._enqueued.items() if key in due}
        begun = Counter(due[key].destination for key in self._enqueued)
        count = 0
        for key, delivery in due.items():
            name = delivery.destination
            if key in self._enqueued and now - self._enqueued[key] <= ASK_AGAIN:
                continue
            if key not in self._enqueued and begun[name] >= (1 if name in self._tried else DEPTH):
                continue
            if name in self._tried:
                self._tried[name] = now
            self._engine.enqueue_delivery(delivery)
            self._enqueued[key] = now
            begun[name] += 1
            count += 1
        return count

    def _left_alone(self, now: datetime) -> list[str]:
        """Receivers that are down, but for those whose hour has come.

        Nobody knocks at one that was removed: its deliveries are tried, and so become dead letters at once.
        """
        down = {
            name
            for name, one in self._work.receivers().items()
            if one.state is Reach.DOWN and (self._probes is None or name in self._probes)
        }
        self._tried = {name: self._tried.get(name, now) for name in down}
        return [name for name, at in self._tried.items() if now - at < TRIAL]
