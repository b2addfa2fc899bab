"""Are our documents safe where they went? Asked of every PACS with `commitment = true`, until it says so.

    acknowledged delivery -> N-ACTION -> report -> committed, or: send what it does not hold, and ask again

A report is a note of the spool first (`hoichan.intake.commitments`), whoever heard it: so a crash between
hearing and writing down loses nothing. Silence is asked again with growing pauses, for a week.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from pydicom.uid import generate_uid

from hoichan.adapters.commitments_sql import CommitmentsSql, Question, QuestionState
from hoichan.adapters.images_there import images_of
from hoichan.errors import HoichanError, Refused, Unreachable
from hoichan.intake import commitments as notes
from hoichan.intake.commitments import CommitmentReport
from hoichan.ports import Clock, Sink, Spool, Studies
from hoichan.reporting.deliveries import IMAGES, SR_FORMS
from hoichan.settings import DicomDestination
from hoichan.types import Delivery, Document, StudyInstanceUID
from service.images import waits_for_images

log = structlog.get_logger()

GIVEN_UP_AFTER = timedelta(days=7)
LONGEST_PAUSE = timedelta(days=1)
MOST_RESENT = 3  # a PACS that took an object three times and holds it not is for a person to look at
# Failure Reasons that sending again can mend (PS3.3 C.14.1.1): no such instance, failure, resources
MENDABLE = frozenset({0x0112, 0x0110, 0x0213})
ASK_AGAIN = frozenset({0x0131})  # duplicate transaction UID


class Asking(Protocol):
    """A PACS that can be asked; `hoichan.adapters.commitment_dimse.CommitmentScu`."""

    def ask(
        self,
        transaction_uid: str,
        references: Sequence[tuple[str, str]],
        *,
        hear: Callable[[CommitmentReport], None],
    ) -> None:
        """Raises Unreachable or Refused."""
        ...


class Committer:
    """Asks, hears and sends again. One for all workers: the leader's."""

    def __init__(
        self,
        record: CommitmentsSql,
        studies: Studies,
        spool: Spool,
        clock: Clock,
        *,
        destinations: Sequence[DicomDestination],
        pacs: Mapping[str, Asking],
        sinks: Mapping[str, Sink],
    ) -> None:
        """`destinations`: those with `commitment = true`; `pacs` and `sinks` by their names."""
        self._record = record
        self._studies = studies
        self._spool = spool
        self._clock = clock
        self._destinations = {destination.name: destination for destination in destinations}
        self._pacs = pacs
        self._sinks = sinks
        self._next = destinations, pacs, sinks
        self._one_at_a_time = threading.Lock()  # the leader hears in one thread and asks in another

    def use(
        self,
        destinations: Sequence[DicomDestination],
        pacs: Mapping[str, Asking],
        sinks: Mapping[str, Sink],
    ) -> None:
        """Other receivers count from the next round on."""
        self._next = destinations, pacs, sinks

    def _begin(self) -> bool:
        """Whether there is anybody to ask or to hear. For whoever holds the lock.

        A PACS without `commitment` may have been asked about images (`hoichan.adapters.images_known`).
        """
        destinations, self._pacs, self._sinks = self._next
        self._destinations = {destination.name: destination for destination in destinations}
        return bool(self._destinations or notes.expected(self._spool.notes))

    def hear(self) -> int:
        """On every machine: take up what came to its door, and have that door know what was asked elsewhere.

        How many reports there were. Raises RecordsUnavailable.
        """
        with self._one_at_a_time:
            return self._hear() if self._begin() else 0

    def _hear(self) -> int:
        known, awaited = notes.expected(self._spool.notes), self._record.awaited()
        for uid in awaited.keys() - known:
            if awaited[uid] in self._destinations:
                title = self._destinations[awaited[uid]].ae_title
                notes.expect(self._spool.notes, uid, ae_title=title)
        heard = notes.reports(self._spool.notes)
        for report in heard:
            with _one_only(report.transaction_uid):
                self._take_up(report)
            notes.taken_up(self._spool.notes, report)
        for uid in known - self._record.awaited().keys():
            notes.forget(self._spool.notes, uid)
        return len(heard)

    def step(self) -> int:
        """One round: take reports up, ask what is due; how much there was. Raises RecordsUnavailable."""
        with self._one_at_a_time:
            return self._round() if self._begin() else 0

    def _round(self) -> int:
        done = self._hear()
        now = self._clock.now()
        for key, study, destination in self._record.unasked(self._destinations, since=now - GIVEN_UP_AFTER):
            with _one_only(key):
                self._ask(self._first(key, study, destination, now))
            done += 1
        for question in self._record.due(now):
            with _one_only(question.idempotency_key):
                self._ask_again(question, now)
            done += 1
        return done

    # ---------------------------------------------------------------------------------------------- asking
    def _first(self, key: str, study: StudyInstanceUID, destination: str, now: datetime) -> Question:
        return Question(
            transaction_uid=str(generate_uid(prefix=None)),
            idempotency_key=key,
            study_instance_uid=study,
            destination=destination,
            state=QuestionState.OPEN,
            questions=0,
            resent=0,
            begun_at=now,
            due_at=now,
        )

    def _ask_again(self, question: Question, now: datetime) -> None:
        """Nobody answered in time, or the PACS could not be asked: a new transaction (PS3.4 J.3.2.1)."""
        if question.destination not in self._destinations or now - question.begun_at > GIVEN_UP_AFTER:
            self._give_up(question, reason="no_report")
            return
        uid = str(generate_uid(prefix=None))
        self._ask(replace(question, transaction_uid=uid, questions=question.questions + 1))

    def _open(self, question: Question) -> bool:
        """Whether it is ours to ask: of two workers that both believe they lead one writes it down."""
        destination = self._destinations[question.destination]
        wait = timedelta(seconds=destination.commitment_wait_seconds) * 2 ** min(question.questions, 16)
        return self._record.open(replace(question, due_at=self._clock.now() + min(wait, LONGEST_PAUSE)))

    def _ask(self, question: Question) -> None:
        """The question is written down first: its report may come before the answer to it."""
        if self._open(question):
            self._put(question)

    def _put(self, question: Question) -> None:
        destination = self._destinations[question.destination]
        references = self._references(question)
        if not references:
            self._give_up(question, reason="nothing_to_commit")
            return
        fields = {"study": question.study_instance_uid, "destination": question.destination}
        try:
            notes.expect(self._spool.notes, question.transaction_uid, ae_title=destination.ae_title)
            self._pacs[question.destination].ask(question.transaction_uid, references, hear=self._heard)
        except Unreachable as error:
            log.warning("commitment_not_asked", detail=error.detail, **fields)
        except Refused as error:  # asked again with growing pauses: somebody may configure it there
            log.error("commitment_not_asked", status=error.status, **fields)
        except HoichanError as error:
            log.error("commitment_not_asked", code=error.code, **fields)
        else:
            self._studies.note(
                question.study_instance_uid,
                "commitment_asked",
                destination=question.destination,
                transaction=question.transaction_uid,
                instances=len(references),
            )

    def _heard(self, report: CommitmentReport) -> None:
        """A report on the association of the question, in pynetdicom's thread. Raises SpoolFull."""
        notes.keep(self._spool.notes, report)

    def _references(self, question: Question) -> list[tuple[str, str]]:
        return [(str(document.sop_class_uid), document.uid) for document in self._documents(question)]

    def _documents(self, question: Question) -> list[Document]:
        delivery = self._studies.delivery(question.idempotency_key)
        return [document for document in self._studies.documents(delivery) if document.sop_class_uid]

    # --------------------------------------------------------------------------------------------- hearing
    def _take_up(self, report: CommitmentReport) -> None:
        question = self._record.find(report.transaction_uid)
        if question is None:
            log.warning("commitment_report_unknown", transaction=report.transaction_uid)
            return
        if question.idempotency_key.endswith(IMAGES):
            self._take_up_images(question, report)
            return
        delivery = self._studies.delivery(question.idempotency_key)
        if delivery.committed_at is not None:  # an older question was answered late
            notes.forget(self._spool.notes, report.transaction_uid)
            return
        documents = self._documents(question)
        lacking = _lacking(documents, report.committed)
        if not lacking:
            held = sum(document.uid in report.committed for document in documents)
            self._committed(question, held)
            return
        if question.state is not QuestionState.OPEN:  # its successor will tell
            return
        reasons = sorted({report.failed.get(document.uid, 0x0112) for document in lacking})
        self._studies.note(
            question.study_instance_uid,
            "commitment_failed",
            destination=question.destination,
            transaction=report.transaction_uid,
            instances=len(documents),
            failed=len(lacking),
            reasons=", ".join(f"0x{reason:04X}" for reason in reasons),
        )
        log.error(
            "commitment_failed",
            study=question.study_instance_uid,
            destination=question.destination,
            failed=[document.uid for document in lacking],
            reasons=[f"0x{reason:04X}" for reason in reasons],
        )
        self._mend(question, delivery, lacking, reasons)

    def _take_up_images(self, question: Question, report: CommitmentReport) -> None:
        """Not all of them: asked again at the next try. All of them: the report that waits for them goes."""
        delivery = self._studies.delivery(question.idempotency_key.removesuffix(IMAGES))
        asked = images_of(self._studies.documents(delivery)).values()
        are_safe = {uid for series in asked for uids in series.values() for uid in uids} <= report.committed
        if not are_safe and question.state is not QuestionState.OPEN:
            return  # a newer question will tell
        state = QuestionState.COMMITTED if are_safe else QuestionState.GIVEN_UP
        for uid in self._record.close(question.idempotency_key, state, at=self._clock.now()):
            notes.forget(self._spool.notes, uid)
        if are_safe and waits_for_images(delivery):
            self._studies.revive(delivery.idempotency_key, because="images_came")

    def _committed(self, question: Question, instances: int) -> None:
        uids = self._record.close(question.idempotency_key, QuestionState.COMMITTED, at=self._clock.now())
        for uid in uids:
            notes.forget(self._spool.notes, uid)
        self._studies.note(
            question.study_instance_uid,
            "commitment_given",
            destination=question.destination,
            instances=instances,
        )
        log.info("commitment_given", study=question.study_instance_uid, destination=question.destination)

    def _mend(
        self, question: Question, delivery: Delivery, lacking: Sequence[Document], reasons: Sequence[int]
    ) -> None:
        """Send what the PACS does not hold, the same bytes, and ask about all of it again."""
        if question.resent >= MOST_RESENT or not set(reasons) <= MENDABLE | ASK_AGAIN:
            self._give_up(question, reason="not_held")
            return
        sink = self._sinks.get(question.destination)
        if sink is None or question.destination not in self._destinations:
            self._give_up(question, reason="destination_not_configured")
            return
        uid = str(generate_uid(prefix=None))
        again = replace(question, transaction_uid=uid, questions=question.questions + 1)
        if not self._open(again):  # another sends it
            return
        if set(reasons) & MENDABLE:
            try:
                sink.deliver(delivery, lacking)
            except (Unreachable, Refused) as error:  # the question is open, and is asked when due
                log.warning("commitment_not_mended", study=question.study_instance_uid, code=error.code)
                return
            self._studies.note(
                question.study_instance_uid,
                "commitment_resent",
                destination=question.destination,
                instances=len(lacking),
            )
        self._record.resent(uid)
        self._put(again)

    def _give_up(self, question: Question, *, reason: str) -> None:
        uids = self._record.close(question.idempotency_key, QuestionState.GIVEN_UP, at=self._clock.now())
        for uid in uids:
            notes.forget(self._spool.notes, uid)
        self._studies.note(
            question.study_instance_uid,
            "commitment_given_up",
            destination=question.destination,
            reason=reason,
        )
        log.error(
            "commitment_given_up",
            study=question.study_instance_uid,
            destination=question.destination,
            reason=reason,
        )


@contextmanager
def _one_only(subject: str) -> Iterator[None]:
    """What is wrong with one delivery for good, as a document that is gone, holds no other up."""
    try:
        yield
    except HoichanError as error:
        if error.retryable:
            raise
        log.error("commitment_skipped", subject=subject, code=error.code)


def _lacking(documents: Sequence[Document], committed: Container[str]) -> list[Document]:
    """What the PACS does not hold. Of the forms of the SR it got one, and any of them will do."""
    has_sr = any(document.kind in SR_FORMS and document.uid in committed for document in documents)
    return [
        document
        for document in documents
        if document.uid not in committed and not (has_sr and document.kind in SR_FORMS)
    ]
