"""The service in processes of its own, started and asked by its commands only, as its users do it.

For acceptance tests, kill tests and benchmarks. Everything lies in one folder; the ports are free ones that
stay the same when a role is started again. Whatever was started is stopped by its process id.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from pydicom import Dataset

T = TypeVar("T")
START_SECONDS = 90.0  # three interpreters with their libraries, on a machine that is busy
STOP_SECONDS = 40.0
COMMAND_SECONDS = 180.0
ROLES = {  # last word that tells the role
    "dicom_listener": "listen",
    "service.work_main": "work",
    "service.web_main": "web",
    **{word: word for word in ("work", "web", "orders")},
}
HOICHAN = Path(sys.executable).with_name("hoichan")


def wait_until(ask: Callable[[], T], *, seconds: float, what: str) -> T:
    """The first answer that is true, asked again and again. Raises TimeoutError with `what` never came."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        pause.wait(0.05)
    return answer


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of the loopback that nobody listens on."""
    with ExitStack() as held:
        doors = [held.enter_context(socket.socket()) for _ in range(count)]
        for door in doors:
            door.bind(("127.0.0.1", 0))
        return [int(door.getsockname()[1]) for door in doors]


def write_film(film: Dataset, folder: Path) -> Path:
    """The film as a file that is named by its SOP Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{film.SOPInstanceUID}.dcm"
    film.save_as(path, enforce_file_format=True)
    return path


