"""A worker that runs, and receivers that are written, moved and removed at the page meanwhile: no restart."""

from __future__ import annotations

import json
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
from hoichan.reporting import plan
from hoichan.settings import FhirDestination, FolderDestination, load
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_film, a_manifest, a_report, a_study
from hoichan.testing.tokens import TokenEmr, private_key
from hoichan.types import DeliveryState, Document, DocumentKind
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


ENTRY = {
    "fullUrl": "urn:uuid:1",
    "request": {"method": "POST", "url": "Observation", "ifNoneExist": "identifier=http://x/id|1"},
    "resource": {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": {"text": "x"},
        "subject": {"reference": "Patient?identifier=http://x/id|1"},
    },
}
LETTER = Document(
    kind=DocumentKind.FHIR,
    uid="1",
    sop_class_uid=None,
    media_type="application/fhir+json",
    content=json.dumps({"entry": [ENTRY]}).encode(),
)


class Site:
    """The database of a running worker, as the page and other processes see it."""

    worker: subprocess.Popen[bytes]

    def __init__(self, data, config=None):
        self.config = config
        self.house = open_house(load(config, data_dir=data, environment={}))
        self.database = data / "hoichan.sqlite"
        self.outbox = (data / "outbox").absolute()
        self.rows = ReceiversSql(self.house.engine, self.house.clock)
        self.made = 0

    def write(self, *entries, **folders):
        entries = [
            *entries,
            *(
                {"kind": "folder", "name": name, "path": str(self.outbox / place), "send": ["sr"]}
                for name, place in folders.items()
            ),
        ]
        assert self.rows.write(entries, [], seen=self.rows.newest(), who="it.nam", reason="x")

    def runs_with(self):
        """The version that the worker says it has."""
        return [one.facts.get("receivers") for one in VitalsSql(self.house.engine).workers()]

    def without(self):
        """What the worker says it works without."""
        (one,) = VitalsSql(self.house.engine).workers()
        return one.facts.get("receivers_left_out")

    def letter(self, destination):
        """A report for an EMR, and nothing else; its delivery's key."""
        with frozen(self.worker, self.database):
            studies, study = self.house.studies, a_study(a_film("letter", rows=16, columns=16))
            studies.add_arrivals(study, study.instances)
            current = studies.current(study.study_instance_uid)
            study = studies.assemble(replace(current, closed_by="quiet_time"))
            made = a_report(study)
            (delivery,) = plan(made, study, [destination], (LETTER,), self.house.clock.now())
            assert studies.save(study, report=made, documents=(LETTER,), deliveries=[delivery])
            return delivery.idempotency_key

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


@contextmanager
def running(made, folder):
    """A worker of the site, the same process to the end."""
    ready = folder / "ready"
    command = [sys.executable, "-m", "service.work_main", "--data-dir", folder / "data"]
    if made.config is not None:
        command += ["--config", made.config]
    worker = made.worker = subprocess.Popen([*command, "--ready-file", ready])
    try:
        wait_until(ready.exists, seconds=120, what="a worker")
        yield made
        assert worker.poll() is None
    finally:
        worker.terminate()
        worker.wait(60)
        made.house.engine.dispose()


@pytest.fixture
def site(tmp_path):
    with running(Site(tmp_path / "data"), tmp_path) as made:
        yield made


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


def test_a_worker_starts_without_what_cannot_be_put_together_and_takes_it_when_it_is_mended(tmp_path):
    key, config = private_key(tmp_path), tmp_path / "hoichan.toml"
    config.write_text(
        "[work]\nlongest_probe_seconds = 0.5\n"
        '[credentials.emr]\nhosts = ["127.0.0.1"]\n'
        f'auth = {{ kind = "smart", client_id = "hoichan", private_key = "{key}" }}\n',
        encoding="utf-8",
    )
    with TokenEmr(key) as emr:
        made = Site(tmp_path / "data", config)
        entry = {"kind": "fhir", "name": "emr2", "url": emr.url, "credentials": "emr"}
        made.write(entry, share="share")
        away = key.rename(tmp_path / "away.pem")
        with running(made, tmp_path) as site:
            wait_until(lambda: site.without() == {"emr2": "configuration"}, seconds=60, what="its word")
            assert site.runs_with() == [1]
            letter = site.letter(FhirDestination(name="emr2", kind="fhir", url=emr.url))
            site.arrives(site.report())  # the other receiver works

            def waits():
                row = site.house.studies.delivery(letter)
                return (row.state, row.acknowledgement) == (DeliveryState.PENDING, "receiver_awaited")

            wait_until(waits, seconds=60, what="the letter waits")
            away.rename(key)
            wait_until(lambda: site.without() == {}, seconds=120, what="the worker takes the receiver")
            site.arrives(letter)
            assert len(emr.posted) == 1
            assert site.files("share") == 1
