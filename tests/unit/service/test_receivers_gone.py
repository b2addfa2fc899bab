"""A PACS that is gone for an hour and an EMR with moods, in simulated time: all arrives in the end, once.

Record, dispatcher, outbox and prober are the real ones. The clock is set by hand, so an hour takes as long as
its work.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import Unreachable
from hoichan.settings import FolderDestination, Work
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeEngine, FakeRunner
from hoichan.testing.reports import a_film, a_manifest, a_study
from hoichan.types import DeliveryState
from service.dispatch import Dispatcher
from service.outbox import Outbox
from service.pipeline import analyse
from service.probing import Prober

HOUR = 3600
STUDIES = 12


class Pacs:
    """Gone between two moments."""

    def __init__(self, clock):
        self.clock = clock
        self.gone_until = clock.now() + timedelta(seconds=HOUR)
        self.tries = 0
        self.first_at = None
        self.got = Counter()

    def answer(self):
        """To a knock."""
        if self.clock.now() < self.gone_until:
            raise Unreachable("pacs", "connection_refused")

    def deliver(self, delivery, documents):
        self.tries += 1
        self.answer()
        self.first_at = self.first_at or self.clock.now()
        self.got[delivery.idempotency_key] += 1
        return "0x0000"


class Emr:
    """Refuses for the moment, says nothing, or does what it is asked and loses the answer, by dice."""

    def __init__(self, dice):
        self.dice = dice
        self.moods = Counter()
        self.effects = Counter()  # what a conditional create leaves: one resource a key

    def answer(self):
        """To a knock: it stands."""

    def deliver(self, delivery, documents):
        mood = self.dice.choice(["pass", "pass", "HTTP 500", "HTTP 409", "timeout", "answer lost"])
        self.moods[mood] += 1
        if mood in ("pass", "answer lost"):
            self.effects[delivery.idempotency_key] = 1
        if mood != "pass":
            raise Unreachable("emr", mood)
        return "HTTP 200"


class Site:
    """A record with reports for both receivers, and whoever sends them."""

    def __init__(self, folder, seed):
        self.clock = FakeClock()
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
        self.work = WorkSql(self.database, self.clock)
        self.engine = FakeEngine()
        self.pacs, self.emr = Pacs(self.clock), Emr(random.Random(seed))
        receivers = {"pacs": self.pacs, "emr": self.emr}
        self.outbox = Outbox(self.studies, receivers, self.clock, Work(), self.work)
        self.dispatcher = Dispatcher(self.studies, self.work, self.engine, self.clock, monotonic=lambda: 0.0)
        probes = {name: one.answer for name, one in receivers.items()}
        self.prober = Prober(self.work, probes, self.clock, Work())
        self.destinations = [FolderDestination(name=name, kind="folder", path=name) for name in receivers]

    def report(self, number):
        study = a_study(a_film(f"gone {number}", rows=16, columns=16))
        self.studies.add_arrivals(study, study.instances)
        current = self.studies.current(study.study_instance_uid)
        analyse(
            self.studies.assemble(replace(current, closed_by="quiet_time")),
            manifests=[a_manifest()],
            runner=FakeRunner(self.clock),
            encoder=FakeEncoder(),
            studies=self.studies,
            destinations=self.destinations,
            clock=self.clock,
        )
        return study.study_instance_uid

    def second(self, seconds=1.0):
        self.clock.advance(seconds)
        self.dispatcher.step()
        for key, _ in list(self.engine.tries):
            self.outbox.deliver(key)
        self.engine.tries.clear()
        for thread in self.prober.step():
            thread.join(30)


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path, seed=20261122)
    yield opened
    opened.database.dispose()


def test_all_is_delivered_once_soon_after_the_pacs_is_back(site):
    uids = []
    while site.clock.now() < site.pacs.gone_until:
        if len(uids) < STUDIES:
            uids.append(site.report(len(uids)))
        site.second(20.0)
    assert site.pacs.tries <= STUDIES + 10  # it is knocked at, and not flooded
    for _ in range(4):
        site.second(5.0)
    assert (site.pacs.first_at - site.pacs.gone_until).total_seconds() <= 20  # the knock woke what waited
    assert site.pacs.got == Counter({f"{key}": 1 for key in site.pacs.got}) and len(site.pacs.got) == STUDIES
    while any(row.state is DeliveryState.PENDING for uid in uids for row in site.studies.deliveries(uid)):
        assert site.clock.now() < site.pacs.gone_until + timedelta(days=2)
        site.second(3600.0)  # what the EMR refused ten times waits for long
    assert len(site.emr.effects) == STUDIES and len(site.emr.moods) == 5
    rows = [row for uid in uids for row in site.studies.deliveries(uid)]
    assert len(rows) == 2 * STUDIES
    assert {row.state for row in rows} == {DeliveryState.SENT}
