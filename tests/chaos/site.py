"""A site as on several machines: each role a process of its own over one database and one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hoichan.testing.house import free_ports, wait_until

START_SECONDS = 90
ROLES = {"listen": "listen", "work": "work", "work-2": "work", "web": "web"}  # name -> command


class Site:
    """`start` and `kill` roles by name; whatever runs is ended by `close`."""

    def __init__(self, folder: Path, *, config: str, environment: Mapping[str, str] | None = None) -> None:
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
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start these, side by side, and return when all say that they are ready."""
        for name in names:
            self._ready(name).unlink(missing_ok=True)
            with self.log_file.open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [*self._command(ROLES[name]), "--ready-file", str(self._ready(name))],
                    env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
        for name in names:
            wait_until(lambda name=name: self._is_ready(name), seconds=START_SECONDS, what=f"{name} is ready")

    def kill(self, name: str) -> None:
        """kill -9; returns when it is dead."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """The process of a role."""
        return self._processes[name].pid

    def has_ended(self) -> list[str]:
        """The roles that ended by themselves."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def status(self) -> dict:
        """`hoichan status --json`."""
        done = subprocess.run(
            [*self._command("status"), "--json"], env=self._environment, capture_output=True,
            check=True, timeout=120,
        )  # fmt: skip
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
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, word: str) -> list[str]:
        files = ["--config", str(self._folder / "hoichan.toml"), "--data-dir", str(self.data_dir)]
        return [sys.executable, "-P", "-m", "service", word, *files]

    def _ready(self, name: str) -> Path:
        return self._folder / f"{name}.ready"

    def _is_ready(self, name: str) -> bool:
        if self._processes[name].poll() is not None:
            raise RuntimeError(f"{name} ended:\n{self.log()[-3000:]}")
        return self._ready(name).exists()
