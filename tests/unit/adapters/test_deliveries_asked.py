"""Questions that are built once are asked anew each time, with the caller's own values."""

from dataclasses import replace
from datetime import timedelta

import pytest

from hoichan.adapters.deliveries_asked import due_now, overtaking, passing
from hoichan.adapters.work_sql import WorkSql
from hoichan.testing.reading import a_record, arrive, assemble, fill


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def test_what_is_due_is_asked_with_the_moment_and_the_receivers_of_each_call(record):
    fill(record)
    later = record.clock.now().replace(year=2027)
    everything = record.studies.due(later)
    assert record.studies.due(later - timedelta(days=5000)) == []
    assert record.studies.due(later, but=["emr", "pacs"]) == []
    assert record.studies.due(later) == everything
    one, two = (record.studies.due(later, each=count) for count in (1, 2))
    assert 0 < len(one) < len(two) <= len(everything)
    assert due_now(is_limited=True) is due_now(is_limited=True) is not due_now(is_limited=False)


def test_each_delivery_is_asked_for_by_its_own_key(record):
    uids = fill(record)
    keys = [one.idempotency_key for one in record.studies.deliveries(uids["routine"])]
    assert [record.studies.overtaken(key) for key in keys] == [False] * len(keys)
    assert [record.studies.passed(key) for key in keys] == [False] * len(keys)
    assert overtaking() is overtaking() and passing() is passing()


def test_what_waits_is_asked_with_the_number_of_each_call(record):
    work = WorkSql(record.engine, record.clock)
    for number in range(4):
        study = assemble(record, replace(arrive(record, f"waits{number}"), closed_by="quiet_time"))
        work.enlist(study.study_instance_uid, study.revision, models=["m"])
    assert [len(work.waiting(each=each, backlog=True)) for each in (1, 3, 9, 1)] == [1, 3, 4, 1]
