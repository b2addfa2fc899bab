"""A job from its rows: how it stands is told by `revisions`, who has it by `workitems` (PS3.4 annex CC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.person_rows import PERSON, person
from hoichan.adapters.schema import reports, revisions, series, studies
from hoichan.adapters.schema_ups import ups_outputs
from hoichan.adapters.schema_work import analyses
from hoichan.adapters.schema_worklists import workitems
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
    readiness: str = "READY"  # (0040,4041): INCOMPLETE while the images are not here
    outputs: tuple[dict[str, Any], ...] = ()  # (0040,4033), as another program said


def named(connection: sa.Connection, row: Mapping[Any, Any]) -> dict[Any, Any]:
    """The row of a job with its name, which it gets here if it has none yet."""
    if row["workitem_uid"] is not None:
        return dict(row)
    name = job_name(dict(row))
    rows.insert_once(connection, workitems, name)
    return {**row, "workitem_uid": name["workitem_uid"], "run": name["run"]}


def of_job(table: sa.Table, row: rows.Row) -> tuple[sa.ColumnElement[bool], ...]:
    """Rows of the same revision."""
    return table.c.study_instance_uid == row["study_instance_uid"], table.c.revision == row["revision"]


def job_name(row: rows.Row) -> dict[str, Any]:
    """The name that we give the present run of a revision."""
    job = (row["study_instance_uid"], row["revision"], row["runs"])
    return {
        "workitem_uid": derived_uid(*job, "workitem"),
        "study_instance_uid": job[0],
        "revision": job[1],
        "run": job[2],
    }


def is_in(state: ProcedureStepState) -> sa.ColumnElement[bool]:
    """Jobs in a state, the same rules as `state_of`."""
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


def state_of(row: Mapping[str, Any]) -> ProcedureStepState:
    """How a job stands."""
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


def jobs(*wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
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


def job_row(connection: sa.Connection, workitem_uid: str) -> rows.Row | None:
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


def item_of(connection: sa.Connection, row: Mapping[str, Any]) -> Workitem:
    """The job of a row that `jobs` or `job_row` selected."""
    uid = StudyInstanceUID(row["study_instance_uid"])
    state = state_of(row)
    report = connection.execute(
        sa.select(reports.c.report_uid)
        .where(reports.c.study_instance_uid == uid, reports.c.revision == row["revision"])
        .order_by(reports.c.created_at.desc())
        .limit(1)
    ).scalar()
    return Workitem(
        workitem_uid=row["workitem_uid"] or job_name(row)["workitem_uid"],
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
        outputs=tuple(
            connection.execute(
                sa.select(ups_outputs.c.content).where(ups_outputs.c.workitem_uid == row["workitem_uid"])
            ).scalar()
            or ()
        ),
    )
