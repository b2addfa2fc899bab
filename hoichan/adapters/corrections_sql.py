"""Patients told anew, on SQLAlchemy: followed with provenance, or asked about; never silently, never twice.

A followed correction is one transaction: the study's patient changes, both patients are versions of the
study, the old names and numbers stay keys of the search, deliveries that still wait under the old patient
are stopped, reports that may have gone out are put down for retraction, and the study gets a new revision
over the same images, whose report goes to the right patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.corrections_steps import CorrectionSteps, head_of, versions_of
from hoichan.adapters.person_rows import PERSON, person, person_stamp
from hoichan.adapters.rows import Row
from hoichan.adapters.schema_orders import order_links, patient_events, questions
from hoichan.adapters.search_sql import studies_under
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.intake.patients import Doubt, Source, contradicts, is_other_person
from hoichan.intake.rejections import KEY_OBJECT_SELECTION
from hoichan.ports import Clock
from hoichan.types import (
    Patient,
    Study,
    StudyInstanceUID,
)

AT_ONCE = 100  # events in one round


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something only a person may decide about a study."""

    id: int
    study_instance_uid: StudyInstanceUID
    kind: Doubt
    holds: bool  # nothing of the study is analysed until it is answered
    asked_at: datetime
    patient: Patient  # the one that was told, or is proposed
    accession_number: str | None
    current: Patient  # whose study it is now
    current_accession_number: str | None

    @property
    def whose(self) -> str:
        """Which person and number the study had when this was asked for: said back with the answer."""
        return person_stamp(self.study_instance_uid, self.current, self.current_accession_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Whose study it was said to be."""

    at: datetime
    source: Source
    patient: Patient
    accession_number: str | None


class CorrectionsSql(CorrectionSteps):
    """Corrections and questions. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock, sight: Sight = EVERYTHING) -> None:
        """`sight`: whose questions are shown and counted; what is followed knows no readers."""
        self._engine = engine
        self._clock = clock
        self._sight = sight

    # ------------------------------------------------------------------ what the HIS told
    def apply_events(self) -> tuple[StudyInstanceUID, ...]:
        """Follow what was told of people since the last time; the studies that it changed."""
        changed: list[StudyInstanceUID] = []
        with transaction(self._engine) as connection:
            pending = connection.execute(
                sa.select(patient_events)
                .where(patient_events.c.applied_at.is_(None))
                .order_by(patient_events.c.id)
                .limit(AT_ONCE)
                .with_for_update(skip_locked=True)
            ).mappings()
            for event in list(pending):
                number = event["prior_patient_id"] or event["patient_id"]
                issuer = event["prior_issuer"] if event["prior_patient_id"] else event["issuer_of_patient_id"]
                for head in _studies_of(connection, number, issuer):
                    changed += self._follow(connection, head, event)
                connection.execute(
                    patient_events.update()
                    .where(patient_events.c.id == event["id"])
                    .values(applied_at=self._clock.now())
                )
        return tuple(changed)

    def catch_up(self, study: StudyInstanceUID) -> bool:
        """Have a study that came after what was told of its patient follow it too; whether it changed.

        A modality may work with a worklist that is older than a merge.
        """
        with transaction(self._engine) as connection:
            followed: set[int] = set()
            while True:  # a number may have been merged more than once
                head = head_of(connection, study)
                event = _last_word(connection, head) if head is not None else None
                if head is None or event is None or event["id"] in followed:
                    return bool(followed)
                if not self._follow(connection, head, event):
                    return bool(followed)
                followed.add(event["id"])

    def _follow(self, connection: sa.Connection, head: Row, event: Row) -> list[StudyInstanceUID]:
        merges = event["kind"] == "merge"
        told, now = person(event), person(head)
        if contradicts(now, told):
            kind = Doubt.MERGE_CONTRADICTS if merges else Doubt.UPDATE_CONTRADICTS
            self._ask(connection, head, kind, event["message_key"], told, None)
            return []
        source = Source.ADT_MERGE if merges else Source.ADT_UPDATE
        if self._correct(connection, head, told, None, source, event["message_key"]):
            return [StudyInstanceUID(head["study_instance_uid"])]
        return []

    # ------------------------------------------------------------------ what images told
    def arrived(self, parts: Sequence[Study]) -> None:
        """Look whether new images are of the study's patient; ask where they are of somebody else.

        A rejection note asks nothing: it shows nobody, and what it takes back must not wait for an answer.
        """
        if not parts:
            return
        with transaction(self._engine) as connection:
            head = head_of(connection, parts[0].study_instance_uid)
            if head is None:
                return
            known = [person(head), *(person(row) for row in versions_of(connection, head))]
            for part in parts:
                if part.instances[0].sop_class_uid == KEY_OBJECT_SELECTION:
                    continue
                instance = part.instances[0].sop_instance_uid
                if all(is_other_person(one, part.patient) for one in known):
                    self._ask(
                        connection,
                        head,
                        Doubt.TWO_PATIENTS,
                        instance,
                        part.patient,
                        part.accession_number,
                        holds=True,
                    )
                    known.append(part.patient)  # asked once for each person
                elif part.patient.patient_id != known[0].patient_id or part.accession_number:
                    self._index(connection, head, part.patient, part.accession_number)

    def resent(
        self, study: StudyInstanceUID, patient: Patient, accession: str | None, *, instance: str, whole: bool
    ) -> bool:
        """Images came again with another patient: all of them (`whole`), or only some; whether it changed."""
        with transaction(self._engine) as connection:
            head = head_of(connection, study)
            if head is None:
                return False
            if not whole:
                self._ask(connection, head, Doubt.RESENT_IN_PART, instance, patient, accession)
                return False
            connection.execute(
                questions.update()
                .where(
                    questions.c.study_instance_uid == study,
                    questions.c.kind == Doubt.RESENT_IN_PART,
                    questions.c.state == "open",
                )
                .values(state="gone", answered_at=self._clock.now())
            )
            return self._correct(connection, head, patient, accession, Source.RESENT, instance)

    def holds(self, study: StudyInstanceUID) -> bool:
        """Whether a question must be answered before anything of the study is analysed."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(questions.c.id)
                .where(
                    questions.c.study_instance_uid == study,
                    questions.c.state == "open",
                    questions.c.holds,
                )
                .limit(1)
            ).scalar()
            return found is not None

    def released(self) -> tuple[StudyInstanceUID, ...]:
        """Studies that a person's answer let go on since the last call."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                questions.update()
                .where(questions.c.state != "open", questions.c.holds)
                .values(holds=False)
                .returning(questions.c.study_instance_uid)
            )
            return tuple(dict.fromkeys(StudyInstanceUID(uid) for (uid,) in found))

    # ------------------------------------------------------------------ what people say
    def propose(
        self, study: StudyInstanceUID, kind: Doubt, order: str, patient: Patient, accession: str | None
    ) -> None:
        """Ask whether a number that an order knows is that of the study."""
        with transaction(self._engine) as connection:
            head = head_of(connection, study)
            if head is not None:
                self._ask(connection, head, kind, order, patient, accession)

    def fill_accession(self, study: StudyInstanceUID, order: str, accession: str) -> bool:
        """Give a study the accession number of its order; False where it has one, or another study has it."""
        with transaction(self._engine) as connection:
            head = head_of(connection, study)
            if head is None or (head["accession_number"] or "").strip():
                return False
            shared = connection.execute(
                sa.select(order_links.c.study_instance_uid).where(
                    order_links.c.order_id == order, order_links.c.study_instance_uid != study
                )
            )
            if shared.first() is not None:
                return False
            return self._correct(connection, head, person(head), accession, Source.ORDER, order)

    def answer(self, question: int, *, take: bool, who: str, whose: str | None = None) -> Question | None:
        """A person decides: the study is that of the patient who was told, or stays as it is.

        `whose`: of the question that was on the screen; None: not said. The question as it was; None when it
        is unknown or answered already, or the study's patient is another than the one on the screen.
        """
        with transaction(self._engine) as connection:
            if whose is not None and not _is_asked(connection, question, whose):
                return None
            row = (
                connection.execute(
                    questions.update()
                    .where(questions.c.id == question, questions.c.state == "open")
                    .values(
                        state="taken" if take else "kept",
                        answered_by=who,
                        answered_at=self._clock.now(),
                    )
                    .returning(*questions.columns)
                )
                .mappings()
                .one_or_none()
            )
            if row is None:
                return None
            head = head_of(connection, row["study_instance_uid"])
            if head is None:
                return None
            asked = _question(row, head)
            self._trail(
                connection, head, "question_answered", {"kind": row["kind"], "taken": take, "user": who}
            )
            if take:
                self._correct(
                    connection,
                    head,
                    asked.patient,
                    asked.accession_number,
                    Source.PERSON,
                    f"question {question}",
                )
            return asked

    def questions(self, study: StudyInstanceUID | None = None, *, limit: int = 200) -> tuple[Question, ...]:
        """Open questions, oldest first; of one study or of all."""
        wanted = [questions.c.state == "open", *self._sight.narrow_by(questions.c.study_instance_uid)]
        if study is not None:
            wanted.append(questions.c.study_instance_uid == study)
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(questions)
                .where(*wanted)
                .order_by(questions.c.asked_at, questions.c.id)
                .limit(limit)
            ).mappings()
            made = [(row, head_of(connection, row["study_instance_uid"])) for row in list(found)]
            return tuple(_question(row, head) for row, head in made if head is not None)

    def waiting(self) -> int:
        """How many studies wait for a person's decision."""
        with transaction(self._engine) as connection:
            count: int = connection.execute(
                sa.select(sa.func.count(questions.c.study_instance_uid.distinct())).where(
                    questions.c.state == "open",
                    *self._sight.narrow_by(questions.c.study_instance_uid),
                )
            ).scalar_one()
            return count

    def versions(self, study: StudyInstanceUID) -> tuple[Version, ...]:
        """Whose study it was, oldest first; empty where nothing was ever corrected."""
        with transaction(self._engine) as connection:
            head = head_of(connection, study)
            return tuple(
                Version(
                    at=row["at"],
                    source=Source(row["source"]),
                    patient=person(row),
                    accession_number=row["accession_number"],
                )
                for row in (versions_of(connection, head) if head is not None else ())
            )


