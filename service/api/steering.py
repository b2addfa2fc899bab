"""`/queue` and `/api/v1/queue`: what waits and what was refused; and the verbs: send again, repeat, stop.

A form leads back to the page it came from; a program gets what it asked for as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.queue_read import Group, Queue
from hoichan.guard.audit import Audited
from hoichan.intake.pressure import PLACE
from hoichan.types import StudyInstanceUID, Urgency
from service.api import problems
from service.api.desk import AtDesk, Desk
from service.api.show import show
from service.api.studies import StudyUid
from service.causes import cause_of
from service.steering import Replay, replay

router = APIRouter(prefix="/api/v1", tags=["queue"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)

Destination = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]
Repeat = Annotated[bool, Query(alias="failed_only", description="False: also what has an answer")]


class GroupOut(BaseModel):
    """What waits for one sender, model, urgency or receiver."""

    name: str
    waiting: int
    in_work: int
    dead: int
    oldest_at: datetime | None

    @classmethod
    def of(cls, group: Group) -> GroupOut:
        """From the reading side."""
        return cls(
            name=group.name,
            waiting=group.waiting,
            in_work=group.in_work,
            dead=group.dead,
            oldest_at=group.oldest_at,
        )


class DeadLetterOut(BaseModel):
    """A refused delivery."""

    idempotency_key: str
    study_instance_uid: str
    destination: str
    acknowledgement: str | None
    cause: str | None  # name of the fault, see the operations manual
    attempts: int
    created_at: datetime


class ForwardOut(BaseModel):
    """Received images of one study that a rule sends on, and that a person must look at."""

    study_instance_uid: str
    rule: str
    destination: str
    state: str  # dead | held
    instances: int
    acknowledgement: str | None
    cause: str | None


class HaltedOut(BaseModel):
    """A study that failed, or that was set aside because nobody could record it."""

    study_instance_uid: str
    code: str
    images: int  # that were set aside while the others go on; 0: the whole study
    at: datetime


class QueueOut(BaseModel):
    """The queue. Identifiers, titles and counts only."""

    waiting: int
    in_work: int
    oldest_at: datetime | None
    undelivered: int
    dead: int
    analysed_per_hour: int
    delivered_per_hour: int
    halted: int  # studies that go no further by themselves
    by_urgency: list[GroupOut]
    by_sender: list[GroupOut]
    by_model: list[GroupOut]
    by_receiver: list[GroupOut]
    dead_letters: list[DeadLetterOut]
    halted_studies: list[HaltedOut]
    forwards: list[ForwardOut]

    @classmethod
    def of(cls, queue: Queue) -> QueueOut:
        """From the reading side."""
        urgencies = [
            GroupOut.of(one).model_copy(update={"name": list(Urgency)[int(one.name)].value})
            for one in queue.by_urgency
        ]
        letters = [
            DeadLetterOut(
                idempotency_key=one.idempotency_key,
                study_instance_uid=one.study_instance_uid,
                destination=one.destination,
                acknowledgement=one.acknowledgement,
                cause=cause_of(one.acknowledgement),
                attempts=one.attempts,
                created_at=one.created_at,
            )
            for one in queue.dead_letters
        ]
        return cls(
            waiting=queue.waiting,
            in_work=queue.in_work,
            oldest_at=queue.oldest_at,
            undelivered=queue.undelivered,
            dead=queue.dead,
            analysed_per_hour=queue.analysed_per_hour,
            delivered_per_hour=queue.delivered_per_hour,
            by_urgency=urgencies,
            by_sender=[GroupOut.of(one) for one in queue.by_sender],
            by_model=[GroupOut.of(one) for one in queue.by_model],
            by_receiver=[GroupOut.of(one) for one in queue.by_receiver],
            dead_letters=letters,
            halted=queue.halted_count,
            halted_studies=[
                HaltedOut(
                    study_instance_uid=one.study_instance_uid, code=one.code, images=one.images, at=one.at
                )
                for one in queue.halted
            ],
            forwards=[
                ForwardOut(
                    study_instance_uid=one.study_instance_uid,
                    rule=one.rule,
                    destination=one.destination,
                    state=one.state,
                    instances=one.instances,
                    acknowledgement=one.detail or None,
                    cause=cause_of(one.detail),
                )
                for one in queue.forwards
            ],
        )


@router.get("/queue")
def read_queue(desk: AtDesk) -> QueueOut:
    """What waits, by urgency, sender, model and receiver, and what was refused."""
    return QueueOut.of(desk.queue.look())


@page_router.get("/queue")
def show_queue(request: Request, desk: AtDesk) -> HTMLResponse:
    """The queue page."""
    return show(
        request,
        desk,
        "queue.html",
        queue=desk.queue.look(),
        receivers=desk.work.receivers(),
        urgencies=list(Urgency),
        cause_of=cause_of,
        shut=_shut(desk),
        backlog_hours=desk.settings.work.backlog_hours,
        quarantined=sum(QuarantineSql(desk.reading.engine, desk.clock).counts().values()),
    )


@router.post("/receivers/{destination}/replay", status_code=HTTPStatus.ACCEPTED)
def replay_receiver(request: Request, desk: AtDesk, destination: Destination) -> Response:
    """Send every refused delivery to one receiver again: the same bytes under the same keys."""
    keys = desk.queue.dead_keys(destination)
    for key in keys:
        delivery = desk.studies.delivery(key)
        desk.witness.record(
            request,
            Audited.SENDING,
            delivery.study_instance_uid,
            delivery.report_uid,
            detail=f"replay {destination}",
        )
        desk.studies.revive(key)
    return _answer(request, "/queue", {"deliveries": len(keys)})


@router.post("/studies/{study_uid}/replay", status_code=HTTPStatus.ACCEPTED)
def replay_study(request: Request, desk: AtDesk, study_uid: StudyUid, failed_only: Repeat = True) -> Response:
    """Repeat what failed or was stopped; or, with `failed_only=false`, analyse the newest revision again."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.told(uid)  # says that the study is unknown, where it is
    desk.witness.record(request, Audited.SENDING, uid, detail="replay")
    released = 0
    if failed_only:
        done = replay(desk.studies, uid)
        released = desk.steering.release(uid)
    else:
        waits = desk.settings.work.backlog_hours is not None
        done = Replay(analysed_again=desk.steering.analyse_again(uid, backlog=waits), waits=waits)
    told = {"analysed_again": done.analysed_again, "deliveries": done.deliveries, "released": released}
    return _answer(request, f"/studies/{uid}/trail", told)


