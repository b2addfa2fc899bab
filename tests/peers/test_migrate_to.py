"""A site on SQLite becomes one on PostgreSQL and S3: everything that was there, and what waited goes on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOS, DBOSClient

from hoichan.adapters.database import open_database
from hoichan.adapters.engine_queued import queued
from hoichan.guard.roles import Role
from hoichan.settings import Settings, load
from hoichan.testing.house import wait_until
from service import wiring
from service.wiring import open_house
from tests.peers import postgresql, seaweedfs
from tests.unit.service.test_backup import answer, receive, viewed

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not postgresql.is_available(), reason="PostgreSQL's server is not installed"),
]


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        started = postgresql.PostgreSQL(Path(folder))
        yield started
        started.stop()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two studies answered and not delivered, one received only; an audit log; work that waits."""
    folder = tmp_path_factory.mktemp("site") / "data"
    house = open_house(load(data_dir=folder, environment={}))
    first, second = receive(house, "first"), receive(house, "second")
    for stored in (first, second):
        answer(house, stored, wiring.encoder(house))
    receive(house, "third")
    house.people.add(
        "bs.an", display_name="BS. Trần Thị Ân", role=Role.RADIOLOGIST, password_hash="$argon2id$x"
    )
    for number in range(5):
        house.audit.append(viewed(number))
    with house.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE studies SET patient_name = :name WHERE study_instance_uid = :uid"),
            {"name": "Nguyễn\0^Văn^Ấn", "uid": first.study_instance_uid},
        )
    keys = [
        d.idempotency_key for s in (first, second) for d in house.studies.deliveries(s.study_instance_uid)
    ]
    house.engine.dispose()
    url = house.settings.storage.engine_url
    DBOS.migrate(url)
    client = DBOSClient(system_database_engine=open_database(url))
    options = {"workflow_name": "delivery", "queue_name": "deliver", "queue_partition_key": "outbox"}
    for key in keys:
        client.enqueue({**options, "workflow_id": f"delivery:{key}:0"}, key)
    client.enqueue(
        {"workflow_name": "study", "queue_name": "analyse", "workflow_id": "study:1.2.3:1", "priority": 1},
        "1.2.3",
        1,
    )
    client.destroy()
    return folder


@pytest.fixture
def site(template, tmp_path):
    return Site(shutil.copytree(template, tmp_path / "data"))


class Site:
    """A house that does not run, and its commands."""

    def __init__(self, folder):
        self.folder = folder
        self.records = f"sqlite:///{folder / 'hoichan.sqlite'}"
        self.engine = f"sqlite:///{folder / 'engine.sqlite'}"

    def run(self, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-P", "-m", "service", *arguments, "--data-dir", self.folder],
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip


def rows(url):
    """Every table with its rows, as text; the order of rows does not count."""
    engine = open_database(url)
    try:
        with engine.connect() as connection:
            tables = sa.MetaData()
            tables.reflect(connection)
            return {
                name: sorted(str(tuple(row)) for row in connection.execute(sa.select(table)))
                for name, table in tables.tables.items()
                if name not in ("alembic_version", "workers", "worker_facts")
            }
    finally:
        engine.dispose()


def test_a_site_moves_with_everything_it_knows(site, server):
    new = server.database("moved")
    before, waiting = rows(site.records), queued(site.engine)
    done = site.run("migrate", "--to", new, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    cleaned = {name: [row.replace("\\x00", "") for row in found] for name, found in before.items()}
    assert rows(new) == cleaned and all(before[name] for name in ("studies", "deliveries", "trail", "users"))
    assert told["rows"] == {name: len(found) for name, found in before.items()}
    assert told["work"] == waiting == queued(new) == {"deliver": 2, "analyse": 1}
    assert (told["audit_records"], told["texts_cleaned"]) == (5, 1)

    refused = site.run("status")
    assert refused.returncode == 2 and "was moved" in refused.stderr
    again = site.run("migrate", "--to", new)
    assert again.returncode == 2 and "not empty" in again.stderr

    house = open_house(Settings.model_validate({"storage": {"data_dir": site.folder, "database": new}}))
    try:
        assert house.audit.verify() is None
        house.audit.append(viewed(6))
        assert house.audit.verify() is None and house.audit.head().length == 6
        uid = house.spool.every_study()[0]
        house.studies.note(uid, "delivery_revived")  # numbers that the database gives go on
    finally:
        house.engine.dispose()


def test_the_work_that_waited_is_done_after_the_move(site, server):
    new = server.database("working")
    assert site.run("migrate", "--to", new).returncode == 0
    ready = site.folder / "ready"
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "service", "work", "--data-dir", site.folder, "--ready-file", ready],
        env={**os.environ, "HOICHAN_STORAGE__DATABASE": new},
    )
    try:
        outbox = site.folder / "outbox"
        wait_until(lambda: len(list(outbox.glob("*/*/sr.dcm"))) >= 3, seconds=200, what="every report is out")
    finally:
        worker.terminate()
        worker.wait(60)
    engine = open_database(new)
    with engine.connect() as connection:
        saved = connection.exec_driver_sql(
            "SELECT study_instance_uid, count(*) FROM trail WHERE event = 'report_saved' GROUP BY 1"
        ).all()
    engine.dispose()
    assert len(saved) == 3 and {count for _, count in saved} == {1}  # nothing was analysed again


