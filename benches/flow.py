"""How long a film takes through the whole house: last C-STORE to SR in Orthanc, and to the report in an EMR.

    python -m benches.flow [--films 50] [--json]

The real chest film RG1 (1,955 x 1,841, 7 MB) is sent again and again as another study, each time when the
one before is delivered: this is the latency of one film in a quiet house. The clock starts when the sender
has its Success, and stops when Orthanc counts picture and SR, and when the EMR lists the report. The house
runs with its default settings, among them the quiet time after which a study counts as complete.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from hoichan.adapters.scu import Address, send
from hoichan.settings import Assembly, Work
from hoichan.testing.house import RunningHouse, wait_until, write_film
from hoichan.uids import derived_uid
from service.demo import films
from tests.peers.emr import Emr
from tests.peers.orthanc import Orthanc

PATIENTS = "https://hoichan.invalid/id/patient"
PATIENT_ID = "9RG1"  # of RG1
LABELS = {
    "pacs": "SR in Orthanc",
    "emr": "report in EMR",
    "ris": "message at RIS",
    "all": "all of them",
}
SUCCESS = 0x0000
WAIT_SECONDS = 120


def main() -> int:
    """Measure and print; exit code 1 when a film was not accepted."""
    parser = argparse.ArgumentParser(prog="benches.flow", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--films", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as name:
        seconds = measure(Path(name), options.films)
    quiet = Assembly().quiet_seconds
    figures = {
        "films": options.films,
        "quiet_seconds": quiet,
        **{name: quantiles(values) for name, values in seconds.items()},
    }
    if options.json:
        print(json.dumps(figures))
        return 0
    print(f"{options.films} films; of each figure {quiet:g} s are the quiet time after the last image")
    for name, label in LABELS.items():
        values = "  ".join(f"{one} {value:6.2f} s" for one, value in quantiles(seconds[name]).items())
        print(f"last C-STORE -> {label:<16} {values}")
    return 0


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum, in seconds."""
    return {
        "p50": round(float(np.quantile(seconds, 0.5)), 3),
        "p95": round(float(np.quantile(seconds, 0.95)), 3),
        "max": round(max(seconds), 3),
    }


def measure(folder: Path, count: int) -> dict[str, list[float]]:
    """Seconds from Success to each receiver, and to the last of them, one each a film."""
    seconds: dict[str, list[float]] = {name: [] for name in LABELS}
    defaults = {
        "HOICHAN_ASSEMBLY__QUIET_SECONDS": str(Assembly().quiet_seconds),
        "HOICHAN_WORK__POLL_SECONDS": str(Work().poll_seconds),
    }
    with Orthanc(folder / "orthanc") as pacs, Emr(folder / "emr") as emr, Ris() as ris:
        emr.create_patient(PATIENTS, PATIENT_ID)
        config = pacs.destination() + emr.destination() + ris.destination()
        with RunningHouse(folder / "house", config=config, environment=defaults) as house:
            for number in range(count + 1):  # the first one warms caches up and does not count
                path = write_film(a_film(number), folder / "films")
                (sent,) = send([path], Address.parse(house.address))
                began = time.monotonic()
                if sent.status != SUCCESS:
                    raise SystemExit(f"A film was answered with 0x{sent.status:04X}.")
                path.unlink()
                arrivals = watch(
                    {
                        "pacs": partial(has_documents, pacs, 2 * (number + 1)),
                        "emr": partial(has_reports, emr, number + 1),
                        "ris": lambda wanted=number + 1: ris.heard >= wanted,
                    }
                )
                if number:
                    for name, moment in {**arrivals, "all": max(arrivals.values())}.items():
                        seconds[name].append(moment - began)
    return seconds


class Ris:
    """python-hl7's receiver of messages, in a thread of its own."""

    def __init__(self) -> None:
        self.heard = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="ris")

    def __enter__(self) -> Ris:
        self._thread.start()
        if not self._ready.wait(WAIT_SECONDS):
            raise SystemExit("The receiver of messages did not start.")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(WAIT_SECONDS)

    def destination(self) -> str:
        """This receiver as a `[[destinations]]` of hoichan.toml."""
        return f'[[destinations]]\nname = "ris"\nkind = "hl7v2"\nhost = "127.0.0.1"\nport = {self.port}\n'

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        from hl7.mllp import start_hl7_server  # noqa: PLC0415

        async with await start_hl7_server(self._hear, host="127.0.0.1", port=0, encoding="utf-8") as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._ended.wait()

    async def _hear(self, reader: Any, writer: Any) -> None:  # noqa: ANN401 (untyped)
        message = await reader.readmessage()
        writer.writemessage(message.create_ack())
        await writer.drain()
        self.heard += 1
        writer.close()
        await writer.wait_closed()


def has_documents(pacs: Orthanc, count: int) -> bool:
    """Whether so many pictures and SRs have arrived; the SR comes last."""
    return pacs.count() >= count


def has_reports(emr: Emr, count: int) -> bool:
    """Whether so many reports have arrived."""
    return len(emr.search("DiagnosticReport")) >= count


def watch(signs: dict[str, Callable[[], bool]]) -> dict[str, float]:
    """When each sign was first seen, by the monotonic clock; each is looked for in a thread of its own."""
    seen: dict[str, float] = {}

    def look(name: str, sign: Callable[[], bool]) -> None:
        wait_until(sign, seconds=WAIT_SECONDS, what=name)
        seen[name] = time.monotonic()

    threads = [threading.Thread(target=look, args=pair) for pair in signs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seen) < len(signs):
        raise SystemExit("A film was not delivered in time.")
    return seen


def a_film(number: int) -> Dataset:
    """RG1 as a study of its own."""
    film = dcmread(films()[0])
    film.StudyInstanceUID = derived_uid("bench", "study", str(number))
    film.SeriesInstanceUID = derived_uid("bench", "series", str(number))
    film.SOPInstanceUID = UID(derived_uid("bench", "image", str(number)))
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return film


if __name__ == "__main__":
    raise SystemExit(main())
