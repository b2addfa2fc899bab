"""Two workers on PostgreSQL share the work, and one takes over what the other was killed with."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address, send
from hoichan.testing.house import free_ports
from hoichan.testing.reports import a_film
from tests.peers import postgresql

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not postgresql.is_available(), reason="PostgreSQL's server is not installed"),
]
STUDIES = 12
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        started = postgresql.PostgreSQL(Path(folder))
        yield started
        started.stop()


class Site:
    """One listener and any number of workers over one database and one spool."""

    def __init__(self, folder: Path, database: str):
        self.folder = folder
        (self.port,) = free_ports(1)
        self.environment = {
            **os.environ,
            "HOICHAN_STORAGE__DATABASE": database,
            "HOICHAN_LISTENER__PORT": str(self.port),
            "HOICHAN_ASSEMBLY__QUIET_SECONDS": "0.3",
        }
        self.processes: list[subprocess.Popen] = []

    def start(self, role: str) -> subprocess.Popen:
        ready = self.folder / f"{role}-{len(self.processes)}.ready"
        command = [sys.executable, "-P", "-m", "service", role, "--data-dir", str(self.folder / "data")]
        process = subprocess.Popen([*command, "--ready-file", str(ready)], env=self.environment)
        self.processes.append(process)
        wait(ready.exists, seconds=120, what=f"{role} ready")
        return process

    def status(self) -> dict:
        command = [sys.executable, "-P", "-m", "service", "status", "--json"]
        done = subprocess.run(
            [*command, "--data-dir", str(self.folder / "data")],
            env=self.environment, capture_output=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait(condition, *, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def site(server, tmp_path):
    opened = Site(tmp_path, server.database(f"site{os.getpid()}_{next(NUMBERS)}"))
    yield opened
    opened.stop()


def films(folder):
    files = []
    for number in range(STUDIES):
        file = folder / f"{number}.dcm"
        a_film(f"film {number}", rows=256, columns=224).save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def test_a_killed_worker_is_replaced_by_the_other(site, tmp_path):
    site.start("listen")
    first, _ = site.start("work"), site.start("work")
    sent = send(films(tmp_path), Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port))
    assert {one.status for one in sent} == {0}
    outbox = site.folder / "data" / "outbox"
    wait(lambda: any(outbox.glob("*/*/sr.dcm")), seconds=60, what="a first report")
    first.kill()
    first.wait()
    wait(lambda: len(list(outbox.glob("*/*/sr.dcm"))) == STUDIES, seconds=180, what="every report")

    def delivered():
        now = site.status()
        return now["dead_letters"] == 0 and now["oldest_undelivered_seconds"] is None and not now["queues"]

    wait(delivered, seconds=60, what="every delivery acknowledged")
    assert site.status()["instances"] == STUDIES
    assert sum(site.status()["studies"].values()) == STUDIES
    assert len(list(outbox.glob("*/*"))) == STUDIES  # one report a study, none doubled


TAKEOVER_SECONDS = 30


def trails(site):
    """How often each event stands in the trails of all studies."""
    command = [sys.executable, "-P", "-m", "service", "study"]
    found = []
    for folder in (site.folder / "data" / "outbox").iterdir():
        done = subprocess.run(
            [*command, folder.name, "--json", "--data-dir", str(site.folder / "data")],
            env=site.environment, capture_output=True, check=True,
        )  # fmt: skip
        found.append([entry["event"] for entry in json.loads(done.stdout)])
    return found


def test_a_worker_that_hangs_is_replaced_and_doubles_nothing_when_it_wakes(site, tmp_path):
    """Its lease ends while it is frozen in the middle of its work; it wakes and goes on where it was."""
    site.start("listen")
    first = site.start("work")  # it leads, until it freezes
    second = site.start("work")
    sent = send(films(tmp_path), Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port))
    assert {one.status for one in sent} == {0}
    outbox = site.folder / "data" / "outbox"
    wait(lambda: any(outbox.glob("*/*/sr.dcm")), seconds=60, what="a first report")
    first.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    try:
        with_work = len(list(outbox.glob("*/*/sr.dcm")))
        assert with_work < STUDIES, "it froze too late to leave any work"
        wait(lambda: len(list(outbox.glob("*/*/sr.dcm"))) == STUDIES, seconds=180, what="every report")
        took = time.monotonic() - frozen_at
        print(f"all work of the frozen worker done after {took:.1f} s")
        assert took < TAKEOVER_SECONDS + STUDIES  # a second a study for the one that is left
    finally:
        first.send_signal(signal.SIGCONT)

    def delivered():
        now = site.status()
        return now["dead_letters"] == 0 and now["oldest_undelivered_seconds"] is None and not now["queues"]

    wait(delivered, seconds=60, what="every delivery acknowledged")
    assert first.poll() is None and second.poll() is None
    assert len(list(outbox.glob("*/*"))) == STUDIES  # one report a study, none doubled
    for events in trails(site):
        assert events.count("report_saved") == events.count("delivery_acknowledged") == 1
