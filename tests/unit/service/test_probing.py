"""Who does not answer is knocked at, and what waited is sent when he does."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from hoichan.adapters.database import open_database
from hoichan.adapters.work_sql import Reach, WorkSql
from hoichan.errors import Unreachable
from hoichan.settings import Work
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock
from service.probing import Prober


class House:
    """A record, a prober, and receivers that answer as told."""

    def __init__(self, folder):
        self.clock = FakeClock()
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.work = WorkSql(self.database, self.clock)
        self.down = {"pacs"}
        self.knocks = []
        self.held = threading.Event()
        self.held.set()
        names = ("pacs", "emr", "slow")
        self.prober = Prober(
            self.work, {name: lambda name=name: self.knock(name) for name in names}, self.clock, Work()
        )

    def knock(self, name):
        if name == "slow":
            self.held.wait(30)
        self.knocks.append(name)
        if name in self.down:
            raise Unreachable(name, "connection_refused")

    def round(self, seconds=1.0):
        self.clock.advance(seconds)
        for thread in self.prober.step():
            if thread.name != "probe-slow":
                thread.join(30)
        return self.work.receivers()


@pytest.fixture
def house(tmp_path):
    opened = House(tmp_path)
    yield opened
    opened.held.set()
    for thread in opened.prober.step():
        thread.join(30)
    opened.database.dispose()


def test_nobody_is_knocked_at_who_answers(house):
    assert house.round() == {}
    assert house.knocks == []


def test_a_receiver_that_only_failed_once_is_up_again(house):
    house.work.suspect("emr", "HTTP 500")
    assert house.round()["emr"].state is Reach.UP


def test_the_pauses_between_knocks_grow_to_the_longest(house):
    house.work.suspect("pacs", "timeout")
    for _ in range(60):
        receiver = house.round()["pacs"]
    assert (receiver.state, receiver.detail) == (Reach.DOWN, "connection_refused")
    assert len(house.knocks) == 7  # after 1, 2, 4, 8, 15, 15 ... seconds
    assert (receiver.next_probe_at - house.clock.now()).total_seconds() <= 15
    house.down.clear()
    for _ in range(16):
        receiver = house.round()["pacs"]
    assert receiver.state is Reach.UP


def test_a_clock_that_is_set_back_a_day_delays_no_knock(house):
    house.work.suspect("pacs", "connection_refused")
    for _ in range(3):
        house.round(20)
    house.clock.advance(-86_400)
    house.knocks.clear()
    house.down.clear()
    with capture_logs() as lines:
        assert house.round()["pacs"].state is Reach.UP
    assert house.knocks == ["pacs"]
    assert "clock_set_back" in [line["event"] for line in lines]


def test_a_receiver_that_is_slow_to_fail_delays_no_other(house):
    house.held.clear()
    house.work.suspect("slow", "timeout")
    house.work.suspect("pacs", "timeout")
    assert house.round()["pacs"].state is Reach.DOWN
    assert house.work.receivers()["slow"].state is Reach.SUSPECTED
