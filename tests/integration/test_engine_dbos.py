"""The work engine in processes of its own: once is once, and a killed process loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hoichan.adapters.engine_dbos import queued

# A worker that writes a line for each step it begins and ends; a step named "hold" never ends.
WORKER = """
import json, os, sys, time
from datetime import UTC, datetime
from hoichan.adapters.engine_dbos import EngineDbos
from hoichan.types import Delivery, DeliveryState

folder, studies, deliveries = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
ledger = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def say(*words):
    os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())

def analyse(study, revision):
    say("begin", study, revision)
    while os.path.exists(f"{folder}/hold"):
        time.sleep(0.01)
    say("end", study, revision)

def deliver(key):
    say("deliver", key)

engine = EngineDbos(f"sqlite:///{folder}/engine.sqlite", executor_id="w", analyse=analyse, deliver=deliver,
                    concurrency=1, poll_seconds=0.05)
for study, revision in studies:
    engine.enqueue_study(study, revision)
for key in deliveries:
    engine.enqueue_delivery(Delivery(
        report_uid="1.2", study_instance_uid="1.2", destination="pacs", kind="dicom", documents=(),
        idempotency_key=key, state=DeliveryState.PENDING, attempts=0,
        next_attempt_at=datetime.now(UTC), acknowledgement=None))
say("enqueued", dict(engine.queued()))
sys.stdin.read()
engine.close()
"""


class Process:
    """One worker over a folder."""

    def __init__(self, folder: Path, studies=(), deliveries=()):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), json.dumps(studies), json.dumps(deliveries)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def lines(self):
        ledger = self.folder / "ledger"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def wait_for(self, line, seconds=30):
        deadline = time.monotonic() + seconds
        while line not in self.lines():
            assert self.process.poll() is None, self.process.stderr.read().decode()
            assert time.monotonic() < deadline, f"no {line!r} in {self.lines()}"
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.end()

    def end(self):
        self.process.communicate(timeout=30)


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(studies=(), deliveries=()):
        running.append(Process(tmp_path, studies, deliveries))
        return running[-1]

    yield begin
    for process in running:
        if process.process.poll() is None:
            process.kill()


def test_the_same_work_enqueued_twice_is_done_once(start):
    worker = start(studies=[["1.2.3", 1], ["1.2.3", 1], ["1.2.3", 2]], deliveries=["k", "k"])
    worker.wait_for("end 1.2.3 2")
    worker.wait_for("deliver k")
    worker.end()
    lines = worker.lines()
    assert lines.count("end 1.2.3 1") == lines.count("end 1.2.3 2") == lines.count("deliver k") == 1


def test_work_that_was_cut_off_by_kill_9_is_done_after_the_next_start(start, tmp_path):
    (tmp_path / "hold").touch()
    first = start(studies=[["1.2.3", 1], ["1.2.4", 1]])
    first.wait_for("begin 1.2.3 1")
    first.kill()
    assert queued(f"sqlite:///{tmp_path / 'engine.sqlite'}") == {"analyse": 2}
    (tmp_path / "hold").unlink()
    second = start()
    second.wait_for("end 1.2.3 1")
    second.wait_for("end 1.2.4 1")
    second.end()
    assert queued(f"sqlite:///{tmp_path / 'engine.sqlite'}") == {}


def test_queues_of_an_engine_that_never_ran_are_empty(tmp_path):
    assert queued(f"sqlite:///{tmp_path / 'engine.sqlite'}") == {}
