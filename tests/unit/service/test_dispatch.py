"""Due deliveries reach the queue once a try."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.work_sql import WorkSql
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEngine
from hoichan.types import Delivery, DeliveryState
from service.dispatch import ASK_AGAIN, DEPTH, TRIAL, Dispatcher


class Due:
    """The one question the dispatcher asks the record."""

    def __init__(self):
        self.rows = []

    def due(self, now, *, each, but):
        return [row for row in self.rows if row.destination not in but][:each]


class CountingEngine(FakeEngine):
    """Counts every call, repeated ones too."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def enqueue_delivery(self, delivery):
        self.calls += 1
        super().enqueue_delivery(delivery)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def work(tmp_path, clock):
    database = open_database(f"sqlite:///{tmp_path / 'records.sqlite'}")
    migrated(database)
    yield WorkSql(database, clock)
    database.dispose()


@pytest.fixture
def row(clock):
    return Delivery(
        report_uid="1.2",
        study_instance_uid="1.2",
        destination="pacs",
        kind="dicom",
        documents=(),
        idempotency_key="k",
        state=DeliveryState.PENDING,
        attempts=0,
        next_attempt_at=clock.now(),
        acknowledgement=None,
    )


def test_a_try_is_enqueued_once_however_long_it_waits(clock, work, row):
    record, engine = Due(), CountingEngine()
    record.rows = [row]
    dispatcher = Dispatcher(record, work, engine, clock, monotonic=lambda: 0.0)
    assert [dispatcher.step() for _ in range(3)] == [1, 0, 0]
    clock.advance(ASK_AGAIN.total_seconds() + 1)
    assert dispatcher.step() == 1
    assert (engine.calls, len(engine.tries)) == (2, 1)


def test_the_next_try_is_a_new_piece_of_work(clock, work, row):
    record, engine = Due(), CountingEngine()
    dispatcher = Dispatcher(record, work, engine, clock, monotonic=lambda: 0.0)
    record.rows = [row]
    dispatcher.step()
    record.rows = [replace(row, attempts=1)]
    dispatcher.step()
    assert list(engine.tries) == [("k", 0), ("k", 1)]


def test_a_receiver_has_only_a_few_tries_in_the_queue_and_others_have_theirs(clock, work, row):
    record, engine = Due(), CountingEngine()
    many = [replace(row, idempotency_key=f"slow{number}", destination="slow") for number in range(DEPTH)]
    record.due = lambda now, *, each, but: [*many[:each], row]
    dispatcher = Dispatcher(record, work, engine, clock, monotonic=lambda: 0.0)
    assert dispatcher.step() == DEPTH + 1
    many[0] = replace(row, idempotency_key="urgent", destination="slow")  # went before the others
    assert dispatcher.step() == 1
    assert dispatcher.step() == 0


def test_a_receiver_that_is_down_is_left_alone_but_for_a_try_an_hour(clock, work, row):
    record, engine = Due(), CountingEngine()
    other = replace(row, idempotency_key="other", destination="emr")
    record.rows = [row, other]
    dispatcher = Dispatcher(record, work, engine, clock, monotonic=lambda: 0.0)
    work.suspect("pacs", "timeout")
    work.silent("pacs", "timeout", clock.now())
    assert (dispatcher.step(), list(engine.tries)) == (1, [("other", 0)])
    clock.advance(TRIAL.total_seconds())
    record.rows = [row, replace(row, idempotency_key="second")]
    assert (dispatcher.step(), list(engine.tries)[1:]) == (1, [("k", 0)])
    work.answers("pacs")
    assert (dispatcher.step(), list(engine.tries)[2:]) == (1, [("second", 0)])


def test_what_waits_for_a_receiver_that_was_removed_while_it_was_down_is_told_at_once(clock, work, row):
    """Nobody knocks there any more: left alone, one dead letter an hour would come of a thousand."""
    record, engine, probes = Due(), CountingEngine(), {"pacs": lambda: None}
    record.rows = [row, replace(row, idempotency_key="second")]
    dispatcher = Dispatcher(record, work, engine, clock, probes=probes, monotonic=lambda: 0.0)
    work.suspect("pacs", "timeout")
    work.silent("pacs", "timeout", clock.now())
    assert dispatcher.step() == 0
    probes.clear()
    assert dispatcher.step() == 2
