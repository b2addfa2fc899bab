"""Films a minute with one, two and four workers on PostgreSQL, with a model elsewhere that takes 200 ms.

    python -m benches.scale_workers [--films 60] [--workers 1 2 4] [--seconds 0.2] [--json]

The model is a small HTTP server that waits and answers, as a remote inference server would: a worker spends
no processor time on it. So the figure says what the house around the model costs, and where it stops growing.
Each round has a database and a spool of its own; the films are stored before the workers start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import sqlalchemy as sa

from hoichan import settings
from hoichan.adapters import logs
from hoichan.adapters.database import open_database
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import RunnerFailed
from hoichan.testing.datasets import encode
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeClock, FakeRunner
from hoichan.testing.reports import a_film
from hoichan.types import InferenceResult, Instance, ModelManifest, Study
from service import wiring, worker
from service.processes import stop_event
from tests.peers.postgresql import PostgreSQL

ENDED = ("delivered", "not_analysed", "reported")
WAIT_SECONDS = 600
WARM_FILMS = 5  # of each worker, before the rate counts: the first loads the libraries of its documents


class RemoteRunner:
    """Asks the server, which waits; the numbers are invented here."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=60)
        self._numbers = FakeRunner(FakeClock())

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """The answer, when it has come."""
        if self._client.post("/infer", content=b"{}").status_code != 200:
            raise RunnerFailed
        return self._numbers.run(manifest, study, instance)


class _Waits(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seconds = 0.2

    def do_POST(self) -> None:
        """Wait, then answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        threading.Event().wait(self.seconds)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def model_server(seconds: float) -> Iterator[str]:
    """The address of a server on the loopback that waits so long."""
    handler = type("Waits", (_Waits,), {"seconds": seconds})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def work(url: str, data_dir: Path, ready: Path) -> None:
    """One worker process whose models are elsewhere."""
    logs.configure("work")
    wiring.runner = lambda house: RemoteRunner(url)  # type: ignore[assignment]  # this process is the bench's
    worker.main(
        settings.load(None, data_dir=data_dir), stop=stop_event(stdin_lifeline=True), ready_file=ready
    )


def one_round(server: PostgreSQL, url: str, workers: int, films: int) -> dict[str, float]:
    """Films a second once all workers are ready, and the processor time of a film in workers and database."""
    with tempfile.TemporaryDirectory(prefix="hoichan-workers-") as name:
        folder = Path(name)
        database = server.database(f"bench{workers}_{os.getpid()}")
        _store(folder / "data", films)
        environment = {
            **os.environ,
            "HOICHAN_STORAGE__DATABASE": database,
            "HOICHAN_STORAGE__RESERVE_BYTES": "0",
            "HOICHAN_ASSEMBLY__QUIET_SECONDS": "0",
            "HOICHAN_WORK__ANALYSE_CONCURRENCY": "1",
            "HOICHAN_WORK__POLL_SECONDS": "0.25",
        }
        wiring.open_house(
            settings.Settings.model_validate({"storage": {"data_dir": folder / "data", "database": database}})
        ).engine.dispose()
        processes = [_start(url, folder, number, environment) for number in range(workers)]
        engine = open_database(database)
        try:
            ready = [folder / f"{number}.ready" for number in range(workers)]
            wait_until(lambda: all(file.exists() for file in ready), seconds=WAIT_SECONDS, what="all work")
            started = _spent(processes, server)[0]
            warm = WARM_FILMS * workers
            wait_until(
                lambda: _ended(engine) >= warm, seconds=WAIT_SECONDS, what="each has read its first films"
            )
            done_before, spent_before = _ended(engine), _spent(processes, server)
            wait_until(lambda: _ended(engine) == films, seconds=WAIT_SECONDS, what="every film is reported")
            spent = _spent(processes, server)
            times = _report_times(engine)
        finally:
            engine.dispose()
            for process in processes:
                if process.stdin is not None:
                    process.stdin.close()
            for process in processes:
                process.wait(60)
        each = [
            (after - before) / (films - done_before)
            for before, after in zip(spent_before, spent, strict=True)
        ]
        return {
            "workers": workers,
            "films_per_second": round((films - done_before - 1) / (times[-1] - times[done_before]), 2),
            "start_cpu_seconds": round(started / workers, 2),
            "worker_cpu_seconds_per_film": round(each[0], 3),
            "database_cpu_seconds_per_film": round(each[1], 3),
        }


def _spent(processes: list[subprocess.Popen[bytes]], server: PostgreSQL) -> tuple[float, float]:
    """Processor seconds of the workers and of the database until now, of what lives of both."""
    postmaster = server.process.pid
    backends = [
        int(one.name)
        for one in Path("/proc").iterdir()
        if one.name.isdigit() and _stat(int(one.name))[1:2] == [str(postmaster)]
    ]
    return sum(_cpu(one.pid) for one in processes), sum(map(_cpu, [postmaster, *backends]))


def _stat(pid: int) -> list[str]:
    """The fields of a process behind its name: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:  # ended meanwhile
        return []


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _store(data_dir: Path, films: int) -> None:
    spool = DiskSpool(data_dir / "spool")
    for number in range(films):
        film = a_film(f"worker {number}", rows=64, columns=56)
        spool.store(
            encode(film),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            sop_class_uid=str(film.SOPClassUID),
            sop_instance_uid=str(film.SOPInstanceUID),
            calling_ae_title="BENCH",
        )


def _start(url: str, folder: Path, number: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "benches.scale_workers",
        "--work",
        url,
        "--data-dir",
        str(folder / "data"),
    ]
    log = (folder / f"{number}.log").open("wb")
    return subprocess.Popen(
        [*command, "--ready-file", str(folder / f"{number}.ready")],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
    )


def _ended(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM reports")).scalar_one())


def _report_times(engine: sa.Engine) -> list[float]:
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SELECT extract(epoch FROM at) FROM trail WHERE event = 'report_saved' ORDER BY at")
        )
        return [float(row[0]) for row in found]


def _told(one: dict[str, float]) -> str:
    return (
        f"{one['workers']:.0f} workers: {one['films_per_second']:6.2f} films/s, "
        f"{one['of_linear']:.2f} of linear, "
        f"{one['worker_cpu_seconds_per_film'] * 1000:.0f} ms of processor a film in the worker, "
        f"{one['database_cpu_seconds_per_film'] * 1000:.0f} ms in the database, "
        f"{one['start_cpu_seconds']:.1f} s to start a worker"
    )


def main() -> int:
    """Measure and print; exit code 0."""
    parser = argparse.ArgumentParser(
        prog="benches.scale_workers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--films", type=int, default=60, help="for each worker")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", default="", help=argparse.SUPPRESS)
    parser.add_argument("--data-dir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ready-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.data_dir, options.ready_file)
        return 0
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as name, model_server(options.seconds) as url:
        server = PostgreSQL(Path(name))
        try:
            rounds = []
            for count in options.workers:
                rounds.append(one_round(server, url, count, options.films * count))
                first = rounds[0]["films_per_second"] / rounds[0]["workers"]
                rounds[-1]["of_linear"] = round(rounds[-1]["films_per_second"] / (first * count), 2)
                if not options.json:
                    print(_told(rounds[-1]), flush=True)
        finally:
            server.stop()
    if options.json:
        print(json.dumps(rounds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
