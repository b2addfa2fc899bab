"""What a worker counts and says about itself, for `/metrics` and `/readyz`, which run in another process.

Runner and sinks are counted from outside, so the pipeline and the outbox do not know of it. A thread tells
the database every few seconds; while that is away the counts wait. Kill -9 costs what was counted since.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import structlog

from hoichan import __version__
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.errors import HoichanError, InputOutOfDomain, Refused, RunnerFailed, Unreachable
from hoichan.meters import (
    ANALYSES_FAILED,
    DELIVERY_ATTEMPTS,
    DELIVERY_SECONDS,
    INFERENCE_SECONDS,
    MODEL_RUNS,
    REPORT_DELAY_SECONDS,
    REPORTS,
    Tally,
)
from hoichan.ports import Outliner, Runner, Sink
from hoichan.types import (
    Delivery,
    Document,
    InferenceResult,
    Instance,
    ModelManifest,
    Report,
    Series,
    Study,
    VolumeManifest,
    VolumeResult,
)

if TYPE_CHECKING:
    from pydicom import Dataset

log = structlog.get_logger()

TELL_SECONDS = 5.0
STOP_SECONDS = 10.0


@runtime_checkable
class Loads(Protocol):
    """A runner that can open a model before the first image needs it."""

    def wanted_provider(self, manifest: ModelManifest) -> str:
        """The execution provider that this model is asked for."""
        ...

    def load(self, manifest: ModelManifest) -> str:
        """The execution provider that the opened model really has. Raises RunnerFailed."""
        ...


@contextmanager
def _counted(tally: Tally, manifest: ModelManifest | VolumeManifest) -> Iterator[None]:
    """One run of a model: how long an answer took, and what came of it."""
    outcome, began = "failed", time.monotonic()
    try:
        yield
        outcome = "answered"
        tally.observe(INFERENCE_SECONDS, manifest.name, value=time.monotonic() - began)
    except InputOutOfDomain:
        outcome = "out_of_domain"
        raise
    finally:
        tally.add(MODEL_RUNS, manifest.name, manifest.algorithm_version, outcome)


class MeteredRunner:
    """A runner whose images are counted."""

    def __init__(self, runner: Runner, tally: Tally) -> None:
        self._runner = runner
        self._tally = tally

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """As the runner; whatever comes of it is counted."""
        with _counted(self._tally, manifest):
            return self._runner.run(manifest, study, instance)


class MeteredOutliner:
    """An outliner whose series are counted, as images are."""

    def __init__(self, outliner: Outliner, tally: Tally) -> None:
        self._outliner = outliner
        self._tally = tally

    def headers(self, series: Series) -> Sequence[Dataset]:
        """As the outliner."""
        return self._outliner.headers(series)

    def run(self, manifest: VolumeManifest, study: Study, series: Series) -> VolumeResult:
        """As the outliner; whatever comes of it is counted."""
        with _counted(self._tally, manifest):
            return self._outliner.run(manifest, study, series)


class MeteredSink:
    """A sink whose tries are counted."""

    def __init__(self, sink: Sink, destination: str, tally: Tally) -> None:
        self._sink = sink
        self._destination = destination
        self._tally = tally

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """As the sink; whatever comes of it is counted."""
        outcome, began = "failed", time.monotonic()
        try:
            acknowledgement = self._sink.deliver(delivery, documents)
            outcome = "acknowledged"
            return acknowledgement
        except Unreachable:
            outcome = "unreachable"
            raise
        except Refused:
            outcome = "refused"
            raise
        finally:
            self._tally.add(DELIVERY_ATTEMPTS, self._destination, outcome)
            self._tally.observe(DELIVERY_SECONDS, self._destination, value=time.monotonic() - began)


class Metering:
    """One worker's counts, and the thread that tells them."""

    def __init__(
        self, vitals: VitalsSql, worker: str, manifests: Sequence[ModelManifest], runner: Runner
    ) -> None:
        self.tally = Tally()
        self.runner: Runner = MeteredRunner(runner, self.tally)
        self._vitals = vitals
        self._worker = worker
        self._manifests = manifests
        self._loads = runner if isinstance(runner, Loads) else None
        self._models: list[dict[str, Any]] = []
        self.receivers = 0  # version of the page's receivers that this worker runs with
        self.receivers_refused: tuple[int, str] | None = None  # a version that it cannot follow, and why
        self.receivers_left_out: Mapping[str, str] = {}  # what it had to leave out, and why
        self._stop = threading.Event()
        self._open_again = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metering", daemon=True)

    def sinks(self, sinks: Mapping[str, Sink]) -> dict[str, Sink]:
        """The sinks, counted."""
        return {name: MeteredSink(sink, name, self.tally) for name, sink in sinks.items()}

    def outliner(self, outliner: Outliner) -> Outliner:
        """The outliner, counted."""
        return MeteredOutliner(outliner, self.tally)

    def reported(self, study: Study, report: Report) -> None:
        """A report was saved."""
        self.tally.add(REPORTS, str(report.outcome))
        received = [instance.received_at for instance in study.instances]
        if received:
            delay = (report.created_at - max(received)).total_seconds()
            self.tally.observe(REPORT_DELAY_SECONDS, value=delay)

    def failed(self, code: str) -> None:
        """A revision failed for good."""
        self.tally.add(ANALYSES_FAILED, code)

    def start(self) -> None:
        """Begin to tell. The thread opens the models first, so that the worker need not wait for them."""
        self._thread.start()

    def changed(self, manifests: Sequence[ModelManifest]) -> None:
        """Other models are in use now: the thread opens them with its next round."""
        self._manifests = manifests
        self._open_again.set()

    def close(self) -> None:
        """Tell a last time."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_SECONDS)
        self._step()

    def open_models(self) -> None:
        """Open every model, and note which provider each really has."""
        self._models = [self._opened(manifest) for manifest in self._manifests]

    def tell(self) -> None:
        """Write down what was counted, and how this worker is. Raises RecordsUnavailable."""
        counts = self.tally.take()
        try:
            self._vitals.add(counts)
        except Exception:
            self.tally.give_back(counts)
            raise
        skew = self._vitals.skew_seconds()
        self._vitals.tell(
            self._worker,
            {
                "version": __version__,
                "host": socket.gethostname(),
                "models": self._models,
                "receivers": self.receivers,
                "receivers_refused": list(self.receivers_refused or ()),
                "receivers_left_out": dict(self.receivers_left_out),
                "clock_skew_seconds": round(skew, 3),
            },
        )

    def _opened(self, manifest: ModelManifest) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "name": manifest.name,
            "version": manifest.algorithm_version,
            "status": str(manifest.status),
        }
        if self._loads is None:  # a model elsewhere: whether it is there shows with the first image
            return {**facts, "loaded": True, "provider": "remote", "wanted": "remote"}
        wanted = self._loads.wanted_provider(manifest)
        try:
            return {**facts, "loaded": True, "provider": self._loads.load(manifest), "wanted": wanted}
        except RunnerFailed as error:
            log.error("model_not_loaded", model=manifest.name, code=error.code)
            return {**facts, "loaded": False, "provider": "", "wanted": wanted, "code": error.code}

    def _run(self) -> None:
        self.open_models()
        self._step()
        while not self._stop.wait(TELL_SECONDS):
            if self._open_again.is_set():
                self._open_again.clear()
                self.open_models()
            self._step()

    def _step(self) -> None:
        try:
            self.tell()
        except Exception as error:  # noqa: BLE001  the outermost loop of this thread
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            log.error("metering_failed", code=code)
