"""Jobs as other systems see them: the present run of each revision, and who claimed one (PS3.4 annex CC).

There is one record of work, `revisions`; an item's state is read from it. A claim takes a job away from our
own workers in the same transaction that looks whether it is free, so only one of all performers gets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.person_rows import PERSON, person
from hoichan.adapters.schema import reports, revisions, series, studies, trail
from hoichan.adapters.schema_work import analyses
from hoichan.adapters.schema_worklists import workitems
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.types import Patient, StudyInstanceUID, StudyState, Urgency
from hoichan.uids import derived_uid


class ProcedureStepState(StrEnum):
    """(0074,1000), PS3.4 CC.1.1."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


FINAL = frozenset({ProcedureStepState.COMPLETED, ProcedureStepState.CANCELED})


class Verdict(StrEnum):
    """What came of a request; the codes of PS3.4 table CC.2.1-3 stand with `service.api.ups`."""

    DONE = "done"
    UNKNOWN = "unknown"  # C307
    ALREADY_CLAIMED = "already_claimed"  # C302
    WRONG_TRANSACTION = "wrong_transaction"  # C301
    NOT_CLAIMED = "not_claimed"  # C310
    FINISHED = "finished"  # C300
    ALREADY_SO = "already_so"  # B304, B306: it had that final state before


@dataclass(frozen=True, slots=True, kw_only=True)
class Workitem:
    """One job."""

    workitem_uid: str
    study_instance_uid: StudyInstanceUID
    revision: int
    state: ProcedureStepState
    urgency: Urgency
    models: tuple[str, ...]
    scheduled_at: datetime
    progress: int | None  # percent
    claimed_by: str | None
    patient: Patient
    accession_number: str | None
    reason: str | None  # code of what went wrong
    report_uid: str | None  # of the newest report of the revision
    series_instance_uids: tuple[str, ...]


