"""A process that starts is waited for while it gets on."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from hoichan.testing.house import wait_until
from service.effort import LEAST, Effort, effort_of


def test_one_that_works_is_not_stalled_and_one_that_waits_is():
    told = [0.0]
    effort = Effort(100.0, 1, lambda pid: told[0])
    assert effort.stalled_seconds(130.0) == 30
    told[0] += LEAST
    assert effort.stalled_seconds(150.0) == 0
    told[0] += LEAST / 10  # looks now and then whether it may go on
    assert effort.stalled_seconds(200.0) == 50
    told[0] += LEAST
    assert effort.stalled_seconds(211.0) == 0


def test_little_by_little_is_getting_on_too():
    told = [0.0]
    effort = Effort(0.0, 1, lambda pid: told[0])
    longest = 0.0
    for second in range(1, 200):
        told[0] += LEAST / 20
        longest = max(longest, effort.stalled_seconds(float(second)))
    assert longest < 30


def test_where_the_system_tells_nothing_the_time_counts():
    effort = Effort(5.0, 1, lambda pid: None)
    assert effort.stalled_seconds(65.0) == 60


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc")  # noqa: PTH110
def test_the_effort_of_a_process_is_read():
    before = effort_of(os.getpid())
    until = time.process_time() + LEAST
    while time.process_time() < until:
        pass
    assert effort_of(os.getpid()) - before >= LEAST - 0.1
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        wait_until(lambda: effort_of(idle.pid) is not None, seconds=60, what="an effort")
        idle.stdin.close()
        idle.wait(60)
    assert effort_of(idle.pid) is None