class RunningHouse:
    """`hoichan up` in one folder. Stopped house: the commands that read still work."""

    def __init__(
        self, folder: Path, *, config: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        """`config` is TOML; `environment` has further HOICHAN_ variables. Quick unless they say otherwise."""
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.config = folder / "hoichan.toml"
        self.log_file = folder / "log.jsonl"
        self.config.write_text(config, encoding="utf-8")
        self.port, self.web_port = free_ports(2)
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HOICHAN_")},
            "HOICHAN_LISTENER__PORT": str(self.port),
            "HOICHAN_WEB__PORT": str(self.web_port),
            "HOICHAN_ASSEMBLY__QUIET_SECONDS": "0.3",
            "HOICHAN_WORK__FIRST_RETRY_SECONDS": "0.5",
            "HOICHAN_WORK__LONGEST_PROBE_SECONDS": "2",
            "HOICHAN_STORAGE__RESERVE_BYTES": "0",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """AE@host:port of the DICOM door."""
        return f"HOICHAN@127.0.0.1:{self.port}"

    @property
    def page(self) -> str:
        """The URL of the page."""
        return f"http://127.0.0.1:{self.web_port}/"

    # ------------------------------------------------------------------------------------------------ life
    def start(self, *arguments: str) -> None:
        """Start, by default with `up`, and return when it says that it is ready. Raises RuntimeError."""
        begin = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [HOICHAN, *(arguments or ("up",)), *self._files()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

        def is_ready() -> bool:
            if self._supervisor.poll() is not None:
                raise RuntimeError(f"ended with {self._supervisor.returncode}:\n{self.log()}")
            return re.search(r"^Ready\. ", self.log()[begin:], re.MULTILINE) is not None

        wait_until(is_ready, seconds=START_SECONDS, what="the service is ready")

    def stop(self) -> int:
        """End it as Ctrl-C does; the exit code."""
        if self._process is None:
            return 0
        children = [pid for pid, _ in self._children()]
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._bury(children)
            self._process = None

    def kill(self, role: str) -> None:
        """kill -9 of `listen`, `work`, `web`, or of `up` that holds them; returns when it is dead."""
        if role == "up":
            children = [pid for pid, _ in self._children()]
            self._supervisor.kill()
            self._supervisor.wait()
            self._bury(children)  # they go by themselves
            self._process = None
            return
        pid = self.pids()[role]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _lives(pid), seconds=STOP_SECONDS, what=f"{role} is dead")

    @property
    def pid(self) -> int:
        """The process that holds the others."""
        return self._supervisor.pid

    def pids(self) -> dict[str, int]:
        """The process of each role that runs now."""
        return {role: pid for pid, role in self._children()}

    def __enter__(self) -> RunningHouse:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -------------------------------------------------------------------------------------------- commands
    def run(self, *arguments: str, check: bool = False, told: str = "") -> subprocess.CompletedProcess[str]:
        """One command with this house's configuration; `told` is what it reads.

        `check`: RuntimeError unless it exits with 0.
        """
        return self._run([*arguments, *self._files()], check=check, told=told)

    def send(
        self, *paths: Path, calling: str = "CR_ROOM1", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """`hoichan send` of files to this house's door."""
        return self._run(
            ["send", *map(str, paths), "--to", self.address, "--from", calling],
            check=check,
        )

    def status(self) -> dict[str, Any]:
        """`hoichan status --json`."""
        answer: dict[str, Any] = json.loads(self.run("status", "--json", check=True).stdout)
        return answer

    def trail(self, study: str) -> list[dict[str, Any]]:
        """`hoichan study UID --json`; empty when the study is unknown."""
        answer = self.run("study", study, "--json")
        trail: list[dict[str, Any]] = json.loads(answer.stdout) if answer.returncode == 0 else []
        return trail

    # --------------------------------------------------------------------------------------- what it wrote
    def events(self, study: str) -> list[str]:
        """The names in the study's trail, asked of the page's server; empty when the study is unknown."""
        try:
            answer = json.loads(self.get(f"api/v1/studies/{study}/trail"))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == HTTPStatus.NOT_FOUND:
                return []
            raise
        return [entry["event"] for entry in answer["items"]]

    def wait_for_event(self, study: str, event: str, *, number: int = 1, seconds: float = 60) -> None:
        """Until the study's trail names an event so many times."""
        wait_until(
            lambda: self.events(study).count(event) >= number, seconds=seconds, what=f"{number} x {event}"
        )

    def get(self, path: str = "") -> str:
        """The text that the page's server answers to one path."""
        with urllib.request.urlopen(self.page + path, timeout=30) as answer:
            text: str = answer.read().decode("utf-8")
            return text

    def log(self) -> str:
        """Everything the processes wrote to standard output and error."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def reports(self, study: str) -> list[Path]:
        """The folders of the study's reports in the outbox, oldest first."""
        folder = self.data_dir / "outbox" / study
        found = (
            [entry for entry in folder.iterdir() if (entry / "sr.dcm").exists()] if folder.is_dir() else []
        )
        return sorted(found, key=lambda entry: (entry / "sr.dcm").stat().st_mtime_ns)

    def wait_for_report(self, study: str, *, number: int = 1, seconds: float = 60) -> Path:
        """The newest report's folder once there are `number` of them, whole."""

        def whole() -> list[Path]:
            found = self.reports(study)
            ready = len(found) >= number and (found[-1] / "report.fhir.json").exists()
            return found if ready else []

        return wait_until(whole, seconds=seconds, what=f"report {number} of a study")[-1]

    # --------------------------------------------------------------------------------------------- private
    @property
    def _supervisor(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the house was not started")
        return self._process

    def _files(self) -> list[str]:
        return ["--config", str(self.config), "--data-dir", str(self.data_dir)]

    def _run(self, arguments: list[str], *, check: bool, told: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [HOICHAN, *arguments],
            input=told,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=self._environment,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"hoichan {arguments[0]} ended with {done.returncode}: {done.stderr}")
        return done

    def _children(self) -> Iterator[tuple[int, str]]:
        """(process id, role) of the supervisor's living children."""
        if self._process is None:
            return
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ended meanwhile
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                if parent != self._process.pid:
                    continue
                words = (status.parent / "cmdline").read_text().split("\0")
                role = next((ROLES[word] for word in words if word in ROLES), None)
                if role is not None:
                    yield int(status.parent.name), role

    def _bury(self, children: list[int]) -> None:
        """Children must go when their supervisor does; one that stays is ended, and that is a failure."""
        try:
            wait_until(
                lambda: not any(_lives(pid) for pid in children), seconds=STOP_SECONDS, what="children end"
            )
        finally:
            for pid in filter(_lives, children):
                os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
