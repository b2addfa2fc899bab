import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, threading, warnings
import structlog
from hoichan.adapters import logs
from hoichan.errors import SpoolFull
logs.configure("tester")
log = structlog.get_logger()
def talk():
    log.info("told", study="1.2.3", count=2)
    try:
        raise SpoolFull("MARKER")
    except SpoolFull:
        log.exception("went_wrong")
    try:
        int("MARKER")
    except ValueError:
        logging.getLogger("pynetdicom").exception("MARKER")
    warnings.warn("MARKER")
    logging.getLogger("pydicom").warning("MARKER")
thread = threading.Thread(target=talk)
thread.start()
thread.join()
"""


def test_lines_are_json_and_hold_no_text_of_libraries_or_exceptions():
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        "told",
        "went_wrong",
        "library_log",
        "library_warning",
        "library_log",
    ]
    assert {line["process"] for line in lines} == {"tester"}
    assert lines[0]["study"] == "1.2.3" and lines[0]["timestamp"].endswith("Z")
    assert (lines[1]["error"], lines[1]["code"]) == ("SpoolFull", "intake.spool_full")
    assert lines[2]["error"] == "ValueError"
    assert "MARKER" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("place", ["main", "thread"])
def test_what_ends_a_process_or_a_thread_is_told_without_its_text(place):
    script = "from hoichan.adapters import logs\nimport threading\nlogs.configure('tester')\n" + (
        "int('MARKER')" if place == "main" else "threading.Thread(target=int, args=('MARKER',)).start()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["error"], line["level"]) == ("uncaught", "ValueError", "critical")
    assert "MARKER" not in done.stderr


def test_lines_of_processes_that_share_a_stream_do_not_mix(tmp_path):
    script = """
import structlog
from hoichan.adapters import logs
logs.configure("tester")
for number in range(3000):
    structlog.get_logger().info("told", number=number)
"""
    with (tmp_path / "log").open("ab") as shared:
        running = [subprocess.Popen([sys.executable, "-P", "-c", script], stderr=shared) for _ in range(2)]
        assert [process.wait(60) for process in running] == [0, 0]
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["number"] for line in lines) == sorted([*range(3000), *range(3000)])


def test_a_stream_that_was_taken_away_again_is_no_fault():
    script = """
import io, sys
import structlog
from hoichan.adapters import logs
log, kept = structlog.get_logger(), sys.stderr
with io.StringIO() as sys.stderr:
    logs.configure("tester")
    log.info("inside")
sys.stderr = kept
log.info("after")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert line["event"] == "after"
