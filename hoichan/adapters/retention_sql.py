"""Holds, classes of records and removals in the database. The rules are `hoichan.reporting.retention`'s.

A removal is marked in the same transaction that looks once more whether it may be; what is done to files
follows, and a removal that was marked and never ended is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.retention_facts import (
    DONE,
    DROPPED,
    MARKED,
    PAGE,
    Row,
    facts_of,
    facts_query,
    is_removed,
    keeps,
    on_hold,
    page_of,
    studies_of,
)
from hoichan.adapters.schema import documents, instances, studies, trail
from hoichan.adapters.schema_retention import holds, record_classes, removals
from hoichan.adapters.transactions import transaction
from hoichan.reporting.retention import Facts, RecordClass, Verdict
from hoichan.types import SOPInstanceUID, StudyInstanceUID

__all__ = ["DONE", "DROPPED", "MARKED", "Filed", "Hold", "Removal", "RetentionSql"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Nothing of a study or a patient goes while it is not lifted."""

    hold_id: int
    study_instance_uid: StudyInstanceUID | None
    patient_id: str | None
    issuer_of_patient_id: str | None
    reason: str
    added_at: datetime
    added_by: str
    lifted_at: datetime | None
    lifted_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One removal of a study's images that was decided."""

    removal_id: int
    study_instance_uid: StudyInstanceUID
    rule: str
    marked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A recorded image: what is needed to remove its file."""

    sop_instance_uid: SOPInstanceUID
    path: PurePosixPath
    sha256: str


class RetentionSql:
    """What is kept and what goes. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------ holds and classes
    def add_hold(
        self,
        *,
        study: StudyInstanceUID | None = None,
        patient_id: str | None = None,
        issuer: str | None = None,
        reason: str,
        by: str,
        at: datetime,
    ) -> int:
        """Keep a study, or all studies of a patient, those to come too; the hold's number."""
        with transaction(self._engine) as connection:
            done = connection.execute(
                holds.insert()
                .values(
                    study_instance_uid=study,
                    patient_id=patient_id,
                    issuer_of_patient_id=issuer,
                    reason=reason,
                    added_at=at,
                    added_by=by,
                )
                .returning(holds.c.hold_id)
            )
            number = int(done.scalar_one())
            self._tell_held(connection, number, "hold_added", at)
        return number

    def lift_hold(self, number: int, *, by: str, at: datetime) -> bool:
        """Lift a hold; False where there is none, or it was lifted before."""
        with transaction(self._engine) as connection:
            done = connection.execute(
                holds.update()
                .where(holds.c.hold_id == number, holds.c.lifted_at.is_(None))
                .values(lifted_at=at, lifted_by=by)
            )
            if done.rowcount != 1:
                return False
            self._tell_held(connection, number, "hold_lifted", at)
        return True

    def holds(self, *, lifted: bool = False) -> Sequence[Hold]:
        """The holds, oldest first; those too that were lifted, if asked for."""
        with transaction(self._engine) as connection:
            wanted = sa.select(holds).order_by(holds.c.hold_id)
            if not lifted:
                wanted = wanted.where(holds.c.lifted_at.is_(None))
            return [Hold(**row) for row in connection.execute(wanted).mappings()]

    def classify(self, study: StudyInstanceUID, record_class: RecordClass, *, by: str, at: datetime) -> None:
        """Say what kind of medical record a study belongs to; the last word counts, the trail has all."""
        with transaction(self._engine) as connection:
            values = {"record_class": record_class.value, "set_at": at, "set_by": by}
            here = record_classes.c.study_instance_uid == study
            if not connection.execute(record_classes.update().where(here).values(values)).rowcount:
                connection.execute(record_classes.insert().values(study_instance_uid=study, **values))
            self._tell(connection, study, "record_class_set", at, {"record_class": record_class.value})

    def _tell_held(self, connection: sa.Connection, number: int, event: str, at: datetime) -> None:
        """On the trail of every study that the hold keeps now."""
        held = (
            sa.select(studies.c.study_instance_uid)
            .join(holds, keeps(holds, studies))
            .where(holds.c.hold_id == number)
        )
        for (uid,) in connection.execute(held).all():
            self._tell(connection, uid, event, at, {"hold": number})

    # ------------------------------------------------------------------ what may go
    def candidates(self, before: datetime, quarantined: Collection[SOPInstanceUID]) -> Iterator[Facts]:
        """The studies whose last image came before a moment and whose images are here, oldest first.

        Page by page, so that nothing is locked for long.
        """
        after: tuple[datetime, str] | None = None
        while True:
            with transaction(self._engine) as connection:
                rows = connection.execute(page_of(connection, before, after)).mappings().all()
                involved = studies_of(connection, rows, quarantined)
            for row in rows:
                yield facts_of(row, involved)
            if len(rows) < PAGE:
                return
            after = (rows[-1]["last_received_at"], rows[-1]["study_instance_uid"])

    def mark(
        self,
        study: StudyInstanceUID,
        decide: Callable[[Facts], Verdict],
        quarantined: Collection[SOPInstanceUID],
        at: datetime,
    ) -> Removal | None:
        """Decide once more and write it down, in one transaction; None where the images stay after all."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    facts_query(connection)
                    .where(studies.c.study_instance_uid == study, ~is_removed())
                    .with_for_update(of=studies)
                )
                .mappings()
                .one_or_none()
            )
            if row is None:
                return None
            verdict = decide(facts_of(row, studies_of(connection, [row], quarantined)))
            if verdict.rule is None:
                return None
            number = connection.execute(
                removals.insert()
                .values(study_instance_uid=study, rule=verdict.rule, state=MARKED, marked_at=at)
                .returning(removals.c.removal_id)
            ).scalar_one()
        return Removal(removal_id=number, study_instance_uid=study, rule=verdict.rule, marked_at=at)

    def marked(self) -> Sequence[Removal]:
        """The removals that were decided and have not ended, oldest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(removals).where(removals.c.state == MARKED).order_by(removals.c.removal_id)
            ).mappings()
            return [_removal(row) for row in found]

    def done_of(self, found: Collection[StudyInstanceUID]) -> Mapping[StudyInstanceUID, Removal]:
        """The last removal that was done, of those studies that had one."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.select(removals)
                .where(removals.c.state == DONE, removals.c.study_instance_uid.in_(list(found)))
                .order_by(removals.c.removal_id)
            ).mappings()
            return {StudyInstanceUID(row["study_instance_uid"]): _removal(row) for row in rows}

    def facts(self, study: StudyInstanceUID, quarantined: Collection[SOPInstanceUID]) -> Facts | None:
        """What the rules must know of one study, also where its images were removed; None: no such study."""
        with transaction(self._engine) as connection:
            wanted = facts_query(connection).where(studies.c.study_instance_uid == study)
            row = connection.execute(wanted).mappings().one_or_none()
            return None if row is None else facts_of(row, studies_of(connection, [row], quarantined))

    def removed_again(
        self, study: StudyInstanceUID, rule: str, *, at: datetime, files: int, size_bytes: int
    ) -> None:
        """On the trail: images that were removed before had come once more."""
        details = {"rule": rule, "files": files, "size_bytes": size_bytes}
        with transaction(self._engine) as connection:
            self._tell(connection, study, "images_removed", at, details)

    def is_held(self, study: StudyInstanceUID) -> bool:
        """Whether a hold keeps the study."""
        with transaction(self._engine) as connection:
            held = sa.select(on_hold(connection)).where(studies.c.study_instance_uid == study)
            return bool(connection.execute(held).scalar())

    def images(self, removal: Removal) -> Sequence[Filed]:
        """The recorded images that a removal is about. Notes and reports of others stay."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(instances.c.sop_instance_uid, instances.c.path, instances.c.sha256).where(
                    instances.c.study_instance_uid == removal.study_instance_uid,
                    instances.c.rows.is_not(None),
                    instances.c.received_at < removal.marked_at,
                )
            ).all()
        return [
            Filed(sop_instance_uid=SOPInstanceUID(uid), path=PurePosixPath(path), sha256=sha256)
            for uid, path, sha256 in found
        ]

    def own(self, found: Collection[str]) -> set[str]:
        """Those of the instances that are documents of ours, come back from a PACS."""
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.select(documents.c.uid).where(documents.c.uid.in_(list(found))))
            return {uid for (uid,) in rows}

    def end(self, removal: Removal, state: str, *, at: datetime, files: int = 0, size_bytes: int = 0) -> bool:
        """The files are gone, or a hold came first; on the trail. False where it had ended before."""
        with transaction(self._engine) as connection:
            done = connection.execute(
                removals.update()
                .where(removals.c.removal_id == removal.removal_id, removals.c.state == MARKED)
                .values(state=state, ended_at=at, files=files, size_bytes=size_bytes)
            )
            if done.rowcount != 1:
                return False
            event = "images_removed" if state == DONE else "images_kept"
            details = {"rule": removal.rule, "files": files, "size_bytes": size_bytes}
            self._tell(connection, removal.study_instance_uid, event, at, details)
        return True

    def _tell(
        self, connection: sa.Connection, uid: str, event: str, at: datetime, details: Mapping[str, Any]
    ) -> None:
        connection.execute(
            trail.insert().values(study_instance_uid=uid, at=at, event=event, details=dict(details))
        )


def _removal(row: Row) -> Removal:
    return Removal(
        removal_id=row["removal_id"],
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        rule=row["rule"],
        marked_at=row["marked_at"],
    )
