"""What waits stands in the record; the engine has only a part of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.work_sql import Reach, WorkSql
from hoichan.testing.reading import a_record, arrive, assemble, fill


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def test_the_depth_of_a_queue_is_what_waits_wherever_it_is(record):
    work = WorkSql(record.engine, record.clock)
    assert work.depths({}) == {}
    for number in range(3):
        assemble(record, replace(arrive(record, f"waits{number}"), closed_by="quiet_time"))
    assert work.depths({"analyse": 1}) == {"analyse": 3}
    assert work.depths({"analyse": 5, "deliver": 2, "other": 1}) == {"analyse": 5, "deliver": 2, "other": 1}


def test_only_after_a_silence_everything_is_due_at_once(record):
    uids = fill(record)
    work = WorkSql(record.engine, record.clock)
    waits = [one for one in record.studies.deliveries(uids["routine"]) if one.destination == "emr"]
    record.studies.postponed(
        waits[0].idempotency_key, detail="HTTP 500", until=record.clock.now().replace(year=2027)
    )
    work.suspect("emr", "HTTP 500")
    assert work.answers("emr") == 0  # it was there all the time
    work.suspect("emr", "timeout")
    work.silent("emr", "timeout", record.clock.now())
    since = work.receivers()["emr"].since
    record.clock.advance(60)
    work.silent("emr", "timeout", record.clock.now())
    work.suspect("emr", "HTTP 500")  # a try that ended late
    receiver = work.receivers()["emr"]
    assert (receiver.state, receiver.since, receiver.failures) == (Reach.DOWN, since, 2)
    assert work.answers("emr") == 1
    assert waits[0].idempotency_key in {one.idempotency_key for one in record.studies.due(record.clock.now())}
    assert work.receivers()["emr"].state is Reach.UP


def test_receivers_are_asked_for_a_few_each_and_some_not_at_all(record):
    fill(record)
    now = record.clock.now().replace(year=2027)
    assert {one.destination for one in record.studies.due(now)} == {"emr", "pacs"}
    assert {one.destination for one in record.studies.due(now, but=["emr"])} == {"pacs"}
    each = [one.destination for one in record.studies.due(now, each=1)]
    assert sorted(each) == ["emr", "pacs"]


def test_a_critical_study_is_delivered_first(record):
    uids = fill(record)
    now = record.clock.now().replace(year=2027)
    assert record.studies.due(now)[0].study_instance_uid == uids["critical"]
