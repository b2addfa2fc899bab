"""Critical findings that wait for a person: `/notices`, and the acknowledgement.

What a machine found is told as the machine's word, unconfirmed, wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan import codes
from hoichan.adapters.notices_sql import NoticesSql
from hoichan.adapters.patients_sql import people_of
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from hoichan.reporting.notices import NoticeState
from hoichan.types import StudyInstanceUID
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.show import show

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]

router = APIRouter(prefix="/api/v1", tags=["notices"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class ToldOut(BaseModel):
    """One channel; `told_at` is null while it has not taken it."""

    channel: str
    attempts: int
    told_at: datetime | None


class NoticeOut(BaseModel):
    """A critical finding that nobody has acknowledged."""

    number: int
    study_instance_uid: StudyInstanceUID
    confirmed: bool  # by a physician's signature; false: the machine's word alone
    withdrawn: bool  # a physician withdrew the report that was told of: it has no findings
    taken_back: bool  # a rejection note took the machine's result back: nobody stands for the findings
    findings: list[Mapping[str, str]]  # language -> name
    born_at: datetime
    told: list[ToldOut]


class NoticesOut(BaseModel):
    """Open notices, oldest first."""

    items: list[NoticeOut]


@router.get("/notices", response_model=NoticesOut)
def list_notices(request: Request, desk: AtDesk) -> NoticesOut:
    """What waits to be acknowledged, oldest first."""
    return NoticesOut(items=_open(request, desk))


@router.post(
    "/notices/{number}/acknowledge",
    status_code=HTTPStatus.NO_CONTENT,
    responses={409: {"description": "Ended already, or unknown", "content": {problems.MEDIA_TYPE: {}}}},
)
def acknowledge(request: Request, desk: AtDesk, number: Number) -> Response:
    """Say that a person has taken note; nobody else is told after that."""
    if not _acknowledge(request, desk, number):
        return problems.answer(request, HTTPStatus.CONFLICT, "notice.ended")
    return Response(status_code=HTTPStatus.NO_CONTENT)


@page_router.get("/notices")
def show_notices(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    found = _open(request, desk)
    whose = people_of(desk.reading.engine, [one.study_instance_uid for one in found], desk.sight)
    return show(request, desk, "notices.html", notices=found, whose=whose)


@page_router.post("/notices/{number}/acknowledge")
def acknowledge_by_form(request: Request, desk: AtDesk, number: Number) -> Response:
    """By the button of the page; a notice that has ended meanwhile is simply no longer there."""
    _acknowledge(request, desk, number)
    return RedirectResponse("/notices", status_code=HTTPStatus.SEE_OTHER)


def unacknowledged(request: Request, desk: Desk) -> int:
    """How many wait, for those who may see them."""
    caller = caller_of(request)
    if caller is None or not caller.may(Action.STUDY_READ):
        return 0
    return _notices(desk).waiting()


def names_of(key: str) -> Mapping[str, str]:
    """A finding's name in each language."""
    term = codes.FINDINGS.get(key)
    return dict(term.display) if term else {"vi": key, "en": key}


def _open(request: Request, desk: Desk) -> list[NoticeOut]:
    rows = _notices(desk)
    found = rows.open()
    told = rows.tellings([one.number for one in found])
    desk.witness.record(request, Audited.QUERIED, detail="notices")
    return [
        NoticeOut(
            number=one.number,
            study_instance_uid=one.study_instance_uid,
            confirmed=one.confirmed,
            withdrawn=one.is_withdrawal,
            taken_back=one.taken_back,
            findings=[names_of(key) for key in one.critical],
            born_at=one.born_at,
            told=[
                ToldOut(channel=each.channel, attempts=each.attempts, told_at=each.told_at)
                for each in told.get(one.number, ())
            ],
        )
        for one in found
    ]


def _acknowledge(request: Request, desk: Desk, number: int) -> bool:
    rows = _notices(desk)
    one = rows.get(number)
    if one is None or one.state is not NoticeState.OPEN:
        return False
    desk.witness.record(
        request, Audited.CRITICAL_TOLD, one.study_instance_uid, detail=f"notice {number} acknowledged"
    )
    caller = caller_of(request)
    return rows.acknowledge(number, caller.user_name if caller else "unknown")


def _notices(desk: Desk) -> NoticesSql:
    return NoticesSql(desk.reading.engine, desk.clock, desk.sight)
