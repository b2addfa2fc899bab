"""A worker that runs, and receivers that are written, moved and removed at the page meanwhile: no restart."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.settings import FolderDestination, load
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_film, a_manifest, a_study
from hoichan.types import DeliveryState
from service.pipeline import analyse
from service.wiring import open_house


@contextmanager
def frozen(worker, database):
    """The worker stands still, and not with the database in its hands."""

    def stands():
        worker.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{worker.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        with closing(sqlite3.connect(database, timeout=0.2)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                if state == "T":
                    return True
            except sqlite3.OperationalError:
                pass
        worker.send_signal(signal.SIGCONT)
        return False

    wait_until(stands, seconds=120, what="the worker stands still")
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


class Site:
    """The database of a running worker, as the page and other processes see it."""

    worker: subprocess.Popen[bytes]

    def __init__(self, data):
        self.house = open_house(load(data_dir=data, environment={}))
        self.database = data / "hoichan.sqlite"
        self.outbox = (data / "outbox").absolute()
        self.rows = ReceiversSql(self.house.engine, self.house.clock)
        self.made = 0

    def write(self, **folders):
        entries = [
            {"kind": "folder", "name": name, "path": str(self.outbox / place), "send": ["sr"]}
            for name, place in folders.items()
        ]
        assert self.rows.write(entries, [], seen=self.rows.newest(), who="it.nam", reason="x")

    def runs_with(self):
        """The version that the worker says it has."""
        return [one.facts.get("receivers") for one in VitalsSql(self.house.engine).workers()]

    def report(self):
        """One that another worker with the receiver `share` plans for it; its delivery's key."""
        with frozen(self.worker, self.database):  # else it would read the study as well
            return self._report()

    def _report(self):
        self.made += 1
        study = a_study(a_film(f"running {self.made}", rows=16, columns=16))
        studies = self.house.studies
        studies.add_arrivals(study, study.instances)
        analyse(
            studies.assemble(replace(studies.current(study.study_instance_uid), closed_by="quiet_time")),
            manifests=[a_manifest()],
            runner=FakeRunner(FakeClock()),
            encoder=FakeEncoder(),
            studies=studies,
            destinations=[FolderDestination(name="share", kind="folder", path="elsewhere", send=("sr",))],
            clock=self.house.clock,
        )
        (delivery,) = studies.deliveries(study.study_instance_uid)
        return delivery.idempotency_key

    def arrives(self, key):
        def settled():
            row = self.house.studies.delivery(key)
            return row if row.state is not DeliveryState.PENDING else None

        row = wait_until(settled, seconds=120, what="a delivery")
        assert (row.state, row.acknowledgement) != (DeliveryState.DEAD, "destination_not_configured")
        assert row.state is DeliveryState.SENT
        told = [one.event for one in self.house.studies.trail(row.study_instance_uid)]
        assert told.count("delivery_acknowledged") == 1

    def files(self, place):
        return len(list((self.outbox / place).glob("*/*/*")))


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path / "data")
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "service.work_main", "--data-dir", tmp_path / "data"]
    worker = made.worker = subprocess.Popen([*command, "--ready-file", ready])
    try:
        wait_until(ready.exists, seconds=120, what="a worker")
        yield made
        assert worker.poll() is None  # the same process to the end
    finally:
        worker.terminate()
        worker.wait(60)
        made.house.engine.dispose()


def test_receivers_come_move_and_go_while_the_worker_runs(site):
    site.write(share="share")
    site.arrives(site.report())
    assert site.files("share") == 1
    site.write(share="moved")
    wait_until(lambda: site.runs_with() == [2], seconds=60, what="the second version")
    site.arrives(site.report())
    assert (site.files("share"), site.files("moved")) == (1, 1)
    site.write()  # removed; what a process still plans for it is owed, and goes
    wait_until(lambda: site.runs_with() == [3], seconds=60, what="the third version")
    site.arrives(site.report())
    assert site.files("moved") == 2
