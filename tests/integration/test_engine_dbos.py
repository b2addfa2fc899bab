"""The work engine in processes of its own: once is once, and a killed process loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from hoichan.adapters.engine_dbos import WORKFLOW_EPOCH
from hoichan.adapters.engine_queued import queued
from hoichan.testing.house import wait_until

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
    while key.startswith("slow") and "free" not in key and os.path.exists(f"{folder}/hold"):
        time.sleep(0.01)
    say("deliver", key)

engine = EngineDbos(f"sqlite:///{folder}/engine.sqlite", executor_id="w", analyse=analyse, deliver=deliver,
                    concurrency=1, poll_seconds=0.05, epoch=sys.argv[4], at_a_time={"slowly": 4})
for study, revision, *band in studies:
    engine.enqueue_study(study, revision, band=band[0] if band else 2)
for key in deliveries:
    engine.enqueue_delivery(Delivery(
        report_uid="1.2", study_instance_uid="1.2." + key.split("-")[-1], destination=key.split("-")[0],
        kind="dicom", documents=(),
        idempotency_key=key, state=DeliveryState.PENDING, attempts=0,
        next_attempt_at=datetime.now(UTC), acknowledgement=None))
say("enqueued", dict(engine.queued()))
sys.stdin.read()
engine.close()
"""


class Process:
    """One worker over a folder."""

    def __init__(self, folder: Path, studies=(), deliveries=(), epoch=WORKFLOW_EPOCH):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), json.dumps(studies), json.dumps(deliveries), epoch],
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

    def wait_for_start(self, word, seconds=30):
        wait_until(
            lambda: any(line.startswith(word) for line in self.lines()), seconds=seconds, what=f"{word} …"
        )

    def wait_for_all_done(self):
        """A line in the ledger comes before the engine has noted the work as done."""
        wait_until(
            lambda: queued(f"sqlite:///{self.folder / 'engine.sqlite'}") == {},
            seconds=30,
            what="an empty queue",
        )

    def kill(self):
        self.process.kill()
        self.end()

    def end(self):
        self.process.communicate(timeout=30)


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(studies=(), deliveries=(), epoch=WORKFLOW_EPOCH):
        running.append(Process(tmp_path, studies, deliveries, epoch))
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
    second.wait_for_all_done()
    second.end()


def test_queues_of_an_engine_that_never_ran_are_empty(tmp_path):
    assert queued(f"sqlite:///{tmp_path / 'engine.sqlite'}") == {}


def test_what_an_older_version_left_in_the_queue_is_done_by_this_one(start, tmp_path):
    """One study in work when it was killed, two waiting, one delivery in work too."""
    (tmp_path / "hold").touch()
    older = start(
        studies=[["1.2.3", 1], ["1.2.4", 1], ["1.2.5", 2]], deliveries=["slow"], epoch="of-last-year"
    )
    older.wait_for("begin 1.2.3 1")
    older.wait_for_start("enqueued")
    older.kill()
    (tmp_path / "hold").unlink()
    newer = start()
    for line in ("end 1.2.3 1", "end 1.2.4 1", "end 1.2.5 2", "deliver slow"):
        newer.wait_for(line)
    newer.wait_for_all_done()
    newer.end()
    lines = newer.lines()
    assert [lines.count(f"end {study}") for study in ("1.2.3 1", "1.2.4 1", "1.2.5 2")] == [1, 1, 1]
    assert lines.count("deliver slow") == 1


def test_going_back_to_the_version_before_finishes_what_the_newer_one_left(start, tmp_path):
    (tmp_path / "hold").touch()
    newer = start(studies=[["1.2.3", 1], ["1.2.4", 1]])
    newer.wait_for("begin 1.2.3 1")
    newer.kill()
    (tmp_path / "hold").unlink()
    older = start(epoch="of-last-year")
    older.wait_for("end 1.2.3 1")
    older.wait_for("end 1.2.4 1")
    older.wait_for_all_done()
    older.end()


def test_finished_work_is_forgotten_after_its_time_and_waiting_work_is_not(tmp_path):
    """In a process of its own: the engine is one a process."""
    script = """
import sys, time
from datetime import UTC, datetime, timedelta
from dbos import DBOS
from hoichan.adapters.engine_dbos import EngineDbos
engine = EngineDbos(f"sqlite:///{sys.argv[1]}/engine.sqlite", executor_id="w", deliver=print, concurrency=1,
                    analyse=lambda study, _: time.sleep(300) if study == "1.9" else None, poll_seconds=0.05)
for number in range(3):
    engine.enqueue_study(f"1.{number}", 1)
engine.enqueue_study("1.9", 1)
engine.enqueue_study("1.10", 1)
deadline = time.monotonic() + 120
while len(DBOS.list_workflows(status=["SUCCESS"])) < 3:
    assert time.monotonic() < deadline
    time.sleep(0.02)
now = datetime.now(UTC)
assert engine.trim(now - timedelta(days=1)) == 0
assert engine.trim(now + timedelta(seconds=1)) == 3
left = sorted(w.workflow_id for w in DBOS.list_workflows())
assert left == ["study:1.10:1", "study:1.9:1"], left
print("fine", flush=True)
import os; os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, timeout=240, check=False
    )
    assert done.stdout.endswith(b"fine\n"), done.stderr.decode()


def test_a_slow_receiver_delays_no_other(start, tmp_path):
    (tmp_path / "hold").touch()
    slow = [f"slow-{number}" for number in range(8)]
    quick = [f"quick-{number}" for number in range(8)]
    worker = start(deliveries=[*slow, *quick])
    for key in quick:
        worker.wait_for(f"deliver {key}")
    assert not any(line.startswith("deliver slow") for line in worker.lines())
    (tmp_path / "hold").unlink()
    for key in slow:
        worker.wait_for(f"deliver {key}")
    worker.end()
    done = [line.split()[1] for line in worker.lines() if line.startswith("deliver")]
    assert [key for key in done if key in slow] == slow  # one at a time, in their order


def test_a_receiver_that_takes_several_gets_them_study_by_study(start, tmp_path):
    """The studies 1.2.0 and 1.2.1 are in two lanes: the one goes on while the other's first is held."""
    assert zlib.crc32(b"1.2.0") % 4 != zlib.crc32(b"1.2.1") % 4
    (tmp_path / "hold").touch()
    held = [f"slowly-{number}-0" for number in range(3)]
    free = [f"slowly-free{number}-1" for number in range(3)]
    worker = start(deliveries=[*held, *free])
    for key in free:
        worker.wait_for(f"deliver {key}")
    assert not any(f"deliver {key}" in worker.lines() for key in held)
    (tmp_path / "hold").unlink()
    for key in held:
        worker.wait_for(f"deliver {key}")
    worker.end()
    done = [line.split()[1] for line in worker.lines() if line.startswith("deliver")]
    assert done == [*free, *held]  # of one study one after the other


def test_the_urgent_goes_before_what_was_enqueued_before_it(start, tmp_path):
    (tmp_path / "hold").touch()
    worker = start(studies=[["1.1", 1], ["1.2", 1], ["1.3", 1, 3], ["1.4", 1, 0]])
    worker.wait_for("enqueued {'analyse': 4}")
    (tmp_path / "hold").unlink()
    worker.wait_for("end 1.3 1")
    worker.end()
    begun = [line.split()[1] for line in worker.lines() if line.startswith("begin")]
    assert "1.4" in begun[:2]  # the first may have begun before the urgent one came
    assert [study for study in begun if study != "1.4"] == ["1.1", "1.2", "1.3"]