def _is_asked(connection: sa.Connection, question: int, whose: str) -> bool:
    """Whether the question's study has this person still; holds its row."""
    row = connection.execute(sa.select(questions).where(questions.c.id == question)).mappings().one_or_none()
    head = head_of(connection, row["study_instance_uid"]) if row is not None else None
    return row is not None and head is not None and _question(row, head).whose == whose


def _studies_of(connection: sa.Connection, number: str, issuer: str | None) -> Sequence[Row]:
    """Studies under a number now, of the same authority as far as that is known of both."""
    heads = connection.execute(studies_under(number).with_for_update()).mappings()
    return [
        head
        for head in heads
        if head["patient_id"].strip() == number
        and (issuer is None or head["issuer_of_patient_id"] in (None, issuer))
    ]


def _last_word(connection: sa.Connection, head: Row) -> Row | None:
    """The newest merge away from the study's number, else the newest that was told of its person.

    A merge that later ones led back from was a mistake that was mended: it moves nothing any more.
    """
    number = head["patient_id"].strip()
    if not number:
        return None
    own = head["issuer_of_patient_id"]
    away = _newest_away(connection, number, own)
    if away is not None and not _led_back(connection, number, away):
        return away
    told = patient_events.c.patient_id == number
    return _newest(connection, told, patient_events.c.issuer_of_patient_id, own)