class WorkitemsSql:
    """Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def find(
        self,
        *,
        states: Sequence[ProcedureStepState] = (),
        study: str | None = None,
        accession: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Sequence[Workitem]:
        """Jobs, most urgent first, then oldest first. Each gets its name here, if it has none yet."""
        wanted: list[sa.ColumnElement[bool]] = []
        if study is not None:
            wanted.append(revisions.c.study_instance_uid == study)
        if accession is not None:
            wanted.append(studies.c.accession_number == accession)
        if states:
            wanted.append(sa.or_(*(_is(state) for state in states)))
        with transaction(self._engine) as connection:
            found = list(connection.execute(_jobs(*wanted).limit(limit).offset(offset)).mappings())
            for row in found:
                if row["workitem_uid"] is None:
                    rows.insert_once(connection, workitems, _name(row))
            return [_item(connection, dict(row)) for row in found]

    def one(self, workitem_uid: str) -> Workitem | None:
        """One job; None when nobody was told of it."""
        with transaction(self._engine) as connection:
            row = _row(connection, workitem_uid)
            return None if row is None else _item(connection, row)

    def name(self, study: StudyInstanceUID, revision: int, workitem_uid: str) -> bool:
        """Call the present run by the UID that somebody chose; False where either has a name already."""
        with transaction(self._engine) as connection:
            run = connection.execute(
                sa.select(revisions.c.runs).where(
                    revisions.c.study_instance_uid == study, revisions.c.revision == revision
                )
            ).scalar()
            if run is None:
                return False
            job = {"study_instance_uid": study, "revision": revision, "run": run}
            taken = connection.execute(
                sa.select(workitems.c.workitem_uid).where(
                    sa.or_(
                        workitems.c.workitem_uid == workitem_uid,
                        sa.and_(*(workitems.c[key] == value for key, value in job.items())),
                    )
                )
            ).first()
            if taken is not None:
                return False
            connection.execute(workitems.insert().values(workitem_uid=workitem_uid, **job))
            return True

    def claim(self, workitem_uid: str, transaction_uid: str, *, who: str) -> Verdict:
        """Take a scheduled job away from our workers; its holder alone may change it from now on."""
        with transaction(self._engine) as connection:
            row = _row(connection, workitem_uid)
            if row is None:
                return Verdict.UNKNOWN
            state = _state(row)
            if state in FINAL:
                return Verdict.FINISHED
            taken = (
                connection.execute(
                    revisions.update()
                    .where(
                        *_of(revisions, row),
                        revisions.c.runs == row["runs"],
                        revisions.c.state == StudyState.ASSEMBLED,
                        revisions.c.begun == 0,
                    )
                    .values(state=StudyState.CANCELLED)
                ).rowcount
                if state is ProcedureStepState.SCHEDULED
                else 0
            )
            if not taken:
                return Verdict.ALREADY_CLAIMED
            now = self._clock.now()
            connection.execute(
                workitems.update()
                .where(workitems.c.workitem_uid == workitem_uid)
                .values(claimed_by=who, transaction_uid=transaction_uid, touched_at=now)
            )
            self._shown(connection, row, StudyState.CANCELLED)
            self._note(connection, row, "work_claimed", who)
            return Verdict.DONE

    def progress(self, workitem_uid: str, transaction_uid: str, percent: int | None) -> Verdict:
        """How far its holder is; any word of his keeps the claim."""
        with transaction(self._engine) as connection:
            row = _row(connection, workitem_uid)
            verdict = _may_change(row, transaction_uid)
            if verdict is Verdict.DONE:
                values: dict[str, Any] = {"touched_at": self._clock.now()}
                connection.execute(
                    workitems.update()
                    .where(workitems.c.workitem_uid == workitem_uid)
                    .values(values if percent is None else {**values, "progress": percent})
                )
            return verdict

    def finish(self, workitem_uid: str, transaction_uid: str, state: ProcedureStepState) -> Verdict:
        """Its holder completed it, or gave it up: then our own workers do it."""
        with transaction(self._engine) as connection:
            row = _row(connection, workitem_uid)
            if row is not None and row["final"] == state and row["transaction_uid"] == transaction_uid:
                return Verdict.ALREADY_SO
            verdict = _may_change(row, transaction_uid)
            if verdict is Verdict.DONE and row is not None:
                self._finish(connection, row, state)
            return verdict

    def release_silent(self, longest: timedelta) -> int:
        """Give the jobs of holders who said nothing for so long to our own workers; how many."""
        with transaction(self._engine) as connection:
            silent = connection.execute(
                sa.select(workitems.c.workitem_uid).where(
                    workitems.c.touched_at <= self._clock.now() - longest, workitems.c.final.is_(None)
                )
            ).scalars()
            released = [row for uid in list(silent) if (row := _row(connection, uid)) is not None]
            for row in released:
                self._finish(connection, row, ProcedureStepState.CANCELED)
            return len(released)

    def _finish(self, connection: sa.Connection, row: rows.Row, state: ProcedureStepState) -> None:
        connection.execute(
            workitems.update()
            .where(workitems.c.workitem_uid == row["workitem_uid"])
            .values(final=str(state), touched_at=None)
        )
        if state is ProcedureStepState.COMPLETED:
            self._note(connection, row, "work_done_elsewhere", row["claimed_by"])
            return
        again = connection.execute(
            revisions.update()
            .where(
                *_of(revisions, row),
                revisions.c.runs == row["run"],
                revisions.c.state == StudyState.CANCELLED,
            )
            .values(state=StudyState.ASSEMBLED, runs=revisions.c.runs + 1, begun=0)
        ).rowcount
        if again:
            self._shown(connection, row, StudyState.ASSEMBLED)
        self._note(connection, row, "work_given_back", row["claimed_by"])

    def _shown(self, connection: sa.Connection, row: rows.Row, state: StudyState) -> None:
        connection.execute(
            studies.update()
            .where(
                studies.c.study_instance_uid == row["study_instance_uid"],
                studies.c.last_revision == row["revision"],
                studies.c.state.in_([StudyState.ASSEMBLED, StudyState.CANCELLED]),
            )
            .values(state=state, state_reason=None)
        )

    def _note(self, connection: sa.Connection, row: rows.Row, event: str, who: str | None) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=row["study_instance_uid"],
                at=self._clock.now(),
                event=event,
                details={"revision": row["revision"], "user": who or ""},
            )
        )


def _of(table: sa.Table, row: rows.Row) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.study_instance_uid == row["study_instance_uid"], table.c.revision == row["revision"]


def _may_change(row: rows.Row | None, transaction_uid: str) -> Verdict:
    if row is None:
        return Verdict.UNKNOWN
    if _state(row) in FINAL:
        return Verdict.FINISHED
    if row["claimed_by"] is None:
        return Verdict.NOT_CLAIMED
    return Verdict.DONE if row["transaction_uid"] == transaction_uid else Verdict.WRONG_TRANSACTION


def _name(row: rows.Row) -> dict[str, Any]:
    job = (row["study_instance_uid"], row["revision"], row["runs"])
    return {
        "workitem_uid": derived_uid(*job, "workitem"),
        "study_instance_uid": job[0],
        "revision": job[1],
        "run": job[2],
    }


def _is(state: ProcedureStepState) -> sa.ColumnElement[bool]:
    """Jobs in a state, the same rules as `_state`."""
    claimed = sa.and_(workitems.c.claimed_by.is_not(None), workitems.c.final.is_(None))
    assembled = revisions.c.state == StudyState.ASSEMBLED
    match state:
        case ProcedureStepState.SCHEDULED:
            return sa.and_(assembled, revisions.c.begun == 0)
        case ProcedureStepState.IN_PROGRESS:
            return sa.or_(claimed, sa.and_(assembled, revisions.c.begun > 0))
        case ProcedureStepState.COMPLETED:
            return sa.or_(
                revisions.c.state == StudyState.REPORTED, workitems.c.final == ProcedureStepState.COMPLETED
            )
        case _:
            return sa.and_(
                revisions.c.state.in_([StudyState.FAILED, StudyState.CANCELLED]),
                sa.or_(workitems.c.claimed_by.is_(None), workitems.c.final == ProcedureStepState.CANCELED),
            )


def _state(row: Mapping[str, Any]) -> ProcedureStepState:
    if row["final"] is not None:
        return ProcedureStepState(row["final"])
    if row["claimed_by"] is not None:
        return ProcedureStepState.IN_PROGRESS
    if row["run"] is not None and row["run"] < row["runs"]:  # a later run took its place
        return ProcedureStepState.CANCELED
    match row["state"]:
        case StudyState.ASSEMBLED:
            return ProcedureStepState.IN_PROGRESS if row["begun"] else ProcedureStepState.SCHEDULED
        case StudyState.FAILED | StudyState.CANCELLED:
            return ProcedureStepState.CANCELED
        case _:
            return ProcedureStepState.COMPLETED


def _jobs(*wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The present run of each revision."""
    return (
        _selected(
            sa.and_(
                workitems.c.study_instance_uid == revisions.c.study_instance_uid,
                workitems.c.revision == revisions.c.revision,
                workitems.c.run == revisions.c.runs,
            )
        )
        .where(*wanted)
        .order_by(studies.c.urgency, revisions.c.assembled_at, revisions.c.study_instance_uid)
    )


