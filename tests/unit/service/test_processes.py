"""How processes announce themselves, end, and keep out of each other's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hoichan.errors import ConfigurationError, StorageUnusable
from service.processes import announce, only_one, role_options

WAITS = """
from service.processes import stop_event
stop = stop_event(stdin_lifeline=True)
print("up", flush=True)
stop.wait()
"""


@pytest.fixture
def child():
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_role_takes_the_same_options_as_the_others(tmp_path):
    said = ["--config", "a.toml", "--data-dir", os.fspath(tmp_path), "--stdin-lifeline"]
    options = role_options(said, role="work", what="Work.", ready="written once it works")
    assert (options.config, options.data_dir) == (Path("a.toml"), tmp_path)
    assert (options.stdin_lifeline, options.ready_file) == (True, None)


def test_a_process_says_that_it_is_ready_in_one_piece(tmp_path):
    announce(tmp_path / "ready", {"port": 1})
    assert json.loads((tmp_path / "ready").read_text()) == {"pid": os.getpid(), "port": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
    announce(None, {})


def test_a_process_ends_when_its_supervisor_is_gone(child):
    child.stdin.close()
    assert child.wait(60) == 0


def test_a_process_ends_when_it_is_told_to(child):
    child.terminate()
    assert child.wait(60) == 0


def test_a_second_worker_on_the_same_folder_is_refused(tmp_path):
    with only_one(tmp_path), pytest.raises(ConfigurationError, match="Another worker"):  # noqa: SIM117
        with only_one(tmp_path, wait_seconds=0):
            pass
    with only_one(tmp_path, wait_seconds=0):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnusable), only_one(tmp_path / "file" / "data"):
        pass