def test_a_house_that_runs_is_not_moved(site, server):
    new = server.database("running")
    with closing(sqlite3.connect(site.folder / "hoichan.sqlite")) as held:  # as the page holds it
        held.execute("SELECT count(*) FROM studies").fetchone()
        refused = site.run("migrate", "--to", new)
    assert refused.returncode == 2 and "runs" in refused.stderr
    assert all(found == [] for found in rows(new).values())
    assert site.run("migrate", "--to", new).returncode == 0  # and when it has stopped, it is


def test_a_move_that_does_not_fit_leaves_the_target_as_it_was(site, server):
    """The audit log of the source was changed: nothing of it may look as if it were whole elsewhere."""
    with closing(sqlite3.connect(site.folder / "hoichan.sqlite")) as database:
        database.execute("DROP TRIGGER audit_no_update")
        database.execute("UPDATE audit SET who = 'somebody else' WHERE position = 2")
        database.commit()
    new = server.database("broken")
    refused = site.run("migrate", "--to", new)
    assert refused.returncode == 1 and "Record 2" in refused.stderr
    assert all(found == [] for found in rows(new).values())
    assert site.run("status").returncode == 0  # the house stays where it is


def test_only_an_sqlite_site_is_moved_and_only_to_postgresql(site, server):
    for arguments in (("--to", "sqlite:///x"), ("--to", "nonsense"), ("--to-objects", "/srv/objects")):
        assert site.run("migrate", *arguments).returncode == 2
    refused = site.run("migrate", "--to", "postgresql://x/y", HOICHAN_STORAGE__DATABASE=server.database("pg"))
    assert refused.returncode == 2 and "no SQLite" in refused.stderr


@pytest.mark.skipif(not seaweedfs.is_available(), reason="SeaweedFS (weed) is not installed")
def test_documents_and_received_objects_go_to_a_bucket(site, server):
    with tempfile.TemporaryDirectory(prefix="hoichan-weed-") as folder:
        store = seaweedfs.SeaweedFS(Path(folder))
        try:
            new, where = server.database("bucket"), f"s3://{seaweedfs.BUCKET}/site"
            done = site.run("migrate", "--to", new, "--to-objects", where, "--json", **store.environment)
            assert done.returncode == 0, done.stderr
            found = rows(new)
            assert json.loads(done.stdout)["objects"] == 6 + 2 == len(found["documents"]) + 2
            storage = {
                "data_dir": site.folder,
                "database": new,
                "objects": where,
                "s3": store.settings.model_dump(),
            }
            shutil.rmtree(site.folder / "objects")
            house = open_house(Settings.model_validate({"storage": storage}))
            for uid in house.spool.every_study():
                for delivery in house.studies.deliveries(uid):
                    assert len(house.studies.documents(delivery)) == len(delivery.documents)
                for instance in getattr(house.studies.current(uid), "instances", ()):
                    assert house.spool.originals.is_shared(instance.sha256)
            house.engine.dispose()
        finally:
            store.stop()
