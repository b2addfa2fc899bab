"""A child whose end another thread saw first: its code is known a moment after the wait for it is over."""

from __future__ import annotations

import multiprocessing
import signal
from types import SimpleNamespace

import pytest

from hoichan.meters import Tally
from service.alone import analyse_alone, deliver_alone, forward_alone


class Child:
    """Ended and reaped: as `multiprocessing` leaves it to the second who waits."""

    def __init__(self, **_told):
        self.looks = 0

    @property
    def exitcode(self):
        self.looks += 1
        return None if self.looks < 4 else -signal.SIGKILL

    def start(self):
        """It has."""

    def join(self, timeout=None):
        """At once: nobody is there to wait for."""

    def kill(self):
        """Nobody is hurt."""

    def close(self):
        """As the real one refuses."""
        if self.exitcode is None:
            raise ValueError("Cannot close a process while it is still running.")


@pytest.mark.parametrize(
    "alone",
    [
        lambda: analyse_alone(None, "1.2", 1),
        lambda: deliver_alone(None, SimpleNamespace(idempotency_key="k", destination="pacs"), Tally()),
        lambda: forward_alone(None, None),
    ],
    ids=["analysis", "delivery", "forward"],
)
def test_a_death_that_another_thread_saw_first_is_told_all_the_same(monkeypatch, alone):
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Process=Child))
    assert alone() is False
