"""What does the work on a study, and hands on what came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from hoichan.types import (
    Delivery,
    Document,
    InferenceResult,
    Instance,
    ModelManifest,
    Report,
    Series,
    Study,
    StudyInstanceUID,
    VolumeManifest,
    VolumeResult,
)

if TYPE_CHECKING:
    from pydicom import Dataset


class Runner(Protocol):
    """Executes one model on one instance. `RunnerFailed` or `InputOutOfDomain`, never a silent guess."""

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """Numbers and class activation maps of one image."""
        ...


class Outliner(Protocol):
    """Executes one network for volumes on one series. `RunnerFailed` or `InputOutOfDomain`, never a guess."""

    def headers(self, series: Series) -> Sequence[Dataset]:
        """The headers of its slices, by which it is chosen or refused."""
        ...

    def run(self, manifest: VolumeManifest, study: Study, series: Series) -> VolumeResult:
        """What is outlined and measured in a series that was chosen."""
        ...


class Encoder(Protocol):
    """Turns a report into the forms that receivers understand."""

    def encode(self, study: Study, report: Report) -> Sequence[Document]:
        """SC, SR and FHIR documents of one report, in sending order; reads the source images."""
        ...


class Sink(Protocol):
    """Gives one report to one receiver."""

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """The acknowledgement. Raises `Unreachable` (again later) or `Refused` (never by itself)."""
        ...


class Probe(Protocol):
    """Knocks at one receiver."""

    def __call__(self) -> None:
        """Returns when somebody answers, whatever he says. Raises `Unreachable`."""
        ...


class Heartbeats(Protocol):
    """Which workers live, told by one clock for all machines."""

    def beat(self, executor_id: str) -> None:
        """This worker lives."""
        ...

    def forget(self, executor_id: str) -> None:
        """This worker ended in order: its work may be taken over at once."""
        ...

    def alive(self, within_seconds: float) -> Sequence[str]:
        """The workers seen within the last seconds."""
        ...


class Engine(Protocol):
    """The durable work engine behind a thin port, so that another can take its place (ADR-0002)."""

    def enqueue_study(self, study: StudyInstanceUID, revision: int, run: int = 0, *, band: int = 2) -> None:
        """Have one revision analysed; the same call twice is one piece of work. A lower band goes first."""
        ...

    def gave_up(self, study: StudyInstanceUID, revision: int, run: int = 0) -> bool:
        """Whether this piece of work ended without being done, so that nothing will come of waiting."""
        ...

    def enqueue_delivery(self, delivery: Delivery) -> None:
        """Have one delivery tried; the same key and number of attempts twice is one piece of work."""
        ...

    def queued(self) -> Mapping[str, int]:
        """Waiting and running pieces of work by queue."""
        ...

    def trim(self, before: datetime) -> int:
        """Forget work that ended before a moment; returns how many pieces."""
        ...

    def reap(self, alive: Collection[str]) -> int:
        """Give the running work of executors that are not alive to others; returns how many pieces."""
        ...

    def close(self) -> None:
        """Stop taking work; what runs is taken up again after the next start."""
        ...
