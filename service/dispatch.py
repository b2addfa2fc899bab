"""Puts due deliveries into the engine's queue, each try once."""

from __future__ import annotations

from datetime import datetime, timedelta

from hoichan.ports import Clock, Engine, Studies

# A row that is still due this long after its try was enqueued waits behind a slow receiver, or its try was
# given up: the engine is asked again, and does nothing if the try still waits.
ASK_AGAIN = timedelta(seconds=60)


class Dispatcher:
    """Remembers what it enqueued, so that a long queue costs one look and not one write a row."""

    def __init__(self, studies: Studies, engine: Engine, clock: Clock) -> None:
        self._studies = studies
        self._engine = engine
        self._clock = clock
        self._enqueued: dict[tuple[str, int], datetime] = {}

    def step(self) -> int:
        """One round; returns how many tries were enqueued."""
        now = self._clock.now()
        due = {(d.idempotency_key, d.attempts): d for d in self._studies.due(now)}
        self._enqueued = {key: at for key, at in self._enqueued.items() if key in due}
        new = [key for key in due if key not in self._enqueued or now - self._enqueued[key] > ASK_AGAIN]
        for key in new:
            self._engine.enqueue_delivery(due[key])
            self._enqueued[key] = now
        return len(new)
