"""A site as on several machines: each role a process of its own over one database and one folder.

Its roles start as users start them, or, `forked`, from a process that has imported what they need: then a
start takes a fraction of a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from hoichan.testing.house import free_ports, wait_until

START_SECONDS = 90
STOP_SECONDS = 40
STATUS_SECONDS = 120
ROOT = Path(__file__).parents[2]
ROLES = {"listen": "listen", "work": "work", "work-2": "work", "web": "web"}  # name -> command


class Site:
    """`start` and `kill` roles by name; whatever runs is ended by `close`."""

    def __init__(
        self, folder: Path, *, config: str, environment: Mapping[str, str] | None = None, forked: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.log_file = folder / "log.jsonl"
        self.log_file.touch()
        self.port, self.web_port = free_ports(2)
        self._folder = folder
        (folder / "hoichan.toml").write_text(config, encoding="utf-8")
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HOICHAN_")},
            "HOICHAN_LISTENER__PORT": str(self.port),
            "HOICHAN_WEB__PORT": str(self.web_port),
            "HOICHAN_ASSEMBLY__QUIET_SECONDS": "0.3",
            "HOICHAN_WORK__FIRST_RETRY_SECONDS": "0.5",
            "HOICHAN_STORAGE__RESERVE_BYTES": "0",
            **(environment or {}),
        }
        self._processes: dict[str, Started | Forked] = {}
        self._zygote = Zygote(self._environment) if forked else None

    def start(self, *names: str, wait: bool = True) -> None:
        """Start these, side by side, and return when all say that they are ready; at once without `wait`."""
        for name in names:
            self._ready(name).unlink(missing_ok=True)
            self._processes[name] = self._begin(name)
        for name in names if wait else ():
            wait_until(lambda name=name: self.is_ready(name), seconds=START_SECONDS, what=f"{name} is ready")

    def kill(self, name: str) -> None:
        """kill -9; returns when it is dead."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(STOP_SECONDS)

    def pid(self, name: str) -> int:
        """The process of a role."""
        return self._processes[name].pid

    def is_ready(self, name: str) -> bool:
        """Whether it said that it is ready. Raises RuntimeError when it ended by itself."""
        if self._processes[name].poll() is not None:
            raise RuntimeError(f"{name} ended:\n{self.log()[-3000:]}")
        return self._ready(name).exists()

    def has_ended(self) -> list[str]:
        """The roles that ended by themselves."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def status(self) -> dict:
        """`hoichan status --json`."""
        if self._zygote is not None:
            answer = self._folder / "status.json"
            answer.unlink(missing_ok=True)
            asked = self._zygote.start("status", self._files(), answer)
            asked.wait(STATUS_SECONDS)
            text = answer.read_text(encoding="utf-8")
            assert text.startswith("{"), text
            return json.loads(text)
        done = subprocess.run(
            [*self._command("status"), "--json"], env=self._environment, capture_output=True,
            check=False, timeout=STATUS_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"status ended with {done.returncode}: {done.stderr.decode()}")
        return json.loads(done.stdout)

    def log(self) -> str:
        """What all of them wrote."""
        return self.log_file.read_text(encoding="utf-8")

    def close(self) -> None:
        """End what runs."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
        self._processes.clear()
        if self._zygote is not None:
            self._zygote.close()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, word: str) -> list[str]:
        return [sys.executable, "-P", "-m", "service", word, *self._files()]

    def _files(self) -> list[str]:
        return ["--config", str(self._folder / "hoichan.toml"), "--data-dir", str(self.data_dir)]

    def _ready(self, name: str) -> Path:
        return self._folder / f"{name}.ready"

    def _begin(self, name: str) -> Started | Forked:
        ready = ["--ready-file", str(self._ready(name))]
        if self._zygote is not None:
            return self._zygote.start(ROLES[name], [*self._files(), *ready], self.log_file)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [*self._command(ROLES[name]), *ready],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip


Started = subprocess.Popen[bytes]


class Zygote:
    """The process that forks roles."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote", "house"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def start(self, role: str, arguments: list[str], log: Path) -> Forked:
        """A role."""
        return Forked(self, self.ask({"role": role, "start": arguments, "environment": {}, "log": str(log)}))

    def ask(self, order: Mapping[str, object]) -> int:
        """Its answer to one order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and what it forked and nobody ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.stdout.close()


class Forked:
    """One role that a zygote forked, used like a process that was started."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._has_ended = False

    def poll(self) -> int | None:
        """Whether it ended, as 0 or None."""
        if not self._has_ended:
            self._has_ended = bool(self._zygote.ask({"ended": self.pid}))
        return 0 if self._has_ended else None

    def wait(self, seconds: float) -> int:
        """Until it has ended. Raises TimeoutExpired."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), seconds)
            threading.Event().wait(0.02)
        return 0

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, unless it has ended."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)
