"""Where the processor time of one film goes, from the spool to its delivered documents, step by step.

    python -m benches.one_film [--films 6] [--film RG1|drawn] [--json] [--profile FILE]

The steps of a worker without its engine: record and close (`Arrivals`), analyse (`Analyst`: select, score,
compose, encode, save) and hand over (`Outbox`) to a PACS, an EMR and a RIS that take everything at once.
SQLite, one thread. Figures are medians of processor time of this process (user and system), which other work
on the machine changes little; the first film warms caches up and does not count. `--profile` writes what
cProfile saw of the other films, for `pstats`.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from benches.inference import drawn_film
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.imaging import read_picture
from hoichan.ports import Runner
from hoichan.settings import Settings
from hoichan.testing.datasets import encode
from hoichan.testing.sinks import FakeSink
from hoichan.types import DeliveryState, InferenceResult, Instance, ModelManifest, Study, StudyInstanceUID
from hoichan.uids import derived_uid
from service import wiring
from service.analyst import Analyst
from service.arrivals import Arrivals
from service.demo import films
from service.order_of_work import Line
from service.outbox import Outbox

DESTINATIONS = [
    {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 1, "ae_title": "PACS",
     "send": ["sc", "gsps", "sr"], "wait_for_images_seconds": 0},
    {"name": "emr", "kind": "fhir", "url": "http://127.0.0.1:1/fhir"},
    {"name": "ris", "kind": "hl7v2", "host": "127.0.0.1", "port": 1},
]  # fmt: skip
T = TypeVar("T")


class Stopwatch:
    """Adds up processor time by the name of a step."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step; what it needs is added to what it needed before."""
        began = time.process_time()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began

    def of(self, name: str, call: Callable[..., T]) -> Callable[..., T]:
        """The same call, with its time under this name."""

        def timed(*arguments: object, **named: object) -> T:
            with self.step(name):
                return call(*arguments, **named)

        return timed


class Timed:
    """Each call of a method of another object, with its time under a name; the rest is handed through."""

    def __init__(self, inner: object, watch: Stopwatch, **names: str) -> None:
        self._inner, self._watch, self._names = inner, watch, names

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the other has)
        found = getattr(self._inner, name)
        return self._watch.of(self._names[name], found) if name in self._names else found


class OpenRunner:
    """A runner whose gate lets everything through: a drawn film is no chest."""

    def __init__(self, inner: Runner) -> None:
        self._inner = inner

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """As the runner does."""
        accepts = replace(manifest.accepts, gate_operating_point=0.0)
        return self._inner.run(replace(manifest, accepts=accepts), study, instance)


class NoEngine:
    """The bench does at once what an engine would be asked for."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


class OneHouse:
    """The worker's parts in this process, on a folder of its own."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self.settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder, "reserve_bytes": 0},
                "assembly": {"quiet_seconds": 0},
                "destinations": DESTINATIONS,
            }
        )
        self.watch = Stopwatch()
        self.house = house = wiring.open_house(self.settings)
        roster = wiring.roster(house)
        studies: Any = Timed(house.studies, self.watch, save="save")
        runner: Any = Timed(
            OpenRunner(self._onnx(threads)),
            self.watch,
            run="score",
        )
        self.analyst = Analyst(
            house=replace(house, studies=studies),
            roster=roster,
            runner=runner,
            outliner=wiring.outliner(house),
            encoder=Timed(wiring.encoder(house), self.watch, encode="encode"),  # type: ignore[arg-type]
            corrections=wiring.corrections(house),
            priors=wiring.asking(house, {}).priors.gather,
        )
        engine: Any = NoEngine()
        line = Line(house.work, house.studies, engine, house.clock, self.settings, lambda study: ["cxr-demo"])
        self.arrivals = Arrivals(
            house.spool,
            house.studies,
            line,
            house.clock,
            self.settings,
            originals=house.spool.originals,
            corrections=wiring.corrections(house),
        )
        self.outbox = Outbox(
            house.studies,
            {one["name"]: FakeSink() for one in DESTINATIONS},
            house.clock,
            self.settings.work,
            house.work,
        )

    def _onnx(self, threads: int) -> Runner:
        house = self.house
        return OnnxRunner(
            lambda path: Path(house.spool.file(path)), house.clock, threads=threads, films=house.films
        )

    def one(self, film: Dataset) -> dict[str, float]:
        """Processor seconds of each step of one film, from its file in the spool."""
        self.house.spool.store(
            encode(film),
            transfer_syntax_uid=str(film.file_meta.TransferSyntaxUID),
            sop_class_uid=str(film.SOPClassUID),
            sop_instance_uid=str(film.SOPInstanceUID),
            calling_ae_title="BENCH",
        )
        uid = StudyInstanceUID(str(film.StudyInstanceUID))
        self.watch.spent = {}
        with self.watch.step("record and close"):
            self.arrivals.step()
        with self.watch.step("analyse"):
            self.house.studies.begin(uid, 1)
            self.analyst.analyse(uid, 1)
            self.house.studies.end(uid, 1)
        with self.watch.step("hand over"):
            for delivery in self.house.studies.deliveries(uid):
                self.outbox.deliver(delivery.idempotency_key)
        states = {one.state for one in self.house.studies.deliveries(uid)}
        if states != {DeliveryState.SENT}:
            raise SystemExit(f"Not everything was delivered: {sorted(states)}")
        spent = dict(self.watch.spent)
        spent["analyse: the rest"] = spent.pop("analyse") - sum(spent[n] for n in ("score", "encode", "save"))
        return spent


def numbered(film: Dataset, number: int) -> Dataset:
    """The same film as a study of its own."""
    film.StudyInstanceUID = derived_uid("bench", "study", str(number))
    film.SeriesInstanceUID = derived_uid("bench", "series", str(number))
    film.SOPInstanceUID = UID(derived_uid("bench", "image", str(number)))
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return film


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benches.one_film", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--films", type=int, default=6)
    parser.add_argument("--film", choices=("RG1", "drawn"), default="RG1")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    film = dcmread(films()[0])
    if options.film == "drawn":
        film = drawn_film(read_picture(Path("models/cxr-demo/golden/chest_phantom.png")).pixels)
    profile = cProfile.Profile() if options.profile else None
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as folder:
        house = OneHouse(Path(folder), threads=options.threads)
        found = []
        for number in range(options.films + 1):
            if number == 1 and profile is not None:
                profile.enable()
            spent = house.one(numbered(film, number))
            found.append(spent) if number else None
        if profile is not None:
            profile.disable()
            profile.dump_stats(options.profile)
        house.house.engine.dispose()
    figures = {name: round(1000 * statistics.median(one[name] for one in found), 1) for name in found[0]}
    figures["in all"] = round(1000 * statistics.median(sum(one.values()) for one in found), 1)
    if options.json:
        print(json.dumps(figures))
        return 0
    print(f"{options.films} films; milliseconds of processor a film")
    for name, value in figures.items():
        print(f"{name:20} {value:8.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
