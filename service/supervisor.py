"""One supervised start: listener, worker and page as three processes, restarted when one dies.

The children hang on the supervisor by their standard input: it ends when the supervisor does, even by
kill -9, and they end with it, so that no port stays taken by an orphan.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from hoichan.errors import ConfigurationError
from service.effort import Effort

log = structlog.get_logger()

# Each as a module of its own: the command `hoichan` takes most of a second to load all that it could do.
ROLES: Mapping[str, Sequence[str]] = {
    "listen": ("-P", "-m", "dicom_listener"),
    "work": ("-P", "-m", "service.work_main"),
    "web": ("-P", "-m", "service.web_main"),
    "orders": ("-P", "-m", "service", "orders"),
}
ALWAYS = ("listen", "work", "web")  # roles of every house; others where the settings ask for them
REFUSED = 2  # exit code of a role that cannot start and has said why (DESIGN §4)
STALLED_SECONDS = 60.0  # a role that starts and does not get on for so long never will
LONGEST_START_SECONDS = 3600.0  # nor one that is busy for so long: a database may be brought to a new version
STOP_SECONDS = 20.0  # time to finish what runs before a role is killed; what is cut off runs again
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0  # before a role that died is started again
STEADY_SECONDS = 30.0  # after this long a role counts as healthy and its pause starts anew


@dataclass(slots=True)
class _Child:
    role: str
    process: subprocess.Popen[bytes]
    ready_file: Path
    started_at: float
    pause: float = FIRST_PAUSE_SECONDS
    facts: dict[str, object] = field(default_factory=dict)


class Supervisor:
    """Starts the roles, waits until each is ready, and keeps them running until told to stop."""

    def __init__(self, arguments: Sequence[str], roles: Sequence[str] = ALWAYS) -> None:
        """`arguments`: what every role gets, e.g. ("--config", "hoichan.toml")."""
        self._arguments = list(arguments)
        self._roles = roles
        self._folder = tempfile.TemporaryDirectory(prefix="hoichan-")
        self._children: dict[str, _Child] = {}

    def start(self, stop: threading.Event) -> dict[str, dict[str, object]] | None:
        """Start every role; returns what each said when it was ready, such as its port.

        None when a role refused to start: its own sentence is on stderr already, and is enough.
        Raises ConfigurationError when a role ended without one, or does not get on any more.
        """
        for role in self._roles:
            self._children[role] = self._spawn(role)
        began = time.monotonic()
        efforts = {role: Effort(began, child.process.pid) for role, child in self._children.items()}
        for child in self._children.values():
            while not self._is_ready(child) and not stop.wait(0.05):
                code = child.process.poll()
                if code == REFUSED:
                    return None
                if code is not None:
                    raise ConfigurationError(
                        f"The role {child.role!r} ended with {code} before it was ready."
                    )
                now = time.monotonic()
                # One may wait for another, that brings the database to a new version.
                starting = [role for role, one in self._children.items() if not one.ready_file.exists()]
                stalled = min((efforts[role].stalled_seconds(now) for role in starting), default=0.0)
                if stalled > STALLED_SECONDS:
                    raise ConfigurationError(
                        f"The role {child.role!r} is not ready after {now - began:.0f} s and does not get on."
                    )
                if now - began > LONGEST_START_SECONDS:
                    raise ConfigurationError(f"The role {child.role!r} was not ready in {now - began:.0f} s.")
        return {role: child.facts for role, child in self._children.items()}

    def supervise(self, stop: threading.Event) -> None:
        """Restart whatever dies, until `stop` is set."""
        while not stop.wait(0.2):
            for role, child in list(self._children.items()):
                if child.process.poll() is None:
                    continue
                steady = time.monotonic() - child.started_at > STEADY_SECONDS
                pause = FIRST_PAUSE_SECONDS if steady else child.pause
                log.error(
                    "role_died", role=role, exit_code=child.process.returncode, restart_in_seconds=pause
                )
                if stop.wait(pause):
                    return
                self._children[role] = self._spawn(role)
                self._children[role].pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def pids(self) -> dict[str, int]:
        """The process of each role."""
        return {role: child.process.pid for role, child in self._children.items()}

    def close(self) -> None:
        """Let every role finish what it does, then end it; one that is not ready has nothing to finish."""
        for child in self._children.values():
            if not child.ready_file.exists():
                child.process.kill()
            if child.process.stdin is not None:
                child.process.stdin.close()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("role_killed", role=child.role)
                child.process.kill()
                child.process.wait()
        self._folder.cleanup()

    def _spawn(self, role: str) -> _Child:
        ready_file = Path(self._folder.name) / f"{role}.ready"
        ready_file.unlink(missing_ok=True)
        command = [sys.executable, *ROLES[role], *self._arguments]
        command += ["--stdin-lifeline", "--ready-file", str(ready_file)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        return _Child(role=role, process=process, ready_file=ready_file, started_at=time.monotonic())

    def _is_ready(self, child: _Child) -> bool:
        if not child.ready_file.exists():
            return False
        child.facts = json.loads(child.ready_file.read_text(encoding="utf-8"))
        return True
