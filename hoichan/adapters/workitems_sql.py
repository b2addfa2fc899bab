"""Jobs as other systems see them: the present run of each revision, and who claimed one (PS3.4 annex CC).

There is one record of work, `revisions`; an item's state is read from it. A claim takes a job away from our
own workers in the same transaction that looks whether it is free, so only one of all performers gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema import revisions, studies, trail
from hoichan.adapters.schema_ups import ups_awaited
from hoichan.adapters.schema_worklists import workitems
from hoichan.adapters.transactions import transaction
from hoichan.adapters.ups_awaited import awaited_items, bind_awaited
from hoichan.adapters.ups_steps import note_step
from hoichan.adapters.workitem_rows import (
    FINAL,
    ProcedureStepState,
    Verdict,
    Workitem,
    is_in,
    item_of,
    job_row,
    jobs,
    named,
    of_job,
    state_of,
)
from hoichan.ports import Clock
from hoichan.types import StudyInstanceUID, StudyState, Urgency


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
            wanted.append(sa.or_(*(is_in(state) for state in states)))
        with transaction(self._engine) as connection:
            bind_awaited(connection)
            found = [
                item_of(connection, named(connection, row))
                for row in list(connection.execute(jobs(*wanted).limit(limit).offset(offset)).mappings())
            ]
            if accession is None and len(found) < limit:  # what waits for its images comes last
                waiting = [
                    item
                    for item in awaited_items(connection, self._clock.now(), study=study)
                    if not states or item.state in states
                ]
                ahead: int = 0 if not offset else connection.execute(_count(*wanted)).scalar_one()
                found += waiting[max(offset - ahead, 0) :][: limit - len(found)]
            return found

    def one(self, workitem_uid: str) -> Workitem | None:
        """One job; None when nobody was told of it."""
        with transaction(self._engine) as connection:
            bind_awaited(connection)
            row = job_row(connection, workitem_uid)
            if row is not None:
                return item_of(connection, row)
            return next(iter(awaited_items(connection, self._clock.now(), workitem_uid=workitem_uid)), None)

    def wait_for(self, study: StudyInstanceUID, workitem_uid: str, *, who: str, urgency: Urgency) -> bool:
        """Work on a study that is not here yet; False where the UID, or such work, is there already."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            open_ones = [
                item for item in awaited_items(connection, now, study=study) if item.state not in FINAL
            ]
            if open_ones or job_row(connection, workitem_uid) is not None:
                return False
            return rows.insert_once(
                connection,
                ups_awaited,
                {
                    "workitem_uid": workitem_uid,
                    "study_instance_uid": study,
                    "who": who,
                    "at": now,
                    "urgency": list(Urgency).index(urgency),
                    "cancelled": False,
                },
            )

    def give_up_waiting(self, workitem_uid: str) -> bool:
        """Wait no longer for the images of a job; False where they are here."""
        with transaction(self._engine) as connection:
            return bool(
                connection.execute(
                    ups_awaited.update()
                    .where(ups_awaited.c.workitem_uid == workitem_uid)
                    .values(cancelled=True)
                ).rowcount
            )

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
            row = job_row(connection, workitem_uid)
            if row is None:
                return Verdict.UNKNOWN
            state = state_of(row)
            if state in FINAL:
                return Verdict.FINISHED
            taken = (
                connection.execute(
                    revisions.update()
                    .where(
                        *of_job(revisions, row),
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
            note_step(connection, row["study_instance_uid"], row["revision"], now)
            self._shown(connection, row, StudyState.CANCELLED)
            self._note(connection, row, "work_claimed", who)
            return Verdict.DONE

    def progress(self, workitem_uid: str, transaction_uid: str, percent: int | None) -> Verdict:
        """How far its holder is; any word of his keeps the claim."""
        with transaction(self._engine) as connection:
            row = job_row(connection, workitem_uid)
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
            row = job_row(connection, workitem_uid)
            if row is not None and row["final"] == state and row["transaction_uid"] == transaction_uid:
                return Verdict.ALREADY_SO
            verdict = _may_change(row, transaction_uid)
            if verdict is Verdict.DONE and row is not None:
                self._finish(connection, row, state)
            return verdict

    def release_silent(self, longest: timedelta) -> int:
        """Give the jobs of holders who said nothing for so long to our own workers; how many."""
        with transaction(self._engine) as connection:
            bind_awaited(connection)
            silent = connection.execute(
                sa.select(workitems.c.workitem_uid).where(
                    workitems.c.touched_at <= self._clock.now() - longest, workitems.c.final.is_(None)
                )
            ).scalars()
            released = [row for uid in list(silent) if (row := job_row(connection, uid)) is not None]
            for row in released:
                self._finish(connection, row, ProcedureStepState.CANCELED)
            return len(released)

    def _finish(self, connection: sa.Connection, row: rows.Row, state: ProcedureStepState) -> None:
        connection.execute(
            workitems.update()
            .where(workitems.c.workitem_uid == row["workitem_uid"])
            .values(final=str(state), touched_at=None)
        )
        job = (row["study_instance_uid"], row["revision"])
        note_step(connection, *job, self._clock.now())
        if state is ProcedureStepState.COMPLETED:
            self._note(connection, row, "work_done_elsewhere", row["claimed_by"])
            made = item_of(connection, row).outputs
            if made:
                self._note(connection, row, "results_elsewhere", row["claimed_by"], outputs=len(made))
            return
        again = connection.execute(
            revisions.update()
            .where(
                *of_job(revisions, row),
                revisions.c.runs == row["run"],
                revisions.c.state == StudyState.CANCELLED,
            )
            .values(state=StudyState.ASSEMBLED, runs=revisions.c.runs + 1, begun=0)
        ).rowcount
        if again:
            note_step(connection, *job, self._clock.now())
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

    def _note(
        self, connection: sa.Connection, row: rows.Row, event: str, who: str | None, **more: int
    ) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=row["study_instance_uid"],
                at=self._clock.now(),
                event=event,
                details={"revision": row["revision"], "user": who or "", **more},
            )
        )


def _may_change(row: rows.Row | None, transaction_uid: str) -> Verdict:
    if row is None:
        return Verdict.UNKNOWN
    if state_of(row) in FINAL:
        return Verdict.FINISHED
    if row["claimed_by"] is None:
        return Verdict.NOT_CLAIMED
    return Verdict.DONE if row["transaction_uid"] == transaction_uid else Verdict.WRONG_TRANSACTION


def _count(*wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(jobs(*wanted).order_by(None).subquery())
