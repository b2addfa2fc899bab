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
from hoichan.types import DeliveryState, DocumentKind
from service.alone import POISON_STARTS
from service.outbox import GIVES_WAY, Outbox
from service.steering import replay

ANSWERS = ("ok", "silent", "unheard", "later", "refused", "dies")
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
NAME = DESTINATIONS[0].name


class Died(BaseException):
    """The worker was killed."""


class OfTheDead:
    """A record to which nobody says any more that a start does not count."""

    def __init__(self, studies):
        self._studies = studies

    def __getattr__(self, name):
        return getattr(self._studies, name)

    def forgive_try(self, key):
        pass


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
        if self.answer == "dies":  # it took it, and nobody was left to hear the answer
            self.got.append(delivery)
            raise Died
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
        self.outbox = Outbox(OfTheDead(self.studies), sinks, self.clock, Work(), self.work)
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

    def due(self):
        """What is due of this study."""
        return [one for one in self.studies.due(self.clock.now()) if one.study_instance_uid == self.uid]

    def enqueue(self):
        for one in self.due():
            if one.idempotency_key not in self.waiting:
                self.waiting.append(one.idempotency_key)

    def try_it(self, delivery, answer):
        """One try of a delivery, answered so."""
        self.receiver.answer = answer
        self.outbox.deliver(delivery.idempotency_key)

    def got(self):
        """What came to the first receiver, by its key, in order."""
        return [one.idempotency_key for one in self.receiver.got if one.destination == NAME]

    def do(self, step, *details):
        match step:
            case "report":
                self.new_report()
            case "try":
                self.enqueue()
                (self.receiver.answer,) = details
                if self.waiting:
                    self.next_try()
            case "replay":
                number, even_sent = details
                known = self.studies.deliveries(self.uid)
                self.studies.revive(known[number % len(known)].idempotency_key, even_sent=even_sent)
            case "wait":
                self.clock.advance(86400)
            case "answers":
                for destination in DESTINATIONS:
                    self.work.answers(destination.name)

    def next_try(self):
        key = self.waiting.pop(0)
        try:
            self.outbox.deliver(key)
        except Died:
            self.waiting.insert(0, key)  # the engine's next worker takes it up

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


@pytest.fixture
def house(record):
    return House(record)


@pytest.fixture
def first(house):
    """The first report's delivery to the first receiver."""
    return only(house.studies.deliveries(house.uid))


def only(deliveries):
    """The one of these that goes to the first receiver."""
    (one,) = [one for one in deliveries if one.destination == NAME]
    return one


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


def test_the_same_report_sent_again_has_the_same_bytes_and_key(house):
    house.do("try", "ok")
    house.finish()
    before = {one.idempotency_key for one in house.receiver.got}
    for key in house.steering.newest_deliveries(house.uid):
        house.studies.revive(key, even_sent=True)
    house.finish()
    assert {one.idempotency_key for one in house.receiver.got} == before
    assert len(house.receiver.got) == 2 * len(DESTINATIONS)


def test_a_refused_report_that_is_replayed_after_a_newer_one_is_not_sent(house):
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


def test_after_a_silence_all_that_waits_is_due_at_once(house):
    house.enqueue()
    for _ in range(3):
        house.do("try", "silent")
        house.do("wait")
        house.enqueue()
    house.do("try", "silent")
    house.work.silent(NAME, "timeout", house.clock.now())
    waits = [one for one in house.studies.deliveries(house.uid) if one.destination == NAME]
    assert house.work.answers(NAME) >= sum(one.next_attempt_at > house.clock.now() for one in waits)
    assert NAME in {one.destination for one in house.due()}


def test_a_report_that_was_not_taken_holds_no_newer_one(house, first):
    house.try_it(first, "later")
    house.new_report()
    house.enqueue()
    newer = only(house.studies.delivery(key) for key in house.waiting)
    assert newer.idempotency_key != first.idempotency_key
    house.finish()
    assert house.got() == [newer.idempotency_key]
    row = house.studies.delivery(first.idempotency_key)
    assert (row.state, row.acknowledgement) == (DeliveryState.CANCELLED, "overtaken")


