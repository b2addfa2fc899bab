"""What the house needs from outside, as Protocols.

The real ones are in `hoichan.adapters`, the fakes in `hoichan.testing`; one contract test class
per port runs against both (tests/contracts).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from hoichan.types import (
    Delivery,
    Document,
    DocumentKind,
    InferenceResult,
    Instance,
    ModelManifest,
    Patient,
    Report,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)


class Clock(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the spool did with an object. Returned only after it is safe on disk."""

    sop_instance_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    path: PurePosixPath  # inside the spool
    duplicate: bool  # the same bytes were there before
    quarantined: str | None  # the reason, where it went to quarantine instead of the study


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """One file of a study as the spool holds it."""

    path: PurePosixPath  # inside the spool
    calling_ae_title: str
    received_at: datetime  # aware, UTC


class Notes(Protocol):
    """Small facts that outlive a power cut: JSON values, UIDs and counts only."""

    def write(self, path: PurePosixPath, note: Mapping[str, Any]) -> None:
        """Keep a note in the place of the former one. Raises SpoolFull."""
        ...

    def read(self, path: PurePosixPath) -> Mapping[str, Any] | None:
        """A note; None where there is none."""
        ...

    def names(self, folder: PurePosixPath) -> Sequence[PurePosixPath]:
        """The notes of a folder, in the order of their names."""
        ...

    def remove(self, path: PurePosixPath) -> None:
        """Take a note away, if it is there."""
        ...


class Incoming(Protocol):
    """A data set while it arrives. It ends with `keep` or `drop`."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append the next bytes; they are not looked at after the return. Raises SpoolFull."""
        ...

    def keep(self) -> Stored:
        """File what has arrived. Raises SpoolFull, NotDicom, IncompleteObject or WrongSopClass."""
        ...

    def drop(self) -> None:
        """Forget it: the sender broke off. From any thread, harmless after `keep` and more than once."""
        ...


