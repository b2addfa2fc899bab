"""The command line itself: quick to start, and clear when it is used wrongly."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "numpy",
    "pydicom",
    "pynetdicom",
    "highdicom",
    "sqlalchemy",
    "dbos",
    "onnxruntime",
    "fastapi",
    "rich",
)
ASK = f"import service.cli, sys; print([name for name in {HEAVY!r} if name in sys.modules])"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", "service", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_waits_for_no_library():
    loaded = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=120
    )
    assert loaded.stdout.strip() == "[]"


def test_every_command_of_the_contract_is_there():
    text = run("--help").stdout
    for command in (
        "up",
        "demo",
        "listen",
        "work",
        "web",
        "send",
        "study",
        "replay",
        "cancel",
        "status",
        "doctor",
    ):
        assert f" {command} " in text
    for command in ("model", "user", "audit", "migrate"):
        assert f" {command} " in text


def test_a_wrong_address_is_told_and_ends_with_2(tmp_path):
    done = run("send", str(tmp_path), "--to", "nowhere")
    assert done.returncode == 2
    assert "AE@host:port" in done.stderr
