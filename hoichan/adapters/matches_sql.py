"""Whose record a report goes to, where an EMR could not tell and a person said so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.person_rows import PERSON, person
from hoichan.adapters.schema import deliveries, studies
from hoichan.adapters.schema_worklists import patient_matches
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.types import DeliveryState, Patient, StudyInstanceUID

NO_MATCH = "patient_unmatched"  # how the acknowledgement of such a delivery begins
MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A refused delivery whose patient the receiver does not know, or knows more than once."""

    idempotency_key: str
    study_instance_uid: StudyInstanceUID
    destination: str
    reason: str  # none | several | differs
    patient: Patient
    accession_number: str | None
    asked_at: datetime


class MatchesSql:
    """Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock, sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight  # of who looks at what waits

    def reference(self, destination: str, study: StudyInstanceUID, subject_sha256: str) -> str | None:
        """What a person chose, e.g. "Patient/123"; None once the report names another number."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(patient_matches.c.reference).where(
                    patient_matches.c.destination == destination,
                    patient_matches.c.study_instance_uid == study,
                    patient_matches.c.subject_sha256 == subject_sha256,
                )
            ).scalar()
        return None if found is None else str(found)

    def patient(self, study: StudyInstanceUID) -> Patient | None:
        """Whose a study is now."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    sa.select(*(studies.c[name] for name in PERSON)).where(
                        studies.c.study_instance_uid == study
                    )
                )
                .mappings()
                .one_or_none()
            )
        return None if row is None else person(dict(row))

    def choose(
        self, destination: str, study: StudyInstanceUID, subject_sha256: str, *, reference: str, who: str
    ) -> None:
        """A person said whose record it is; a later word replaces the former."""
        key = (
            patient_matches.c.destination == destination,
            patient_matches.c.study_instance_uid == study,
        )
        with transaction(self._engine) as connection:
            connection.execute(patient_matches.delete().where(*key))
            connection.execute(
                patient_matches.insert().values(
                    destination=destination,
                    study_instance_uid=study,
                    subject_sha256=subject_sha256,
                    reference=reference,
                    who=who,
                    at=self._clock.now(),
                )
            )

    def unmatched(self, idempotency_key: str | None = None) -> Sequence[Unmatched]:
        """Refused deliveries that wait for a person's word, oldest first; or one of them."""
        asked = (
            sa.select(
                deliveries.c.idempotency_key,
                deliveries.c.study_instance_uid,
                deliveries.c.destination,
                deliveries.c.acknowledgement,
                deliveries.c.created_at,
                studies.c.accession_number,
                *(studies.c[name] for name in PERSON),
            )
            .join(studies, studies.c.study_instance_uid == deliveries.c.study_instance_uid)
            .where(
                deliveries.c.state == DeliveryState.DEAD,
                deliveries.c.acknowledgement.startswith(NO_MATCH),
                *self._sight.narrow(),
            )
            .order_by(deliveries.c.created_at, deliveries.c.idempotency_key)
            .limit(MOST)
        )
        if idempotency_key is not None:
            asked = asked.where(deliveries.c.idempotency_key == idempotency_key)
        with transaction(self._engine) as connection:
            return [
                Unmatched(
                    idempotency_key=row["idempotency_key"],
                    study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
                    destination=row["destination"],
                    reason=row["acknowledgement"].removeprefix(NO_MATCH).strip(": ") or "none",
                    patient=person({name: row[name] for name in PERSON}),
                    accession_number=row["accession_number"],
                    asked_at=row["created_at"],
                )
                for row in connection.execute(asked).mappings()
            ]

    def waiting(self) -> int:
        """How many wait."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(sa.func.count())
                .select_from(deliveries)
                .where(
                    deliveries.c.state == DeliveryState.DEAD,
                    deliveries.c.acknowledgement.startswith(NO_MATCH),
                    *self._sight.narrow_by(deliveries.c.study_instance_uid),
                )
            ).scalar()
        return int(found or 0)
