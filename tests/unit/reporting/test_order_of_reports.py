"""Whatever happens, a receiver never gets an older report of a study after a newer one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import Refused, Unreachable
from hoichan.settings import Work
from hoichan.testing.reading import DESTINATIONS, a_record, arrive, assemble, report
from hoichan.types import DeliveryState
from service.outbox import GIVES_WAY, Outbox

ANSWERS = ("ok", "silent", "unheard", "later", "refused")
STEPS = st.lists(
    st.one_of(
        st.just(("report",)),
        st.tuples(st.just("try"), st.sampled_from(ANSWERS)),
        st.tuples(st.just("replay"), st.integers(0, 9), st.booleans()),
        st.just(("wait",)),
        st.just(("answers",)),
    ),
    min_size=4,
    max_size=20,
)
NUMBERS = itertools.count()


class Receiver:
    """Answers as told, and keeps what it got."""

    def __init__(self):
        self.answer = "ok"
        self.got = []

    def deliver(self, delivery, documents):
        if self.answer == "silent":
            raise Unreachable(delivery.destination, "timeout")
        if self.answer == "later":
            raise Unreachable(delivery.destination, "HTTP 500", not_taken=True)
        if self.answer == "unheard":  # it took it, and its answer got lost
            self.got.append(delivery)
            raise Unreachable(delivery.destination, "timeout")
        if self.answer == "refused":
            raise Refused(delivery.destination, "0xC000")
        self.got.append(delivery)
        return "0x0000"


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    made = a_record(tmp_path_factory.mktemp("record"))
    yield made
    made.engine.dispose()


class House:
    """One study of a record, its reports, and receivers that answer as told."""

    def __init__(self, record):
        self.record, self.studies, self.clock = record, record.studies, record.clock
        self.receiver = Receiver()
        self.work = WorkSql(record.engine, self.clock)
        self.steering = SteeringSql(
            record.engine, ObjectsDisk(record.settings.storage.data_dir / "objects"), self.clock
        )
        sinks = {destination.name: self.receiver for destination in DESTINATIONS}
        self.outbox = Outbox(self.studies, sinks, self.clock, Work(), self.work)
        self.study = arrive(record, f"ordered{next(NUMBERS)}")
        self.uid = self.study.study_instance_uid
        self.waiting = []  # what the engine has: enqueued in this order, tried in this order
        self.new_report()

    def new_report(self):
        self.clock.advance(1)
        if self.studies.current(self.uid).revision:
            self.steering.assemble_again(self.uid)
        current = self.studies.current(self.uid)
        assembled = assemble(self.record, replace(current, closed_by="quiet_time"))
        report(self.record, assembled, {"cardiomegaly": 0.1})

    def enqueue(self):
        for one in self.studies.due(self.clock.now()):
            if one.study_instance_uid == self.uid and one.idempotency_key not in self.waiting:
                self.waiting.append(one.idempotency_key)

    def do(self, step, *details):
        match step:
            case "report":
                self.new_report()
            case "try":
                self.enqueue()
                (self.receiver.answer,) = details
                if self.waiting:
                    self.outbox.deliver(self.waiting.pop(0))
            case "replay":
                number, even_sent = details
                known = self.studies.deliveries(self.uid)
                self.studies.revive(known[number % len(known)].idempotency_key, even_sent=even_sent)
            case "wait":
                self.clock.advance(86400)
            case "answers":
                for destination in DESTINATIONS:
                    self.work.answers(destination.name)

    def finish(self):
        """Everything answers from now on."""
        self.receiver.answer = "ok"
        for _ in range(200):
            self.clock.advance(90000)
            self.enqueue()
            if not self.waiting:
                return
            while self.waiting:
                self.outbox.deliver(self.waiting.pop(0))
        raise AssertionError("it never ends")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_older_report_follows_a_newer_one(record, steps):
    house = House(record)
    for step in steps:
        house.do(*step)
    house.finish()
    order = {one.report_uid: number for number, one in enumerate(house.studies.deliveries(house.uid))}
    for destination in DESTINATIONS:
        got = [order[one.report_uid] for one in house.receiver.got if one.destination == destination.name]
        assert got == sorted(got)
    open_ones = {one.state for one in house.studies.deliveries(house.uid)}
    assert DeliveryState.PENDING not in open_ones


def test_the_same_report_sent_again_has_the_same_bytes_and_key(record):
    house = House(record)
    house.do("try", "ok")
    house.finish()
    before = {one.idempotency_key for one in house.receiver.got}
    for key in house.steering.newest_deliveries(house.uid):
        house.studies.revive(key, even_sent=True)
    house.finish()
    assert {one.idempotency_key for one in house.receiver.got} == before
    assert len(house.receiver.got) == 2 * len(DESTINATIONS)


def test_a_refused_report_that_is_replayed_after_a_newer_one_is_not_sent(record):
    house = House(record)
    house.enqueue()
    house.do("try", "refused")
    (dead,) = [one for one in house.studies.deliveries(house.uid) if one.state is DeliveryState.DEAD]
    house.new_report()
    house.finish()
    house.studies.revive(dead.idempotency_key)
    house.finish()
    row = house.studies.delivery(dead.idempotency_key)
    assert (row.state, row.acknowledgement) == (DeliveryState.CANCELLED, "overtaken")
    assert dead.idempotency_key not in {one.idempotency_key for one in house.receiver.got}
    assert house.studies.trail(house.uid)[-1].event == "delivery_withdrawn"


def test_after_a_silence_all_that_waits_is_due_at_once(record):
    house = House(record)
    house.enqueue()
    for _ in range(3):
        house.do("try", "silent")
        house.do("wait")
        house.enqueue()
    name = DESTINATIONS[0].name
    house.do("try", "silent")
    house.work.silent(name, "timeout", house.clock.now())
    waits = [one for one in house.studies.deliveries(house.uid) if one.destination == name]
    assert house.work.answers(name) >= sum(one.next_attempt_at > house.clock.now() for one in waits)
    due = [one for one in house.studies.due(house.clock.now()) if one.study_instance_uid == house.uid]
    assert name in {one.destination for one in due}


def test_a_report_that_was_not_taken_holds_no_newer_one(record):
    house = House(record)
    name = DESTINATIONS[0].name
    (first,) = [one for one in house.studies.deliveries(house.uid) if one.destination == name]
    house.receiver.answer = "later"
    house.outbox.deliver(first.idempotency_key)
    house.new_report()
    house.enqueue()
    due = [house.studies.delivery(key) for key in house.waiting]
    (newer,) = [one for one in due if one.destination == name]
    assert newer.idempotency_key != first.idempotency_key
    house.finish()
    got = [one.idempotency_key for one in house.receiver.got if one.destination == name]
    assert got == [newer.idempotency_key]
    row = house.studies.delivery(first.idempotency_key)
    assert (row.state, row.acknowledgement) == (DeliveryState.CANCELLED, "overtaken")


def test_one_that_was_not_taken_has_its_turn_where_the_newer_one_is_refused(record):
    house = House(record)
    name = DESTINATIONS[0].name
    (first,) = [one for one in house.studies.deliveries(house.uid) if one.destination == name]
    house.receiver.answer = "later"
    house.outbox.deliver(first.idempotency_key)
    house.new_report()
    (newer,) = [
        one
        for one in house.studies.due(house.clock.now())
        if one.destination == name and one.study_instance_uid == house.uid
    ]
    house.receiver.answer = "refused"
    house.outbox.deliver(newer.idempotency_key)
    house.finish()
    assert first.idempotency_key in [one.idempotency_key for one in house.receiver.got]


def test_one_without_an_answer_may_have_arrived_and_keeps_its_turn(record):
    house = House(record)
    name = DESTINATIONS[0].name
    (first,) = [one for one in house.studies.deliveries(house.uid) if one.destination == name]
    house.receiver.answer = "silent"
    house.outbox.deliver(first.idempotency_key)
    house.new_report()
    due = [one for one in house.studies.due(house.clock.now()) if one.study_instance_uid == house.uid]
    assert name not in {one.destination for one in due}


def test_a_try_that_waited_too_long_does_not_follow_one_whose_answer_got_lost(record):
    house = House(record)
    name = DESTINATIONS[0].name
    (first,) = [one for one in house.studies.deliveries(house.uid) if one.destination == name]
    house.receiver.answer = "later"
    house.outbox.deliver(first.idempotency_key)
    house.new_report()
    house.clock.advance(86400)
    (newer,) = [
        one
        for one in house.studies.due(house.clock.now())
        if one.destination == name and one.study_instance_uid == house.uid
    ]
    house.receiver.answer = "unheard"
    house.outbox.deliver(newer.idempotency_key)
    house.receiver.answer = "ok"
    house.outbox.deliver(first.idempotency_key)
    assert [one.idempotency_key for one in house.receiver.got if one.destination == name] == [
        newer.idempotency_key
    ]


def test_a_report_that_a_receiver_cannot_take_gives_way_to_a_newer_one(record):
    house = House(record)
    first = {one.destination: one for one in house.studies.deliveries(house.uid)}
    house.new_report()
    name = DESTINATIONS[0].name
    house.receiver.answer = "silent"
    for _ in range(GIVES_WAY):
        house.clock.advance(90000)
        house.outbox.deliver(first[name].idempotency_key)
    row = house.studies.delivery(first[name].idempotency_key)
    assert (row.state, row.acknowledgement) == (DeliveryState.CANCELLED, "gave_way")
    house.finish()
    got = [one for one in house.receiver.got if one.destination == name]
    assert len(got) == 1
    assert got[0].idempotency_key != first[name].idempotency_key
