"""Versions of the page's receivers: the fake, SQLite, and PostgreSQL where one is named."""

from __future__ import annotations

import os
from datetime import UTC

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.schema import deliveries, metadata
from hoichan.adapters.schema_tokens import forwards
from hoichan.reporting.forwarding import ForwardState
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock
from hoichan.testing.reading import a_record, fill
from hoichan.testing.receivers import FakeReceivers
from hoichan.types import DeliveryState

KINDS = ["fake", "sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
PACS = {"kind": "dicom", "name": "pacs2", "host": "10.1.2.3", "port": 104, "ae_title": "PACS2"}
RULE = {"name": "all", "to": ["pacs2"]}


@pytest.fixture(params=KINDS)
def rows(request, tmp_path):
    if request.param == "fake":
        yield FakeReceivers(FakeClock())
        return
    url = (
        os.environ["HOICHAN_TEST_POSTGRESQL"] if request.param == "postgresql" else f"sqlite:///{tmp_path}/a"
    )
    engine = open_database(url)
    migrated(engine)
    yield ReceiversSql(engine, FakeClock())
    if request.param == "postgresql":
        with engine.begin() as connection:
            connection.execute(metadata.tables["receiver_versions"].delete())
    engine.dispose()


def write(rows, *, seen, destinations=(), forward=(), **more):
    return rows.write(destinations, forward, seen=seen, **{"who": "it.nam", "reason": "why", **more})


def test_every_change_is_a_version(rows):
    assert (list(rows.versions()), rows.newest()) == ([], 0)
    assert write(rows, seen=0, destinations=[PACS], forward=[RULE], reason="PACS mới") == 1
    assert write(rows, seen=1) == 2
    assert write(rows, seen=2, destinations=[PACS], restores=1) == 3
    assert rows.newest() == 3
    newest, second, first = rows.versions()
    assert (newest.version, newest.destinations, newest.forward, newest.restores) == (3, (PACS,), (), 1)
    assert (second.destinations, second.restores) == ((), None)
    assert (first.forward, first.by, first.reason) == ((RULE,), "it.nam", "PACS mới")
    assert first.at.tzinfo is UTC


def test_who_saw_an_older_version_writes_nothing(rows):
    assert write(rows, seen=0, destinations=[PACS]) == 1
    assert write(rows, seen=0) is None
    assert write(rows, seen=2) is None
    (only,) = rows.versions()
    assert only.destinations == (PACS,)


def test_what_is_kept_is_a_copy(rows):
    entry = {**PACS, "send": ["sr"]}
    write(rows, seen=0, destinations=[entry])
    entry["send"].append("sc")
    assert rows.versions()[0].destinations[0]["send"] == ["sr"]


def test_nothing_is_owed_at_first(rows):
    assert (dict(rows.owed().destinations), dict(rows.owed().rules)) == ({}, {})


def test_results_and_images_that_wait_are_owed(tmp_path):
    record = a_record(tmp_path)
    uids = fill(record)
    rows = ReceiversSql(record.engine, record.clock)
    before = rows.owed()
    assert before.destinations and not before.rules
    image = {
        "rule": "all",
        "destination": "pacs2",
        "study_instance_uid": uids["urgent"],
        "position": 1,
        "sop_class_uid": "1.2.3",
        "transfer_syntax_uid": "1.2.4",
        "path": "a",
        "released": False,
        "attempts": 0,
        "created_at": record.clock.now(),
        "next_attempt_at": record.clock.now(),
    }
    with record.engine.begin() as connection:
        for place, state in enumerate(ForwardState):
            connection.execute(forwards.insert().values(**image, sop_instance_uid=f"1.{place}", state=state))
        connection.execute(deliveries.update().values(state=DeliveryState.SENT))
    # what waits and what a person has to look at; not what was sent or is dead
    assert (dict(rows.owed().destinations), dict(rows.owed().rules)) == ({"pacs2": 2}, {"all": 2})
    record.engine.dispose()