class Spool(Protocol):
    """Where every door puts what it accepts, and the only tie between the doors and the house.

    Any number of doors, in threads and processes, may store at the same time: of two that bring the same SOP
    Instance UID one is first, and the other hears `duplicate` or `quarantined`.
    """

    def store(
        self,
        data_set: bytes,
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        calling_ae_title: str,
    ) -> Stored:
        """Keep one data set. Raises SpoolFull, NotDicom, IncompleteObject or WrongSopClass."""
        ...

    def receive(
        self, *, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, calling_ae_title: str
    ) -> Incoming:
        """Begin to keep a data set that arrives piece by piece. Raises SpoolFull."""
        ...

    def opened(self, study: StudyInstanceUID, association: str) -> None:
        """An association is still sending into this study."""
        ...

    def released(self, association: str) -> None:
        """An association ended, however it ended."""
        ...

    def take_fresh(self) -> Sequence[StudyInstanceUID]:
        """Studies with arrivals since the last call; each mark is cleared before its files are listed."""
        ...

    def mark_fresh(self, study: StudyInstanceUID) -> None:
        """Have this study looked at again."""
        ...

    def every_study(self) -> Sequence[StudyInstanceUID]:
        """All studies on disk, for the sweep after a start."""
        ...

    def listing(self, study: StudyInstanceUID) -> Sequence[Spooled]:
        """The files of one study, oldest first."""
        ...

    def is_open(self, study: StudyInstanceUID) -> bool:
        """Whether an association is still sending into this study."""
        ...

    def locate(self, instances: Collection[str]) -> Mapping[str, str]:
        """SOP Class UID by SOP Instance UID, of those instances that are filed and safe on disk."""
        ...

    @property
    def notes(self) -> Notes:
        """What the door and the house have to remember besides objects."""
        ...

    def file(self, path: PurePosixPath) -> Path:
        """The place on this machine of a path inside the spool."""
        ...

    def free_bytes(self) -> int:
        """Free space where the spool lies."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEntry:
    """One line of what happened to a study."""

    at: datetime
    event: str  # constant name, e.g. "study_assembled"
    details: Mapping[str, str | int | float | bool | None]  # identifiers and counts only


class Studies(Protocol):
    """The record of every study: one row per revision, one transaction per call that writes."""

    def add_arrivals(self, study: Study, arrivals: Sequence[Instance]) -> int:
        """Record instances that were not known; returns how many were new."""
        ...

    def current(self, study: StudyInstanceUID) -> Study | None:
        """The study with every instance recorded so far, assembled or not; None when it is unknown."""
        ...

    def receiving(self) -> Sequence[StudyInstanceUID]:
        """Studies with instances that no revision holds yet."""
        ...

    def assemble(self, study: Study) -> Study | None:
        """Close a revision over the given instances; None when they are all in the last revision already."""
        ...

    def load(self, study: StudyInstanceUID, revision: int) -> Study:
        """One revision. Raises StudyUnknown."""
        ...

    def latest_report_uid(self, study: StudyInstanceUID, *, before: int) -> SOPInstanceUID | None:
        """The report of the newest revision below `before`."""
        ...

    def save(
        self, study: Study, *, report: Report, documents: Sequence[Document], deliveries: Sequence[Delivery]
    ) -> bool:
        """Report, results, documents and deliveries in one transaction; False when already there."""
        ...

    def begin(self, study: StudyInstanceUID, revision: int) -> int:
        """Count one start of the analysis; returns how many starts, this one included, had no end."""
        ...

    def end(self, study: StudyInstanceUID, revision: int) -> None:
        """The analysis ended, well or badly, and its worker lives."""
        ...

    def fail(self, study: StudyInstanceUID, revision: int, *, code: str) -> None:
        """Mark a revision failed, with the code of the error."""
        ...

    def unfinished(self) -> Sequence[tuple[StudyInstanceUID, int, int]]:
        """Study, revision and run of what was assembled and has neither a report nor a failure."""
        ...

    def rerun(self, study: StudyInstanceUID) -> int | None:
        """Have the newest revision analysed again if it failed; its number, or None if it did not fail."""
        ...

    def take_up(self, study: StudyInstanceUID, revision: int) -> int | None:
        """Count another run of a revision whose work was given up; the run, or None when it has an answer."""
        ...

    def own(self, candidates: Sequence[SOPInstanceUID]) -> set[SOPInstanceUID]:
        """Those of the instances that are documents of ours, come back from a PACS."""
        ...

    def documents(self, delivery: Delivery) -> Sequence[Document]:
        """The kept bytes that one delivery has to hand over, in sending order."""
        ...

    def document(self, report: SOPInstanceUID, kind: DocumentKind) -> Document | None:
        """One form of a report, for the page; None when it was never made."""
        ...

    def delivery(self, idempotency_key: str) -> Delivery:
        """One delivery. Raises RecordsError when unknown."""
        ...

    def due(self, now: datetime, *, each: int | None = None, but: Collection[str] = ()) -> Sequence[Delivery]:
        """Deliveries to be tried now: for each study and receiver only the oldest that is not settled.

        The most urgent first, then the oldest; `each`: at most so many a receiver; `but`: none to these.
        """
        ...

    def acknowledged(self, idempotency_key: str, acknowledgement: str) -> None:
        """The receiver has it. The study becomes `delivered` with its last delivery."""
        ...

    def postponed(self, idempotency_key: str, *, detail: str, until: datetime) -> None:
        """No answer; try again at `until`."""
        ...

    def refused(self, idempotency_key: str, *, status: str) -> None:
        """The receiver said no: dead letter."""
        ...

    def overtaken(self, idempotency_key: str) -> bool:
        """Whether the receiver already has a newer report of the study: this one must not follow it."""
        ...

    def followed(self, idempotency_key: str) -> bool:
        """Whether a newer report of the study waits behind this one for the same receiver."""
        ...

    def withdrawn(self, idempotency_key: str, *, reason: str) -> None:
        """It will not be sent: overtaken by a newer report, or stopped by a person."""
        ...

    def revive(self, idempotency_key: str, *, even_sent: bool = False) -> None:
        """A person asked for a delivery to be sent now: a dead one, or one that waits for its next try.

        `even_sent`: also one that was acknowledged.
        """
        ...

    def deliveries(self, study: StudyInstanceUID) -> Sequence[Delivery]:
        """Every delivery of the study, oldest first."""
        ...

    def note(self, study: StudyInstanceUID, event: str, **details: str | int | float | bool | None) -> None:
        """Add a line to the trail."""
        ...

    def trail(self, study: StudyInstanceUID) -> Sequence[TrailEntry]:
        """The trail, oldest first."""
        ...


class Objects(Protocol):
    """Bytes by their SHA-256: written once, whole or not at all, never changed.

    Every method raises RecordsUnavailable while the store is away: the same call can succeed later.
    """

    def put(self, content: bytes) -> Sha256:
        """Keep the bytes; on return they outlive a power cut. The same bytes twice are kept once."""
        ...

    def get(self, digest: Sha256) -> bytes:
        """The bytes. Raises ObjectUnknown where there are none, RecordsUnavailable where they are damaged."""
        ...

    def has(self, digest: Sha256) -> bool:
        """Whether the bytes are there."""
        ...

    def remove(self, digest: Sha256) -> None:
        """Take the bytes away, if they are there."""
        ...

    def every(self) -> Iterator[Sha256]:
        """All digests, in no order."""
        ...


class Originals(Protocol):
    """Received files beyond the machine that received them. Every method may raise RecordsUnavailable."""

    def share(self, instance: Instance) -> None:
        """Have every machine able to read a file of this one. Raises IntakeError where it is damaged."""
        ...

    def set_aside_if_other(self, instance: Instance, spooled: Spooled) -> bool:
        """Put a file of this machine into quarantine where the record of its UID is of other bytes."""
        ...


class Runner(Protocol):
    """Executes one model on one instance. `RunnerFailed` or `InputOutOfDomain`, never a silent guess."""

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """Numbers and class activation maps of one image."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One study as an archive has it."""

    study_instance_uid: StudyInstanceUID
    instances: int | None = None  # (0020,1208); None: the archive does not say
    modalities: tuple[str, ...] = ()  # (0008,0061); empty: the archive does not say
    study_datetime: datetime | None = None  # aware, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What came to an archive since a mark."""

    holdings: Sequence[Holding]
    mark: str  # for the next question, once these are written down


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of fetching."""

    stored: int  # instances that are safe in the spool, those that were there before included
    failed: int  # that the archive did not give, or that could not be taken
    code: str = ""  # of the last failure


class Archive(Protocol):
    """A PACS that is asked for what it has. Every call raises Unreachable (again later) or Refused."""

    def changes(self, mark: str | None, *, now: datetime) -> Changes:
        """What came since the mark, and perhaps more; None: within the first window."""
        ...

    def holding(self, study: StudyInstanceUID) -> Holding | None:
        """One study; None when it is not there."""
        ...

    def instances(self, study: StudyInstanceUID) -> Mapping[SOPInstanceUID, SeriesInstanceUID]:
        """Every instance of a study, with its series."""
        ...

    def studies_of(self, patient: Patient) -> Sequence[Holding]:
        """Every study of one person, by the patient's number; none where that is empty or has wildcards."""
        ...

    def fetch(self, study: StudyInstanceUID, wanted: Mapping[SOPInstanceUID, SeriesInstanceUID]) -> Fetched:
        """Brings instances of a study into the spool. Raises SpoolFull, too."""
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
