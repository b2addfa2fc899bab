"""Work that was asked for before its images are here: SCHEDULED and not ready, until they come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.person_rows import PERSON, person
from hoichan.adapters.schema import revisions, studies
from hoichan.adapters.schema_ups import ups_awaited
from hoichan.adapters.schema_worklists import workitems
from hoichan.adapters.workitem_rows import ProcedureStepState, Workitem
from hoichan.types import StudyInstanceUID, Urgency

LONGEST_WAIT = timedelta(days=7)
NEVER_CAME = "intake.images_never_came"


def bind_awaited(connection: sa.Connection) -> int:
    """Give the jobs of studies that have come since the names that were chosen for them; how many."""
    arrived = list(
        connection.execute(
            _unbound()
            .join(studies, studies.c.study_instance_uid == ups_awaited.c.study_instance_uid)
            .join(
                revisions,
                sa.and_(
                    revisions.c.study_instance_uid == studies.c.study_instance_uid,
                    revisions.c.revision == studies.c.last_revision,
                ),
            )
            .where(~ups_awaited.c.cancelled)
            .add_columns(revisions.c.revision, revisions.c.runs)
        ).mappings()
    )
    for row in arrived:
        job = {key: row[key] for key in ("study_instance_uid", "revision")} | {"run": row["runs"]}
        taken = connection.execute(
            sa.select(workitems.c.workitem_uid).where(
                *(workitems.c[name] == value for name, value in job.items())
            )
        ).first()
        if taken is None:
            connection.execute(workitems.insert().values(workitem_uid=row["workitem_uid"], **job))
        else:  # the images came in the moment of asking: that job has a name already
            connection.execute(
                ups_awaited.update()
                .where(ups_awaited.c.workitem_uid == row["workitem_uid"])
                .values(cancelled=True)
            )
    return len(arrived)


def awaited_items(
    connection: sa.Connection, now: datetime, *, workitem_uid: str | None = None, study: str | None = None
) -> list[Workitem]:
    """Jobs whose images are not here, the oldest first; also those that were given up."""
    wanted = _unbound().order_by(ups_awaited.c.at, ups_awaited.c.workitem_uid)
    if workitem_uid is not None:
        wanted = wanted.where(ups_awaited.c.workitem_uid == workitem_uid)
    if study is not None:
        wanted = wanted.where(ups_awaited.c.study_instance_uid == study)
    return [_item(row, now) for row in connection.execute(wanted).mappings()]


def _unbound() -> sa.Select[Any]:
    bound = sa.exists().where(workitems.c.workitem_uid == ups_awaited.c.workitem_uid).correlate(ups_awaited)
    return sa.select(ups_awaited).where(~bound)


def _item(row: Mapping[Any, Any], now: datetime) -> Workitem:
    is_late = now - row["at"] >= LONGEST_WAIT
    ended = row["cancelled"] or is_late
    return Workitem(
        workitem_uid=row["workitem_uid"],
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        revision=0,
        state=ProcedureStepState.CANCELED if ended else ProcedureStepState.SCHEDULED,
        urgency=list(Urgency)[row["urgency"]],
        models=(),
        scheduled_at=row["at"],
        progress=None,
        claimed_by=None,
        patient=person({**dict.fromkeys(PERSON), "patient_id": "", "patient_name": ""}),
        accession_number=None,
        reason=NEVER_CAME if is_late and not row["cancelled"] else None,
        report_uid=None,
        series_instance_uids=(),
        readiness="INCOMPLETE",
    )