@router.post("/studies/{study_uid}/forwards/retry", status_code=HTTPStatus.ACCEPTED)
def retry_forwards(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Send images that a rule sends on, and that a receiver refused or did not take yet, again now."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)
    desk.witness.record(request, Audited.SENDING, uid, detail="forward retry")
    return _answer(request, "/queue", {"instances": desk.steering.retry_forwards(uid)})


@router.post("/studies/{study_uid}/cancel", status_code=HTTPStatus.ACCEPTED)
def cancel_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Stop the work on a study: analyses without an answer, and deliveries that are not acknowledged."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)
    desk.witness.record(request, Audited.WORK_CANCELLED, uid)
    stopped = desk.steering.cancel(uid)
    told = {"revisions": list(stopped.revisions), "deliveries": stopped.deliveries}
    return _answer(request, f"/studies/{uid}/trail", told)


def _answer(request: Request, place: str, told: Mapping[str, object]) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)
    return JSONResponse(dict(told), status_code=HTTPStatus.ACCEPTED)


def _shut(desk: Desk) -> bool:
    """Whether the doors say "later" at this moment."""
    try:
        note = json.loads((desk.spool_root / PLACE).read_bytes())
    except (OSError, ValueError):
        return False
    return desk.clock.now() < datetime.fromisoformat(note["until"])
