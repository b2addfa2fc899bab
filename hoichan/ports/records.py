"""The record of every study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hoichan.types import (
    Delivery,
    Document,
    DocumentKind,
    Instance,
    Refusal,
    Report,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)


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
        """The machine's newest report of the revisions below `before`."""
        ...

    def told(
        self, study: StudyInstanceUID, revision: int
    ) -> Sequence[tuple[SOPInstanceUID, SOPInstanceUID | None]]:
        """The machine's reports up to a revision with what each replaced, newest first."""
        ...

    def save(
        self, study: Study, *, report: Report, documents: Sequence[Document], deliveries: Sequence[Delivery]
    ) -> bool:
        """Report, results, documents and deliveries in one transaction; False when already there."""
        ...

    def answer(self, study: Study) -> Report | None:
        """The machine's report of just this revision that stands, as it is kept; None: there is none."""
        ...

    def keep(self, study: Study, *, answer: SOPInstanceUID, unheard: Sequence[Refusal]) -> bool:
        """End a repetition that came to nothing: the answer stands, and the trail says why nobody was heard.

        False, and nothing is changed, where that answer does not stand any more.
        """
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

    def rejected(self, study: StudyInstanceUID) -> frozenset[SOPInstanceUID]:
        """The images of a study that notes took back, those notes included that lie elsewhere."""
        ...

    def reject(
        self,
        study: StudyInstanceUID,
        named: Collection[SOPInstanceUID],
        *,
        note: SOPInstanceUID,
        title: str,
        revise: bool,
    ) -> int | None:
        """Write down what a note takes back; `revise`: by a revision of its own, whose number is returned."""
        ...

    def take_back(
        self, study: StudyInstanceUID, named: Collection[SOPInstanceUID], *, note: SOPInstanceUID, title: str
    ) -> Collection[SOPInstanceUID]:
        """Have the report that stands taken back from its receivers, if a note names its SR; which ones."""
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

    def begin_try(self, idempotency_key: str) -> int:
        """Count one start of a try; how many, this one included, had no end. 0: it does not wait any more.

        Every word about the delivery (`acknowledged`, `postponed`, `refused`, …) ends the count.
        """
        ...

    def forgive_try(self, idempotency_key: str) -> None:
        """A start does not count: its worker lives, or was asked to end."""
        ...

    def set_aside(self, idempotency_key: str, *, attempts: int, status: str) -> None:
        """The try killed who made it: dead letter, unless something was said of it since `attempts`."""
        ...

    def acknowledged(self, idempotency_key: str, acknowledgement: str) -> None:
        """The receiver has it. The study becomes `delivered` with its last delivery."""
        ...

    def postponed(
        self, idempotency_key: str, *, detail: str, until: datetime, not_taken: bool = False
    ) -> None:
        """No answer, or `not_taken` for certain: then newer reports go first. Try again at `until`."""
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

    def passed(self, idempotency_key: str) -> bool:
        """Whether the receiver may have a newer report of the study already, by a try without an answer."""
        ...

    def withdrawn(self, idempotency_key: str, *, reason: str) -> None:
        """It will not be sent: overtaken by a newer report, or stopped by a person."""
        ...

    def revive(self, idempotency_key: str, *, even_sent: bool = False, because: str = "") -> None:
        """Send a delivery now: a dead one, or one that waits for its next try.

        `even_sent`: also one that was acknowledged. `because`: the event where no person asked for it.
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
