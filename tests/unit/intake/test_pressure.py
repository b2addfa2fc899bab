"""The doors say "later" while the house cannot follow, and open again by themselves."""

from __future__ import annotations

import pytest

from hoichan.errors import Overloaded, SpoolFull
from hoichan.intake.pressure import HOLDS, LOOK_SECONDS, Gauge, Load, open_again, pressure, shut
from hoichan.settings import Work
from hoichan.testing import FakeSpool
from hoichan.testing.ports import FakeClock

LIMITS = Work(most_waiting=100, memory_reserve_bytes=1000)


@pytest.mark.parametrize(
    ("waiting", "free", "was_shut", "reason"),
    [
        (100, 1000, False, None),
        (101, 1000, False, "queue"),
        (81, 9999, True, "queue"),
        (80, 9999, True, None),
        (0, 999, False, "memory"),
        (0, 1249, True, "memory"),
        (0, 1250, True, None),
        (0, None, False, None),
    ],
)
def test_the_doors_shut_at_the_limit_and_open_well_below_it(waiting, free, was_shut, reason):
    load = Load(waiting=waiting, free_memory_bytes=free)
    assert pressure(load, LIMITS, was_shut=was_shut) == reason


@pytest.fixture
def spool():
    made = FakeSpool()
    yield made
    made.close()


def test_a_door_hears_within_a_second_and_forgets_a_house_that_died(spool):
    clock, ticks = FakeClock(), [0.0]
    gauge = Gauge(spool.notes, monotonic=lambda: ticks[0], now=clock.now)
    gauge.check()
    shut(spool.notes, "queue", clock.now())
    ticks[0] += LOOK_SECONDS
    with pytest.raises(Overloaded) as caught:
        gauge.check()
    assert isinstance(caught.value, SpoolFull)
    open_again(spool.notes)
    ticks[0] += LOOK_SECONDS
    gauge.check()
    shut(spool.notes, "memory", clock.now())
    ticks[0] += LOOK_SECONDS
    with pytest.raises(Overloaded):
        gauge.check()
    clock.advance(HOLDS.total_seconds())
    gauge.check()