def _selected(same_job: sa.ColumnElement[bool]) -> sa.Select[Any]:
    of_work = sa.and_(
        analyses.c.study_instance_uid == revisions.c.study_instance_uid,
        analyses.c.revision == revisions.c.revision,
    )
    return (
        sa.select(
            *(revisions.c[name] for name in ("study_instance_uid", "revision", "state", "runs", "begun")),
            revisions.c.assembled_at,
            *(studies.c[name] for name in (*PERSON, "accession_number", "urgency", "state_reason")),
            analyses.c.models,
            *(
                workitems.c[name]
                for name in ("workitem_uid", "run", "claimed_by", "transaction_uid", "progress", "final")
            ),
        )
        .join(studies, studies.c.study_instance_uid == revisions.c.study_instance_uid)
        .outerjoin(analyses, of_work)
        .outerjoin(workitems, same_job)
    )


def _row(connection: sa.Connection, workitem_uid: str) -> rows.Row | None:
    """The job of a name, also of a run that another took the place of; locked for who may change it."""
    same_job = sa.and_(
        workitems.c.study_instance_uid == revisions.c.study_instance_uid,
        workitems.c.revision == revisions.c.revision,
    )
    found = (
        connection.execute(_selected(same_job).where(workitems.c.workitem_uid == workitem_uid))
        .mappings()
        .one_or_none()
    )
    return None if found is None else dict(found)


def _item(connection: sa.Connection, row: Mapping[str, Any]) -> Workitem:
    uid = StudyInstanceUID(row["study_instance_uid"])
    state = _state(row)
    report = connection.execute(
        sa.select(reports.c.report_uid)
        .where(reports.c.study_instance_uid == uid, reports.c.revision == row["revision"])
        .order_by(reports.c.created_at.desc())
        .limit(1)
    ).scalar()
    return Workitem(
        workitem_uid=row["workitem_uid"] or _name(row)["workitem_uid"],
        study_instance_uid=uid,
        revision=row["revision"],
        state=state,
        urgency=list(Urgency)[row["urgency"]],
        models=tuple(name for name in (row["models"] or "").split("\\") if name),
        scheduled_at=row["assembled_at"],
        progress=100 if state is ProcedureStepState.COMPLETED else row["progress"],
        claimed_by=row["claimed_by"],
        patient=person({name: row[name] for name in PERSON}),
        accession_number=row["accession_number"],
        reason=row["state_reason"] if state is ProcedureStepState.CANCELED else None,
        report_uid=str(report) if report is not None and row["claimed_by"] is None else None,
        series_instance_uids=tuple(
            connection.execute(
                sa.select(series.c.series_instance_uid)
                .where(series.c.study_instance_uid == uid)
                .order_by(series.c.series_instance_uid)
            ).scalars()
        ),
    )
