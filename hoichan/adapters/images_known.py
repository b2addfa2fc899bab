"""What tells that images are at a PACS, where it cannot be asked for them: our own record, and its promise.

| word                                                            | counts against "not there" of the PACS |
|-----------------------------------------------------------------|----------------------------------------|
| a former report of the study there speaks of them               | yes: what corrects it has to follow    |
| we forwarded them there, and each was answered with Success     | no                                     |
| they came from there: its AE title, or a source of its address  | no                                     |
| a notification says that they can be retrieved there (annex R)  | no                                     |
| it takes responsibility for them (storage commitment, annex J)  | not asked then                         |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import timedelta

import sqlalchemy as sa
from pydicom.uid import generate_uid

from hoichan.adapters.commitment_dimse import CommitmentScu
from hoichan.adapters.commitments_sql import CommitmentsSql, Question, QuestionState
from hoichan.adapters.images_there import references_of
from hoichan.adapters.schema_tokens import forwards
from hoichan.adapters.transactions import transaction
from hoichan.errors import ObjectUnknown, Refused
from hoichan.intake import commitments as notes
from hoichan.intake.commitments import CommitmentReport
from hoichan.intake.evidence import evidence_of
from hoichan.ports import Clock, Spool, Studies
from hoichan.reporting.deliveries import images_key
from hoichan.reporting.forwarding import ForwardState
from hoichan.settings import DicomDestination, DicomwebDestination
from hoichan.types import Delivery, DeliveryState


class ImagesKnown:
    """The `Knowledge` of one destination."""

    def __init__(
        self,
        destination: DicomDestination | DicomwebDestination,
        *,
        engine: sa.Engine,
        studies: Studies,
        spool: Spool,
        clock: Clock,
        nameless: Collection[str] = (),
        titles: Collection[str] = (),
        scu: CommitmentScu | None = None,
    ) -> None:
        """`nameless`: rules that forward under other UIDs; `titles`: senders that are this PACS.

        `scu`: None where it is never asked for storage commitment.
        """
        self._destination = destination
        self._engine = engine
        self._commitments = CommitmentsSql(engine)
        self._studies = studies
        self._spool = spool
        self._clock = clock
        self._nameless = sorted(nameless)
        self._titles = frozenset(title.strip() for title in titles)
        self._scu = scu

    def spoken_of(self, delivery: Delivery) -> Collection[str]:
        """Instances that reports which it acknowledged are, or speak of."""
        found: set[str] = set()
        for former in self._studies.deliveries(delivery.study_instance_uid):
            if former.destination != delivery.destination or former.state is not DeliveryState.SENT:
                continue
            with suppress(ObjectUnknown):
                documents = self._studies.documents(former)
                found.update(document.uid for document in documents)
                for series in references_of(documents).values():
                    found.update(uid for uids in series.values() for uid in uids)
        return found

    def brought(self, delivery: Delivery) -> Collection[str]:
        """Instances that we stored there by a rule, that came from there, or that are said to be."""
        uid = delivery.study_instance_uid
        with transaction(self._engine) as connection:
            found = set(
                connection.execute(
                    sa.select(forwards.c.sop_instance_uid).where(
                        forwards.c.study_instance_uid == uid,
                        forwards.c.destination == delivery.destination,
                        forwards.c.state == ForwardState.SENT,
                        forwards.c.rule.not_in(self._nameless),
                    )
                ).scalars()
            )
        if not self._titles:
            return found
        for title, notified in evidence_of(self._spool, uid).retrieve_from.items():
            if title in self._titles:
                found.update(notified)
        study = self._studies.current(uid)
        if study is not None:
            senders = {one.path: one.calling_ae_title for one in self._spool.listing(uid)}
            found.update(
                instance.sop_instance_uid
                for instance in study.instances
                if senders.get(instance.path, study.calling_ae_title).strip() in self._titles
            )
        return found

    def vouched(self, delivery: Delivery, references: Sequence[tuple[str, str]]) -> bool:
        """Whether it has taken responsibility; else it is asked, unless an answer is still awaited."""
        key, now = images_key(delivery.idempotency_key), self._clock.now()
        former = self._commitments.newest(key)
        if former is not None and former.state is QuestionState.COMMITTED:
            return True
        waits = former is not None and former.state is QuestionState.OPEN and former.due_at > now
        if waits or self._scu is None or not isinstance(self._destination, DicomDestination):
            return False
        question = Question(
            transaction_uid=str(generate_uid(prefix=None)),
            idempotency_key=key,
            study_instance_uid=delivery.study_instance_uid,
            destination=delivery.destination,
            state=QuestionState.OPEN,
            questions=former.questions + 1 if former else 0,
            resent=0,
            begun_at=former.begun_at if former else now,
            due_at=now + timedelta(seconds=self._destination.commitment_wait_seconds),
        )
        return self._ask(self._scu, self._destination.ae_title, question, references)

    def _ask(
        self, scu: CommitmentScu, ae_title: str, question: Question, references: Sequence[tuple[str, str]]
    ) -> bool:
        """The question is written down first: its report may come to the door before the answer to it."""
        heard: list[CommitmentReport] = []
        if not self._commitments.open(question):
            return False
        notes.expect(self._spool.notes, question.transaction_uid, ae_title=ae_title)
        try:
            scu.ask(question.transaction_uid, references, hear=heard.append)
        except Refused:  # it gives no such promise
            self._close(question, QuestionState.GIVEN_UP)
            return False
        of_this = [one for one in heard if one.transaction_uid == question.transaction_uid]
        if not of_this:
            return False
        safe = {uid for _, uid in references} <= of_this[0].committed
        self._close(question, QuestionState.COMMITTED if safe else QuestionState.GIVEN_UP)
        return safe

    def _close(self, question: Question, state: QuestionState) -> None:
        for uid in self._commitments.close(question.idempotency_key, state, at=self._clock.now()):
            notes.forget(self._spool.notes, uid)

    def tell(self, delivery: Delivery, event: str, **details: str) -> None:
        """Add a line to the study's trail."""
        self._studies.note(delivery.study_instance_uid, event, **details)
