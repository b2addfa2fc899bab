"""Which workers live: on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names an empty database."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

from hoichan.adapters.database import open_database
from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.schema import metadata
from hoichan.errors import RecordsUnavailable
from hoichan.testing.database import migrated
from hoichan.testing.house import wait_until

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]


@pytest.fixture(params=KINDS)
def heartbeats(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    if request.param == "postgresql":
        url = os.environ["HOICHAN_TEST_POSTGRESQL"]
    engine = open_database(url)
    migrated(engine)
    yield HeartbeatsSql(engine)
    if request.param == "postgresql":
        metadata.drop_all(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE alembic_version"))
    engine.dispose()


def test_a_worker_that_was_just_seen_is_alive(heartbeats):
    for name in ("b", "a", "b"):
        heartbeats.beat(name)
    assert heartbeats.alive(60) == ["a", "b"]


def test_a_worker_that_was_not_seen_for_a_while_is_dead(heartbeats):
    heartbeats.beat("a")
    wait_until(lambda: not heartbeats.alive(0.05), seconds=60, what="the worker is dead")
    assert heartbeats.alive(60) == ["a"]


def test_a_worker_that_ended_in_order_is_forgotten(heartbeats):
    heartbeats.beat("a")
    heartbeats.forget("a")
    assert heartbeats.alive(60) == []


def test_a_database_that_does_not_answer_is_worth_a_retry(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    heartbeats = HeartbeatsSql(engine)
    for ask in (lambda: heartbeats.beat("a"), lambda: heartbeats.forget("a"), lambda: heartbeats.alive(1)):
        with pytest.raises(RecordsUnavailable):
            ask()
    engine.dispose()