def _led_back(connection: sa.Connection, number: str, merge: Row) -> bool:
    """Whether merges after this one led from where it went to the number again."""
    at: Row | None = merge
    while at is not None:
        at = _newest_away(connection, at["patient_id"], at["issuer_of_patient_id"], after=at["id"])
        if at is not None and at["patient_id"] == number:
            return True
    return False


def _newest_away(connection: sa.Connection, number: str, own: str | None, *, after: int = 0) -> Row | None:
    wanted = sa.and_(patient_events.c.prior_patient_id == number, patient_events.c.id > after)
    return _newest(connection, wanted, patient_events.c.prior_issuer, own)


def _newest(
    connection: sa.Connection,
    wanted: sa.ColumnElement[bool],
    issuer: sa.ColumnElement[str | None],
    own: str | None,
) -> Row | None:
    """The newest event that was followed, of one authority as far as both are known."""
    same = () if own is None else (sa.or_(issuer.is_(None), issuer == own),)
    found = connection.execute(
        sa.select(patient_events)
        .where(wanted, patient_events.c.applied_at.is_not(None), *same)
        .order_by(patient_events.c.id.desc())
        .limit(1)
    )
    return found.mappings().one_or_none()


def _question(row: Row, head: Row) -> Question:
    return Question(
        id=row["id"],
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        kind=Doubt(row["kind"]),
        holds=row["holds"],
        asked_at=row["asked_at"],
        patient=person({name: row[name] for name in PERSON}),
        accession_number=row["accession_number"],
        current=person(head),
        current_accession_number=head["accession_number"],
    )
