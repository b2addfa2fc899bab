"""Looking never takes more than its share of the time."""

from __future__ import annotations

from service.pace import QUICK_SECONDS, SHARE, Pace


def test_a_slow_look_is_followed_by_a_pause_and_a_quick_one_is_not():
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert pace.is_due()
    with pace:
        now[0] += QUICK_SECONDS
    assert pace.is_due()
    with pace:
        now[0] += 0.5
    assert not pace.is_due()
    now[0] += 0.5 / SHARE
    assert pace.is_due()