def test_one_that_was_not_taken_has_its_turn_where_the_newer_one_is_refused(house, first):
    house.try_it(first, "later")
    house.new_report()
    newer = only(house.due())
    house.try_it(newer, "refused")
    house.finish()
    assert first.idempotency_key in [one.idempotency_key for one in house.receiver.got]


def test_one_without_an_answer_may_have_arrived_and_keeps_its_turn(house, first):
    house.try_it(first, "silent")
    house.new_report()
    assert NAME not in {one.destination for one in house.due()}


def test_a_try_that_waited_too_long_does_not_follow_one_whose_answer_got_lost(house, first):
    house.try_it(first, "later")
    house.new_report()
    house.clock.advance(86400)
    newer = only(house.due())
    house.try_it(newer, "unheard")
    house.try_it(first, "ok")
    assert house.got() == [newer.idempotency_key]


def test_a_try_that_waited_too_long_does_not_follow_one_whose_worker_died(house, first):
    house.try_it(first, "later")
    house.new_report()
    house.clock.advance(86400)
    newer = only(house.due())
    house.studies.begin_try(newer.idempotency_key)  # it may be there
    house.try_it(first, "ok")
    assert house.got() == []
    house.finish()
    assert house.got() == [newer.idempotency_key]


@pytest.mark.parametrize(("answer", "even_sent"), [("refused", False), ("ok", True)])
def test_one_sent_again_by_hand_does_not_follow_one_whose_answer_got_lost(house, first, answer, even_sent):
    house.try_it(first, answer)
    house.new_report()
    newer = only(house.due())
    house.try_it(newer, "unheard")
    house.studies.revive(first.idempotency_key, even_sent=even_sent)
    house.finish()
    assert house.got()[-2:] == [newer.idempotency_key] * 2
    row = house.studies.delivery(first.idempotency_key)
    assert (row.state, row.acknowledgement) == (DeliveryState.CANCELLED, "overtaken")


@pytest.mark.parametrize("answer", ["refused", "later", "ok"])
def test_what_a_rejection_note_took_back_is_not_sent_any_more(house, first, answer):
    """Nobody owes a retraction to a receiver that refused the report, so nothing newer would hold it."""
    house.try_it(first, answer)
    before = house.got()
    sr = next(one.uid for one in house.studies.documents(first) if one.kind is DocumentKind.SR)
    assert house.studies.take_back(house.uid, [sr], note="2.25.9", title="113037") == [first.report_uid]
    replay(house.studies, house.uid)
    house.finish()
    assert house.got() == before
    row = house.studies.delivery(first.idempotency_key)
    said = (DeliveryState.SENT, "0x0000") if answer == "ok" else (DeliveryState.CANCELLED, "rejection_note")
    assert (row.state, row.acknowledgement) == said
    assert house.steering.newest_deliveries(house.uid) == ()


def test_an_older_report_does_not_follow_one_that_killed_its_workers(house, first):
    house.try_it(first, "later")
    house.new_report()
    house.clock.advance(86400)
    newer = only(house.due())
    for _ in range(POISON_STARTS):
        house.studies.begin_try(newer.idempotency_key)
    house.try_it(newer, "ok")
    assert house.studies.delivery(newer.idempotency_key).state is DeliveryState.DEAD
    house.try_it(first, "ok")
    assert house.got() == []


def test_a_report_that_a_receiver_cannot_take_gives_way_to_a_newer_one(house, first):
    house.new_report()
    for _ in range(GIVES_WAY):
        house.clock.advance(90000)
        house.try_it(first, "silent")
    row = house.studies.delivery(first.idempotency_key)
    assert (row.state, row.acknowledgement) == (DeliveryState.CANCELLED, "gave_way")
    house.finish()
    (got,) = house.got()
    assert got != first.idempotency_key
