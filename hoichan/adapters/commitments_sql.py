"""What we asked PACSs about the safety of our documents, and of the images they speak of, on SQLAlchemy.

A delivery has at most one open question. Every other row is history: a late answer to an older question is
still an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from hoichan.adapters.schema import deliveries
from hoichan.adapters.schema_sources import commitments
from hoichan.adapters.transactions import transaction
from hoichan.reporting.deliveries import IMAGES
from hoichan.types import DeliveryState, StudyInstanceUID


class QuestionState(StrEnum):
    """Where one question stands."""

    OPEN = "open"  # to be asked at `due_at`, or to be asked again then because no report came
    SUPERSEDED = "superseded"  # another was asked instead
    COMMITTED = "committed"  # the PACS took responsibility for all
    GIVEN_UP = "given_up"  # it did not, and asking again will not help


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One transaction."""

    transaction_uid: str  # (0008,1195)
    idempotency_key: str  # of the delivery
    study_instance_uid: StudyInstanceUID
    destination: str
    state: QuestionState
    questions: int  # asked about the delivery before this one
    resent: int  # how often something was sent again
    begun_at: datetime
    due_at: datetime


class CommitmentsSql:
    """The record of questions. Every call is one transaction; writing twice changes nothing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def unasked(
        self, destinations: Collection[str], *, since: datetime, limit: int = 100
    ) -> Sequence[tuple[str, StudyInstanceUID, str]]:
        """Key, study and destination of what was acknowledged since then and never asked about."""
        asked = sa.exists().where(commitments.c.idempotency_key == deliveries.c.idempotency_key)
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(
                    deliveries.c.idempotency_key, deliveries.c.study_instance_uid, deliveries.c.destination
                )
                .where(
                    deliveries.c.destination.in_(sorted(destinations)),
                    deliveries.c.state == DeliveryState.SENT,
                    deliveries.c.committed_at.is_(None),
                    deliveries.c.delivered_at >= since,
                    ~asked,
                )
                .order_by(deliveries.c.delivered_at)
                .limit(limit)
            )
            return [(key, StudyInstanceUID(study), destination) for key, study, destination in found]

    def due(self, now: datetime, *, limit: int = 100) -> Sequence[Question]:
        """Open questions about our documents whose time has come."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(commitments)
                .where(
                    commitments.c.state == QuestionState.OPEN,
                    commitments.c.due_at <= now,
                    commitments.c.idempotency_key.not_like(f"%{IMAGES}"),  # asked again by who waits
                )
                .order_by(commitments.c.due_at)
                .limit(limit)
            ).mappings()
            return [_question(row) for row in found]

    def find(self, transaction_uid: str) -> Question | None:
        """One question, whatever its state; None for a transaction that is not ours."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    sa.select(commitments).where(commitments.c.transaction_uid == transaction_uid)
                )
                .mappings()
                .one_or_none()
            )
        return None if row is None else _question(row)

    def newest(self, idempotency_key: str) -> Question | None:
        """The last question about a delivery, or about its images."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    sa.select(commitments)
                    .where(commitments.c.idempotency_key == idempotency_key)
                    .order_by(commitments.c.questions.desc())
                    .limit(1)
                )
                .mappings()
                .one_or_none()
            )
        return None if row is None else _question(row)

    def awaited(self) -> Mapping[str, str]:
        """Destination by transaction, of every question about a delivery that is still open.

        Those that another question superseded included: the PACS may answer them late.
        """
        open_one = commitments.alias()
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(commitments.c.transaction_uid, commitments.c.destination).where(
                    commitments.c.idempotency_key.in_(
                        sa.select(open_one.c.idempotency_key).where(open_one.c.state == QuestionState.OPEN)
                    )
                )
            )
            return {uid: destination for uid, destination in found}

    def open(self, question: Question) -> bool:
        """Write a question down before it is asked, in the place of the one that was open.

        False where another asks it already: of two with the same number about a delivery one wins.
        """
        of_delivery = deliveries.c.idempotency_key == question.idempotency_key.removesuffix(IMAGES)
        with transaction(self._engine) as connection:
            connection.execute(  # changes nothing: it has others that ask wait, on either database
                deliveries.update().where(of_delivery).values(idempotency_key=deliveries.c.idempotency_key)
            )
            is_there = sa.select(commitments.c.transaction_uid).where(
                commitments.c.idempotency_key == question.idempotency_key,
                commitments.c.questions >= question.questions,
            )
            if connection.execute(is_there.limit(1)).first() is not None:
                return False
            connection.execute(
                commitments.update()
                .where(
                    commitments.c.idempotency_key == question.idempotency_key,
                    commitments.c.state == QuestionState.OPEN,
                )
                .values(state=QuestionState.SUPERSEDED)
            )
            connection.execute(
                commitments.insert().values(
                    transaction_uid=question.transaction_uid,
                    idempotency_key=question.idempotency_key,
                    study_instance_uid=question.study_instance_uid,
                    destination=question.destination,
                    state=str(question.state),
                    questions=question.questions,
                    resent=question.resent,
                    begun_at=question.begun_at,
                    due_at=question.due_at,
                )
            )
        return True

    def resent(self, transaction_uid: str) -> None:
        """What the PACS did not hold was sent again before this question was asked."""
        with transaction(self._engine) as connection:
            connection.execute(
                commitments.update()
                .where(commitments.c.transaction_uid == transaction_uid)
                .values(resent=commitments.c.resent + 1)
            )

    def postpone(self, transaction_uid: str, *, until: datetime) -> None:
        """Look at an open question again then."""
        with transaction(self._engine) as connection:
            connection.execute(
                commitments.update()
                .where(
                    commitments.c.transaction_uid == transaction_uid,
                    commitments.c.state == QuestionState.OPEN,
                )
                .values(due_at=until)
            )

    def close(self, idempotency_key: str, state: QuestionState, *, at: datetime) -> Sequence[str]:
        """End every question about a delivery; the transactions. `committed` stands in the delivery, too."""
        with transaction(self._engine) as connection:
            connection.execute(
                commitments.update()
                .where(
                    commitments.c.idempotency_key == idempotency_key,
                    commitments.c.state == QuestionState.OPEN,
                )
                .values(state=str(state))
            )
            if state is QuestionState.COMMITTED:
                connection.execute(
                    deliveries.update()
                    .where(
                        deliveries.c.idempotency_key == idempotency_key, deliveries.c.committed_at.is_(None)
                    )
                    .values(committed_at=at)
                )
            found = connection.execute(
                sa.select(commitments.c.transaction_uid).where(
                    commitments.c.idempotency_key == idempotency_key
                )
            )
            return [uid for (uid,) in found]


def _question(row: sa.RowMapping) -> Question:
    return Question(
        transaction_uid=row["transaction_uid"],
        idempotency_key=row["idempotency_key"],
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        destination=row["destination"],
        state=QuestionState(row["state"]),
        questions=row["questions"],
        resent=row["resent"],
        begun_at=row["begun_at"],
        due_at=row["due_at"],
    )
