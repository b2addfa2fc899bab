"""Links that show one signed report to an outsider: made, listed and taken back by who may see the study."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.patients_sql import people_of
from hoichan.adapters.shares_sql import Share, SharesSql
from hoichan.guard.audit import Audited
from hoichan.types import StudyInstanceUID
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.notices import Number
from service.api.reading import reviews_of
from service.api.show import show
from service.api.studies import StudyUid

LONGEST_DAYS = 90
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not possible as things stand", "content": {problems.MEDIA_TYPE: {}}}
}

router = APIRouter(prefix="/api/v1", tags=["shares"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class MakeShare(BaseModel):
    """How long a link lasts, and what opens it besides."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(7, ge=1, le=LONGEST_DAYS)
    pin: str = Field("", pattern=r"^([0-9]{6,12})?$")  # "": the link alone opens it


class ShareOut(BaseModel):
    """A link, without the link itself: that is told once."""

    number: int
    made_by: str
    made_at: datetime
    ends_at: datetime
    has_pin: bool
    opened: int
    last_opened_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    is_open: bool


class SharesOut(BaseModel):
    """Newest first."""

    items: list[ShareOut]


class MadeOut(BaseModel):
    """A new link. It cannot be asked for again."""

    number: int
    address: str
    ends_at: datetime


@router.get("/studies/{study_uid}/shares", response_model=SharesOut)
def list_shares(request: Request, desk: AtDesk, study_uid: StudyUid) -> SharesOut:
    """The links of one study."""
    return SharesOut(items=_of(request, desk, study_uid))


@router.post(
    "/studies/{study_uid}/shares", status_code=HTTPStatus.CREATED, response_model=MadeOut, responses=_NOT_NOW
)
def make(request: Request, desk: AtDesk, study_uid: StudyUid, wanted: MakeShare) -> Response | MadeOut:
    """Make a link to the signed report that stands."""
    return _make(request, desk, StudyInstanceUID(study_uid), wanted)


@router.post("/shares/{number}/revoke", status_code=HTTPStatus.NO_CONTENT, responses=_NOT_NOW)
def revoke(request: Request, desk: AtDesk, number: Number) -> Response:
    """Take a link back; it shows nothing from now on."""
    done = _revoke(request, desk, number)
    return done if isinstance(done, Response) else Response(status_code=HTTPStatus.NO_CONTENT)


@page_router.get("/studies/{study_uid}/shares")
def show_shares(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """The links of one study, and a form for a new one."""
    return _page(request, desk, study_uid, made=None)


@page_router.post("/studies/{study_uid}/shares")
def make_by_form(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Make one by the form of the page; the answer is the only place that shows it."""
    fields = {key: value for key, value in request.state.fields.items() if key in MakeShare.model_fields}
    try:
        wanted = MakeShare.model_validate(fields)
    except ValidationError:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "share.malformed")
    made = _make(request, desk, StudyInstanceUID(study_uid), wanted)
    return made if isinstance(made, Response) else _page(request, desk, study_uid, made=made)


@page_router.post("/shares/{number}/revoke")
def revoke_by_form(request: Request, desk: AtDesk, number: Number) -> Response:
    """Take one back by the button of the page."""
    done = _revoke(request, desk, number)
    if isinstance(done, Response):
        return done
    return RedirectResponse(f"/studies/{done}/shares", status_code=HTTPStatus.SEE_OTHER)


def shares_of(desk: Desk) -> SharesSql:
    """The links of this record."""
    return SharesSql(desk.reading.engine, desk.clock)


def _of(request: Request, desk: Desk, study_uid: str) -> list[ShareOut]:
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)  # says that the study is unknown, where it is
    desk.witness.record(request, Audited.VIEWED, uid, detail="shares")
    return [_out(one, desk.clock.now()) for one in shares_of(desk).of(uid)]


def _page(request: Request, desk: Desk, study_uid: str, *, made: MadeOut | None) -> HTMLResponse:
    found = _of(request, desk, study_uid)
    uid = StudyInstanceUID(study_uid)
    return show(
        request,
        desk,
        "shares.html",
        study_uid=study_uid,
        whose=people_of(desk.reading.engine, [uid], desk.sight),
        found=found,
        made=made,
        signed=reviews_of(desk).stands(uid),
        longest=LONGEST_DAYS,
    )


def _make(request: Request, desk: Desk, uid: StudyInstanceUID, wanted: MakeShare) -> Response | MadeOut:
    desk.reading.trail(uid)
    if not reviews_of(desk).stands(uid):
        return problems.answer(request, HTTPStatus.CONFLICT, "share.not_signed")
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else through
    lasts = timedelta(days=wanted.days)
    detail = f"made {wanted.days} days{' with a PIN' if wanted.pin else ''}"
    desk.witness.record(request, Audited.SHARE_CHANGED, uid, detail=detail)
    pin_hash = desk.passwords.hashed(wanted.pin) if wanted.pin else None
    number, token = shares_of(desk).make(uid, who=caller.user_name, lasts=lasts, pin_hash=pin_hash)
    place = desk.settings.web.public_url or str(request.base_url)
    address = f"{place.rstrip('/')}/shared/{token}"
    return MadeOut(number=number, address=address, ends_at=desk.clock.now() + lasts)


def _revoke(request: Request, desk: Desk, number: int) -> Response | str:
    """The study's UID, or why not."""
    one = shares_of(desk).get(number)
    caller = caller_of(request)
    assert caller is not None
    seen = one is not None and desk.access.sees(desk.sight, one.study_instance_uid)
    if one is None or not seen or desk.access.is_lent(desk.sight, one.study_instance_uid):
        return problems.answer(request, HTTPStatus.CONFLICT, "share.ended")
    uid = one.study_instance_uid
    desk.witness.record(request, Audited.SHARE_CHANGED, uid, detail=f"revoked {number}")
    if not shares_of(desk).revoke(number, who=caller.user_name):
        return problems.answer(request, HTTPStatus.CONFLICT, "share.ended")
    return str(uid)


def _out(one: Share, now: datetime) -> ShareOut:
    return ShareOut(
        number=one.number,
        made_by=one.made_by,
        made_at=one.made_at,
        ends_at=one.ends_at,
        has_pin=one.pin_hash is not None,
        opened=one.opened,
        last_opened_at=one.last_opened_at,
        revoked_at=one.revoked_at,
        revoked_by=one.revoked_by,
        is_open=one.is_open(now),
    )
