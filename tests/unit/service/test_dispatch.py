"""Due deliveries reach the queue once a try."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.testing.ports import FakeClock, FakeEngine
from hoichan.types import Delivery, DeliveryState
from service.dispatch import ASK_AGAIN, Dispatcher


class Due:
    """The one question the dispatcher asks the record."""

    def __init__(self):
        self.rows = []

    def due(self, now):
        return self.rows


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


def test_a_try_is_enqueued_once_however_long_it_waits(clock, row):
    record, engine = Due(), CountingEngine()
    record.rows = [row]
    dispatcher = Dispatcher(record, engine, clock)
    assert [dispatcher.step() for _ in range(3)] == [1, 0, 0]
    clock.advance(ASK_AGAIN.total_seconds() + 1)
    assert dispatcher.step() == 1
    assert (engine.calls, len(engine.tries)) == (2, 1)


def test_the_next_try_is_a_new_piece_of_work(clock, row):
    record, engine = Due(), CountingEngine()
    dispatcher = Dispatcher(record, engine, clock)
    record.rows = [row]
    dispatcher.step()
    record.rows = [replace(row, attempts=1)]
    dispatcher.step()
    assert list(engine.tries) == [("k", 0), ("k", 1)]
