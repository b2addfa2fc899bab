"""Two machines without a shared folder: one PostgreSQL, one S3, a spool each. Nothing received is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address, send
from hoichan.testing.house import free_ports, wait_until
from hoichan.testing.reports import a_film
from tests.peers import postgresql, seaweedfs

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not postgresql.is_available(), reason="PostgreSQL's server is not installed"),
    pytest.mark.skipif(not seaweedfs.is_available(), reason="SeaweedFS (weed) is not installed"),
]


@pytest.fixture(scope="module")
def database():
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        started = postgresql.PostgreSQL(Path(folder))
        yield started
        started.stop()


@pytest.fixture(scope="module")
def store():
    with tempfile.TemporaryDirectory(prefix="hoichan-weed-") as folder:
        started = seaweedfs.SeaweedFS(Path(folder))
        yield started
        started.stop()


class Machine:
    """A data folder of its own; its roles are processes of their own."""

    def __init__(self, folder: Path, database: str, store: seaweedfs.SeaweedFS):
        self.folder = folder
        folder.mkdir()
        (self.port,) = free_ports(1)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HOICHAN_")},
            **store.environment,
            "HOICHAN_STORAGE__DATABASE": database,
            "HOICHAN_STORAGE__OBJECTS": f"s3://{seaweedfs.BUCKET}/site",
            "HOICHAN_STORAGE__RESERVE_BYTES": "0",
            "HOICHAN_LISTENER__PORT": str(self.port),
            "HOICHAN_ASSEMBLY__QUIET_SECONDS": "0.3",
            "HOICHAN_WORK__ANALYSE_CONCURRENCY": "1",
        }
        self.processes: list[subprocess.Popen] = []

    def start(self, role: str) -> subprocess.Popen:
        ready = self.folder / f"{role}-{len(self.processes)}.ready"
        command = [sys.executable, "-P", "-m", "service", role, "--data-dir", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready)], env=self.environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        wait_until(ready.exists, seconds=90, what=f"{role} ready")
        return process

    def send(self, films) -> None:
        files = []
        for film in films:
            files.append(self.folder / f"{film.SOPInstanceUID}.dcm")
            film.save_as(files[-1], enforce_file_format=True)
        sent = send(files, Address(ae_title="HOICHAN", host="127.0.0.1", port=self.port))
        assert {one.status for one in sent} == {0} and len(sent) == len(files)

    def status(self) -> dict:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "service", "status", "--json", "--data-dir", self.folder / "data"],
            env=self.environment, capture_output=True, check=True, timeout=120,
        )  # fmt: skip
        return json.loads(done.stdout)

    def reports(self) -> list[Path]:
        return sorted((self.folder / "data" / "outbox").glob("*/*/sr.dcm"))

    def copies(self) -> list[Path]:
        return sorted((self.folder / "data" / "cache").rglob("*.dcm"))

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(30)


@pytest.fixture
def machines(database, store, tmp_path):
    url = database.database(f"site{os.getpid()}")
    opened = [Machine(tmp_path / name, url, store) for name in ("a", "b")]
    yield opened
    for machine in opened:
        machine.stop()


def films(name, count):
    return [a_film(f"{name} {number}", rows=256, columns=224) for number in range(count)]


def test_the_other_machine_finishes_what_a_killed_one_received(machines, store):
    receiver, helper = machines
    receiver.start("listen")
    worker = receiver.start("work")
    helper.start("work")
    receiver.send(films("first", 8))
    wait_until(helper.copies, seconds=90, what="the other machine reads from the object store")
    worker.kill()
    worker.wait(30)
    receiver.start("work")  # what it had not recorded yet is in its spool only

    def reported(count):
        return len(receiver.reports()) + len(helper.reports()) == count

    wait_until(lambda: reported(8), seconds=200, what="every film has its report")
    assert helper.reports() != []
    assert not (helper.folder / "data" / "spool" / "studies").is_dir() or not list(
        (helper.folder / "data" / "spool" / "studies").rglob("*.dcm")
    )

    store.stop()
    receiver.send(films("second", 3))  # the door needs its own disk only
    store.start()
    wait_until(lambda: reported(11), seconds=150, what="every film has its report after the outage")

    def settled():
        now = receiver.status()
        return now["oldest_undelivered_seconds"] is None and not sum(now["queues"].values()) and now

    now = wait_until(settled, seconds=60, what="every delivery acknowledged")
    assert now["instances"] == 11 and now["dead_letters"] == 0
    assert (
        sum(now["studies"].values())
        == 11
        == now["studies"].get("delivered", 0) + now["studies"].get("not_analysed", 0)
    )
