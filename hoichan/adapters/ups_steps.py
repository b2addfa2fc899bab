"""Each state that a job was in, written in the transaction that changed it, so that no subscriber misses one.

A job only goes on: SCHEDULED, IN PROGRESS, then COMPLETED or CANCELED (PS3.4 CC.1.1). An analysis that is
tried again after a crash stays IN PROGRESS. Nothing is written while nobody subscribes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema import revisions
from hoichan.adapters.schema_ups import ups_steps, ups_subscriptions, ups_told
from hoichan.adapters.schema_worklists import workitems
from hoichan.adapters.workitem_rows import ProcedureStepState, job_name, state_of

RANK: Mapping[ProcedureStepState, int] = {
    ProcedureStepState.SCHEDULED: 0,
    ProcedureStepState.IN_PROGRESS: 1,
    ProcedureStepState.COMPLETED: 2,
    ProcedureStepState.CANCELED: 2,
}


def note_step(connection: sa.Connection, study: str, revision: int, at: datetime) -> None:
    """Write down how the present run of a revision stands now, if that is new and anybody subscribes."""
    if connection.execute(sa.select(ups_subscriptions.c.ae_title).limit(1)).first() is None:
        return
    same_job = sa.and_(
        workitems.c.study_instance_uid == revisions.c.study_instance_uid,
        workitems.c.revision == revisions.c.revision,
        workitems.c.run == revisions.c.runs,
    )
    row = (
        connection.execute(
            sa.select(
                *(revisions.c[name] for name in ("state", "begun", "runs")),
                *(workitems.c[name] for name in ("run", "claimed_by", "final")),
            )
            .outerjoin(workitems, same_job)
            .where(revisions.c.study_instance_uid == study, revisions.c.revision == revision)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return
    job = {"study_instance_uid": study, "revision": revision, "run": row["runs"]}
    state = state_of(dict(row))
    before = connection.execute(
        sa.select(ups_steps.c.state)
        .where(*(ups_steps.c[name] == value for name, value in job.items()))
        .order_by(ups_steps.c.id.desc())
        .limit(1)
    ).scalar()
    if before is None or RANK[ProcedureStepState(before)] < RANK[state]:
        connection.execute(ups_steps.insert().values(**job, state=str(state), at=at))


def steps_of(
    connection: sa.Connection, workitem_uids: Sequence[str], *, since: datetime
) -> dict[str, list[ProcedureStepState]]:
    """The states that these jobs were in since a moment, in order."""
    found: dict[str, list[ProcedureStepState]] = {}
    asked = connection.execute(
        sa.select(workitems.c.workitem_uid, ups_steps.c.state)
        .join(workitems, _same_job())
        .where(workitems.c.workitem_uid.in_(workitem_uids), ups_steps.c.at >= since)
        .order_by(ups_steps.c.id)
    )
    for uid, state in asked:
        found.setdefault(uid, []).append(ProcedureStepState(state))
    return found


def end_was_told(ae_title: str) -> sa.ColumnElement[bool]:
    """Whether this subscriber was told the end of the job that the surrounding query selects."""
    return (
        sa.exists()
        .where(
            ups_told.c.ae_title == ae_title,
            ups_told.c.workitem_uid == workitems.c.workitem_uid,
            ups_told.c.ended,
        )
        .correlate(workitems)
    )


def stepped(connection: sa.Connection, ae_title: str, *, since: datetime, limit: int) -> list[str]:
    """The jobs that moved since a moment and whose end this subscriber was not told, the oldest first.

    Also those whose run another took the place of meanwhile. Each gets its name here, if it has none yet.
    """
    moved = list(
        connection.execute(
            sa.select(
                ups_steps.c.study_instance_uid,
                ups_steps.c.revision,
                ups_steps.c.run.label("runs"),
                workitems.c.workitem_uid,
            )
            .outerjoin(workitems, _same_job())
            .where(ups_steps.c.at >= since, ~end_was_told(ae_title))
            .group_by(
                ups_steps.c.study_instance_uid,
                ups_steps.c.revision,
                ups_steps.c.run,
                workitems.c.workitem_uid,
            )
            .order_by(sa.func.min(ups_steps.c.id))
            .limit(limit)
        ).mappings()
    )
    names = []
    for row in moved:
        name = row["workitem_uid"]
        if name is None:
            made = job_name(dict(row))
            rows.insert_once(connection, workitems, made)
            name = made["workitem_uid"]
        names.append(str(name))
    return names


def trim(connection: sa.Connection, *, before: datetime) -> None:
    """Forget steps that are older than a moment."""
    connection.execute(ups_steps.delete().where(ups_steps.c.at < before))


def still_to_tell(
    told: ProcedureStepState | None, steps: Iterable[ProcedureStepState], now: ProcedureStepState
) -> list[ProcedureStepState]:
    """The states that a subscriber did not hear of, in order, each once; the last is how the job stands.

    Without one that is new: the state that he was told last.
    """
    heard = [] if told is None else [told]
    for state in (*steps, now):
        if not heard or RANK[heard[-1]] < RANK[state]:
            heard.append(state)
    return heard[-1:] if told is not None and len(heard) == 1 else heard[0 if told is None else 1 :]


def _same_job() -> sa.ColumnElement[bool]:
    return sa.and_(
        workitems.c.study_instance_uid == ups_steps.c.study_instance_uid,
        workitems.c.revision == ups_steps.c.revision,
        workitems.c.run == ups_steps.c.run,
    )
