"""Leases: on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names one."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters.database import open_database
from hoichan.adapters.leases_sql import LeasesSql
from hoichan.adapters.schema import metadata
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
MINUTE = timedelta(minutes=1)
WORKERS = 4


class Site:
    """One database, and the leases as two workers see them."""

    def __init__(self, url):
        self.clock = FakeClock()
        self.engines = [open_database(url), open_database(url)]
        migrated(self.engines[0])
        self.one, self.other = (LeasesSql(engine, self.clock) for engine in self.engines)


@pytest.fixture(params=KINDS)
def site(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    if request.param == "postgresql":
        url = os.environ["HOICHAN_TEST_POSTGRESQL"]
    made = Site(url)
    yield made
    if request.param == "postgresql":
        metadata.drop_all(made.engines[0])
        with made.engines[0].begin() as connection:
            connection.execute(sa.text("DROP TABLE alembic_version"))
    for engine in made.engines:
        engine.dispose()


def test_one_has_it_and_others_wait_for_its_end(site):
    mine = site.one.take("chief", "reminders", MINUTE)
    assert mine is not None and site.other.take("chief", "reminders", MINUTE) is None
    assert site.other.take("pager", "reminders", MINUTE) is not None  # another channel
    site.clock.advance(59)
    assert site.one.keep(mine)
    site.clock.advance(59)
    assert site.other.take("chief", "reminders", MINUTE) is None
    site.clock.advance(1)
    assert site.other.take("chief", "reminders", MINUTE) is not None


def test_who_stood_still_keeps_it_only_where_nobody_has_taken_it(site):
    mine = site.one.take("chief", "reminders", MINUTE)
    site.clock.advance(3600)
    assert site.one.keep(mine)
    site.clock.advance(3600)
    theirs = site.other.take("chief", "reminders", MINUTE)
    assert not site.one.keep(mine)
    site.one.give_back(mine)  # nor does it end the other's
    assert site.one.take("chief", "reminders", MINUTE) is None
    assert site.other.keep(theirs)


def test_what_is_given_back_can_be_taken_at_once(site):
    for worker in (site.one, site.other, site.one):
        lease = worker.take("chief", "reminders", MINUTE)
        assert lease is not None
        worker.give_back(lease)


def test_an_end_of_a_wrong_clock_holds_nobody_for_years(site):
    site.clock.advance(10 * 365 * 86400)
    assert site.one.take("chief", "reminders", MINUTE) is not None
    site.clock.advance(-10 * 365 * 86400)
    assert site.other.take("chief", "reminders", MINUTE) is not None


def test_of_many_at_the_same_moment_one_gets_it(site):
    for end in (timedelta(), MINUTE):  # the row is not there yet; then its lease is over
        site.clock.advance(end.total_seconds())
        together = threading.Barrier(WORKERS)

        def take(worker, together=together):
            together.wait()
            return worker.take("chief", "reminders", MINUTE)

        with ThreadPoolExecutor(WORKERS) as pool:
            found = list(pool.map(take, [site.one, site.other] * (WORKERS // 2)))
        assert sum(lease is not None for lease in found) == 1
