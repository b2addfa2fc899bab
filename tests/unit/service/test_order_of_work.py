"""Who is next: urgent before old, one sender not before another, models within their limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.work_sql import Piece, WorkSql
from hoichan.settings import Settings
from hoichan.testing.database import migrated
from hoichan.testing.datasets import described, film
from hoichan.testing.ports import FakeClock, FakeEngine
from hoichan.types import StudyState, Urgency
from service.order_of_work import FEWEST, MOST, Line, Window, choose

START = FakeClock().now()


def piece(name, *, band=2, sender="CR1", models=(), age=0):
    return Piece(
        study_instance_uid=name,
        revision=1,
        run=0,
        band=band,
        sender=sender,
        models=models,
        since=START - timedelta(seconds=age),
    )


def order(waiting, **options):
    options = {"room": len(waiting), "limits": {}, "served": {}, "in_flight": [], **options}
    in_flight = options.pop("in_flight")
    return [one.study_instance_uid for one in choose(waiting, in_flight, **options)]


def test_urgent_goes_before_old_and_old_before_new():
    waiting = [
        piece("new"),
        piece("old", age=9),
        piece("urgent", band=1),
        piece("stat", band=0),
        piece("low", band=3, age=99),
    ]
    assert order(waiting) == ["stat", "urgent", "old", "new", "low"]


def test_what_waits_too_long_has_every_fourth_place_and_no_more():
    stat = [piece(f"stat{n}", band=0, age=20 - n) for n in range(12)]
    old = [piece(f"old{n}", band=n % 3 + 1, age=4000 - n) for n in range(9)]
    fresh = [piece("fresh", age=1700)]
    waiting = [*stat, *old, *fresh]
    chosen = choose(waiting, [], room=8, limits={}, served={}, now=START)
    assert [one.study_instance_uid for one in chosen] == [
        *("stat0", "stat1", "stat2", "old0"),
        *("stat3", "stat4", "stat5", "old1"),
    ]
    assert {one.band for one in chosen} == {0}
    assert order(waiting, room=2, given=3, now=START) == ["old0", "stat0"]
    assert order([*stat, *fresh], room=8, now=START) == [f"stat{n}" for n in range(8)]


def test_a_sender_with_thousands_does_not_starve_another():
    flood = [piece(f"ct{n}", sender="CT", age=5000 - n) for n in range(5000)]
    few = [piece(f"cr{n}", sender="CR", age=3 - n) for n in range(3)]
    assert order([*flood, *few], room=6) == ["ct0", "cr0", "ct1", "cr1", "ct2", "cr2"]


def test_who_has_most_in_flight_waits_and_who_was_served_last_too():
    waiting = [piece("a1", sender="A", age=9), piece("b1", sender="B")]
    assert order(waiting, room=1, in_flight=[piece("a0", sender="A")]) == ["b1"]
    assert order(waiting, room=1, served={"A": 2, "B": 1}) == ["b1"]


def test_a_model_at_its_limit_lets_others_pass():
    heavy = [piece(f"ct{n}", models=("ct",), age=9 - n) for n in range(3)]
    light = piece("cr", models=("cxr",))
    assert order([*heavy, light], room=4, limits={"ct": 1}) == ["ct0", "cr"]
    assert order([*heavy, light], limits={"ct": 1}, in_flight=[piece("x", models=("ct",))]) == ["cr"]


PIECES = st.lists(
    st.builds(
        piece,
        name=st.uuids().map(str),
        band=st.integers(0, 3),
        sender=st.sampled_from("ABC"),
        models=st.sampled_from([(), ("ct",), ("cxr",), ("ct", "cxr")]),
        age=st.integers(0, 9),
    ),
    max_size=30,
    unique_by=lambda one: one.study_instance_uid,
)


@given(waiting=PIECES, in_flight=PIECES, room=st.integers(0, 20), limit=st.integers(1, 3))
def test_no_rule_is_broken_whatever_waits(waiting, in_flight, room, limit):
    chosen = choose(waiting, in_flight, room=room, limits={"ct": limit}, served={})
    assert len(chosen) <= room
    assert len({one.key for one in chosen}) == len(chosen)
    already = Counter(m for one in in_flight for m in one.models)["ct"]
    used = Counter(m for one in chosen for m in one.models)["ct"]
    assert used <= max(0, limit - already)
    left = [one for one in waiting if one not in chosen]
    if len(chosen) < room:  # nothing is left but what its model's limit holds back
        assert all("ct" in one.models for one in left)
    free = [one.band for one in left if "ct" not in one.models]
    assert not free or all(one.band <= min(free) for one in chosen)


def test_the_window_widens_only_while_the_engine_runs_dry():
    window = Window()
    assert window.room(2, 0, more_waits=False) == 2 * FEWEST
    for _ in range(9):
        widest = window.room(2, 0, more_waits=True)
    assert widest == 2 * MOST
    for _ in range(MOST):
        window.room(2, 2 * MOST, more_waits=True)
    assert window.room(2, 0, more_waits=False) == 2 * FEWEST


class Site:
    """A record with studies that wait, and the line before the engine."""

    def __init__(self, folder, **work):
        self.clock = FakeClock()
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
        self.work = WorkSql(self.database, self.clock)
        self.engine = FakeEngine()
        self.senders = [
            {"ae_title": "ICU", "host": "10.0.0.0/8", "urgency": "stat"},
            {"ae_title": "TRIAL", "host": "10.0.0.0/8", "urgency": "low"},
        ]
        self.line = self.restarted(**work)

    def restarted(self, **work):
        settings = Settings.model_validate({"work": work, "listener": {"senders": self.senders}})
        ports = (self.work, self.studies, self.engine, self.clock)
        return Line(*ports, settings, lambda study: ("cxr",), monotonic=lambda: 0.0)

    def arrive(self, name, *, sender="CR1", **attributes):
        data_set = film(study=name)
        for keyword, value in attributes.items():
            setattr(data_set, keyword, value)
        study = described(data_set, calling_ae_title=sender)
        self.studies.add_arrivals(study, study.instances)
        current = self.studies.current(study.study_instance_uid)
        closed = self.studies.assemble(replace(current, closed_by="quiet_time"))
        self.clock.advance(1)
        self.line.enlist(closed)
        return closed.study_instance_uid

    def begun(self, slots=50):
        before = set(self.engine.studies)
        self.line.dispatch(slots)
        return [key[0] for key in self.engine.studies if key not in before]


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
    yield opened
    opened.database.dispose()


def test_requests_and_rules_of_senders_make_the_order(site):
    low = site.arrive("low", sender="TRIAL")
    routine = site.arrive("routine")
    urgent = site.arrive("urgent", RequestedProcedurePriority="HIGH")
    ward = site.arrive("ward", sender="ICU")
    told = site.arrive("told", sender="TRIAL", RequestedProcedurePriority="STAT")
    assert site.begun() == [ward, told, urgent, routine, low]


def test_a_flood_of_urgent_studies_does_not_end_the_others(site):
    old = site.arrive("old")
    site.clock.advance(3600)
    for number in range(12):
        site.arrive(f"ward{number}", RequestedProcedurePriority="STAT")
    begun = site.begun(slots=4)  # room for eight
    assert len(begun) == 8
    assert begun.index(old) == 3


def test_an_order_that_comes_later_hurries_what_waits(site):
    first, second = site.arrive("first"), site.arrive("second")
    assert site.work.hurry(second, Urgency.STAT)
    assert not site.work.hurry(second, Urgency.LOW)
    assert site.begun() == [second, first]


def test_what_is_closed_while_nobody_leads_is_not_forgotten(site):
    uid = site.arrive("a")
    with site.database.begin() as connection:  # closed by a program that knew nothing of this table
        connection.exec_driver_sql("DELETE FROM analyses")
    site.line = site.restarted()
    site.line.resume()
    assert site.begun() == [uid]
    assert site.begun() == []


def test_a_crash_between_engine_and_record_gives_the_same_piece_again(site, tmp_path):
    uid = site.arrive("a")
    site.begun()
    with site.database.begin() as connection:
        connection.exec_driver_sql("UPDATE analyses SET dispatched_run = NULL")
    site.line = site.restarted()
    site.line.resume()
    site.line.dispatch(1)
    assert list(site.engine.studies) == [(uid, 1, 0)]


def test_what_has_an_answer_makes_room(site):
    uids = [site.arrive(str(number)) for number in range(FEWEST + 1)]
    assert site.begun(slots=1) == uids[:FEWEST]
    assert site.begun(slots=1) == []
    site.studies.fail(uids[0], 1, code="x")
    assert site.begun(slots=1) == uids[FEWEST:]
    assert site.studies.current(uids[1]).state is StudyState.ASSEMBLED


def test_old_studies_wait_for_the_quiet_hours(tmp_path):
    site = Site(tmp_path, backlog_hours="19:00-06:00")  # it is 08:15 at the site
    old = site.arrive("old", StudyDate="20200101")
    stat = site.arrive("stat", StudyDate="20200101", RequestedProcedurePriority="STAT")
    new = site.arrive("new")
    assert site.begun() == [stat, new]
    site.clock.advance(11 * 3600)
    assert site.begun() == [old]
    site.database.dispose()
