"""The listener in a process of its own, started and killed as often as a test likes: port and data stay."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.testing.house import free_ports, wait_until

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
STOP_SECONDS = 30


class DoorProcess:
    """One listener over one data folder."""

    def __init__(self, folder: Path, *, config: str = "", **settings: str) -> None:
        """`config` is TOML; `settings` are HOICHAN_ variables without that word, e.g. LISTENER__PLAIN."""
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.log_file = folder / "listener.jsonl"
        self.log_file.touch()
        (self.port,) = free_ports(1)
        self._ready = folder / "ready"
        self._config = folder / "hoichan.toml"
        self._config.write_text(config, encoding="utf-8")
        self._environment = {
            "HOICHAN_LISTENER__PORT": str(self.port),
            "HOICHAN_STORAGE__RESERVE_BYTES": "0",
            **{f"HOICHAN_{name}": value for name, value in settings.items()},
        }
        self.pid: int | None = None
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"],
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if not key.startswith("HOICHAN_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @property
    def spool(self) -> DiskSpool:
        """What lies on its disk."""
        return DiskSpool(self.data_dir / "spool")

    def start(self, *, processes: int = 1) -> None:
        """Start, and return when the door is open."""
        self._ready.unlink(missing_ok=True)
        files = {"--config": self._config, "--data-dir": self.data_dir, "--ready-file": self._ready}
        arguments = [str(word) for pair in files.items() for word in pair]
        environment = {"HOICHAN_LISTENER__PROCESSES": str(processes), **self._environment}
        order = {"start": arguments, "environment": environment, "log": str(self.log_file)}
        self.pid = self._ask(order)
        wait_until(self._is_open, seconds=START_SECONDS, what="the door is open")

    def kill(self) -> None:
        """kill -9; returns when it is dead."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as `systemctl stop` does."""
        assert self._end(signal.SIGTERM) == 0

    def close(self) -> None:
        """Whatever runs is ended."""
        if self.pid is not None:
            self.kill()
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        try:
            self._zygote.wait(STOP_SECONDS)
        finally:
            self._zygote.kill()
            assert self._zygote.stdout is not None
            self._zygote.stdout.close()

    def __enter__(self) -> DoorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> list[dict]:
        """Its log, line by line; a line that a kill has cut off is left out."""
        found = []
        for line in self.log_file.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def threads(self) -> int:
        """How many threads it has now."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def open_files(self) -> int:
        """How many files and sockets it has open now."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def connect(self, *, timeout: float = 20) -> socket.socket:
        """A plain connection to it."""
        return connected(self.port, timeout=timeout)

    def _end(self, number: signal.Signals) -> int:
        pid, self.pid = self.pid, None
        assert pid is not None
        os.kill(pid, number)
        return os.waitstatus_to_exitcode(self._ask({"wait": pid}))

    def _ask(self, order: dict) -> int:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(order) + "\n")
        return int(self._zygote.stdout.readline())

    def _is_open(self) -> bool:
        if not Path(f"/proc/{self.pid}").exists() or self._is_zombie():
            raise RuntimeError(f"the listener ended:\n{self.log_file.read_text(encoding='utf-8')[-2000:]}")
        return self._ready.exists()

    def _is_zombie(self) -> bool:
        status = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        return status.rpartition(")")[2].split()[0] in "ZX"


def connected(port: int, *, timeout: float = 20) -> socket.socket:
    """A plain connection that sends at once."""
    made = socket.create_connection(("127.0.0.1", port), timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
