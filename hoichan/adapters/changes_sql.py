"""Objects that came again with other content: each once on the trail, and what they agree on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.person_rows import PERSON, person, person_row
from hoichan.adapters.schema import instances, trail
from hoichan.adapters.schema_orders import changed_contents
from hoichan.adapters.transactions import transaction
from hoichan.intake.changes import Changed, Difference
from hoichan.ports import Clock
from hoichan.types import Patient, Study, StudyInstanceUID

REFUSED = "refused"  # stands where others say how they differ


class ChangesSql:
    """What was set aside. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(
        self,
        study: StudyInstanceUID,
        changed: Changed,
        difference: Difference,
        *,
        sha256: str,
        patient: Patient,
        accession: str | None,
    ) -> bool:
        """Write it down and on the trail; False when it is there already."""
        with transaction(self._engine) as connection:
            is_new = rows.insert_once(
                connection,
                changed_contents,
                {
                    "sha256": sha256,
                    "sop_instance_uid": changed.sop_instance_uid,
                    "study_instance_uid": study,
                    "path": str(changed.path),
                    "difference": str(difference),
                    "calling_ae_title": changed.calling_ae_title,
                    "at": self._clock.now(),
                    "accession_number": accession,
                    **person_row(patient),
                },
            )
            if is_new:
                connection.execute(
                    trail.insert().values(
                        study_instance_uid=study,
                        at=self._clock.now(),
                        event="content_changed",
                        details={
                            "instance": changed.sop_instance_uid,
                            "difference": str(difference),
                            "sender": changed.calling_ae_title,
                        },
                    )
                )
            return is_new

    def refused(self, study: Study, changed: Changed) -> bool:
        """Write on the trail that an object of the study was refused; False when it stands there already."""
        with transaction(self._engine) as connection:
            is_new = rows.insert_once(
                connection,
                changed_contents,
                {
                    "sha256": hashlib.sha256(str(changed.path).encode()).hexdigest(),
                    "sop_instance_uid": changed.sop_instance_uid,
                    "study_instance_uid": study.study_instance_uid,
                    "path": str(changed.path),
                    "difference": REFUSED,
                    "calling_ae_title": changed.calling_ae_title,
                    "at": self._clock.now(),
                    "accession_number": study.accession_number,
                    **person_row(study.patient),
                },
            )
            if is_new:
                details = {
                    "instance": changed.sop_instance_uid,
                    "reason": changed.refused,
                    "sender": changed.calling_ae_title,
                }
                connection.execute(
                    trail.insert().values(
                        study_instance_uid=study.study_instance_uid,
                        at=self._clock.now(),
                        event="instance_refused",
                        details=details,
                    )
                )
            return is_new

    def agreed(self, study: StudyInstanceUID) -> tuple[Patient, str | None, bool] | None:
        """The patient and accession number that came last, and whether every image came so.

        None where no image came with another patient only.
        """
        with transaction(self._engine) as connection:
            found = list(
                connection.execute(
                    sa.select(changed_contents)
                    .where(
                        changed_contents.c.study_instance_uid == study,
                        changed_contents.c.difference == Difference.PATIENT,
                    )
                    .order_by(changed_contents.c.at, changed_contents.c.sha256)
                ).mappings()
            )
            if not found:
                return None
            recorded = set(
                connection.execute(
                    sa.select(instances.c.sop_instance_uid).where(instances.c.study_instance_uid == study)
                ).scalars()
            )
        wanted = (*PERSON, "accession_number")
        last = found[-1]
        newest = {row["sop_instance_uid"]: row for row in found}
        alike = {uid for uid, row in newest.items() if all(row[name] == last[name] for name in wanted)}
        return person({name: last[name] for name in PERSON}), last["accession_number"], recorded <= alike

    def counts(self) -> Mapping[str, int]:
        """Objects set aside, by what differs."""
        with transaction(self._engine) as connection:
            return counted(connection)


def counted(connection: sa.Connection) -> dict[str, int]:
    """Objects that came with other content, by what differs."""
    found = connection.execute(
        sa.select(changed_contents.c.difference, sa.func.count())
        .where(changed_contents.c.difference != REFUSED)
        .group_by(changed_contents.c.difference)
    )
    return {difference: count for difference, count in found}
