"""Looking never takes more than its share of the time."""

from __future__ import annotations

from service.pace import LOOKS, QUICK_SECONDS, SHARE, Pace


def look(pace, now, seconds):
    with pace:
        now[0] += seconds


def test_slow_looks_are_followed_by_a_pause_and_quick_ones_are_not():
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert pace.is_due()
    for _ in range(LOOKS):
        look(pace, now, QUICK_SECONDS)
        assert pace.is_due()
    for _ in range(LOOKS):
        assert pace.is_due()
        look(pace, now, 0.5)
    assert not pace.is_due()
    now[0] += 0.5 / SHARE
    assert pace.is_due()
    look(pace, now, QUICK_SECONDS)  # the queue is short again
    assert pace.is_due()


def test_one_look_that_was_held_up_makes_nobody_wait():
    now = [100.0]
    pace = Pace(lambda: now[0])
    for seconds in (0.01, 0.6, 0.01, 1.3, 0.7, 0.01):
        look(pace, now, seconds)
        assert pace.is_due()
