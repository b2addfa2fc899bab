"""Second opinions: a colleague or a facility is asked about one study, answers, and the talk is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.opinions_sql import Opinion, OpinionsSql
from hoichan.adapters.patients_sql import people_of
from hoichan.errors import Forbidden, UserUnknown
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action, may
from hoichan.reporting.sealing import typed
from hoichan.types import StudyInstanceUID
from service.api import problems
from service.api.caller import Caller, caller_of
from service.api.desk import AtDesk, Desk
from service.api.notices import Number
from service.api.show import show
from service.api.studies import StudyUid

LONGEST_WORDS = 2000
Words = Annotated[str, AfterValidator(typed), Field(min_length=1, max_length=LONGEST_WORDS)]
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not possible as things stand", "content": {problems.MEDIA_TYPE: {}}}
}

router = APIRouter(prefix="/api/v1", tags=["opinions"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class AskOpinion(BaseModel):
    """A question to one account, or to those bound to a facility."""

    model_config = ConfigDict(extra="forbid")

    user: str = Field("", max_length=32)
    facility: str = Field("", max_length=32)
    words: Words


class Say(BaseModel):
    """An answer, or another word."""

    model_config = ConfigDict(extra="forbid")

    words: Words


class SaidOut(BaseModel):
    """What somebody wrote, and when."""

    author: str
    at: datetime
    words: str


class OpinionOut(BaseModel):
    """A question and what was said to it."""

    number: int
    study_instance_uid: str
    asked_by: str
    asked_user: str | None
    asked_facility: str | None
    asked_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    is_answered: bool
    said: list[SaidOut]


class OpinionsOut(BaseModel):
    """Questions, oldest first."""

    items: list[OpinionOut]


class MyOpinionsOut(BaseModel):
    """What waits for me, and what I have asked and not ended."""

    to_me: list[OpinionOut]
    by_me: list[OpinionOut]


@router.get("/opinions", response_model=MyOpinionsOut)
def list_opinions(request: Request, desk: AtDesk) -> MyOpinionsOut:
    """The open questions that concern me."""
    desk.witness.record(request, Audited.QUERIED, detail="opinions")
    rows, me = _rows(desk), _me(request).user_name
    return MyOpinionsOut(to_me=_out(rows.open_to(me)), by_me=_out(rows.open_by(me)))


@router.get("/studies/{study_uid}/opinions", response_model=OpinionsOut)
def opinions_of(request: Request, desk: AtDesk, study_uid: StudyUid) -> OpinionsOut:
    """All of one study, open and ended."""
    return OpinionsOut(items=_out(_of(request, desk, study_uid)))


@router.post(
    "/studies/{study_uid}/opinions",
    status_code=HTTPStatus.CREATED,
    response_model=OpinionOut,
    responses=_NOT_NOW,
)
def ask(request: Request, desk: AtDesk, study_uid: StudyUid, wanted: AskOpinion) -> Response | OpinionOut:
    """Ask. Who is asked sees this study, and this one only, until the question ends."""
    number = _ask(request, desk, StudyInstanceUID(study_uid), wanted)
    if isinstance(number, Response):
        return number
    made = _rows(desk).get(number)
    return _out([made])[0] if made else problems.answer(request, HTTPStatus.CONFLICT, "opinion.closed")


@router.post("/opinions/{number}/words", status_code=HTTPStatus.NO_CONTENT, responses=_NOT_NOW)
def say(request: Request, desk: AtDesk, number: Number, said: Say) -> Response:
    """Answer, or add a word; for who asked and who is asked."""
    return _say(request, desk, number, said) or Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/opinions/{number}/close", status_code=HTTPStatus.NO_CONTENT, responses=_NOT_NOW)
def close(request: Request, desk: AtDesk, number: Number) -> Response:
    """End it: who was asked sees the study no more."""
    return _close(request, desk, number) or Response(status_code=HTTPStatus.NO_CONTENT)


# ---------------------------------------------------------------------- pages
@page_router.get("/opinions")
def show_opinions(request: Request, desk: AtDesk) -> HTMLResponse:
    """What waits for me, and what I have asked."""
    desk.witness.record(request, Audited.QUERIED, detail="opinions")
    rows, me = _rows(desk), _me(request).user_name
    lists = (("to_me", _out(rows.open_to(me))), ("by_me", _out(rows.open_by(me))))
    shown = [StudyInstanceUID(one.study_instance_uid) for _, found in lists for one in found]
    return show(
        request,
        desk,
        "opinions.html",
        study_uid=None,
        lists=lists,
        whose=people_of(desk.reading.engine, shown, desk.sight),
        **_choices(desk, request, None),
    )


@page_router.get("/studies/{study_uid}/opinions")
def show_of_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """Those of one study, and a form for a new one."""
    found = _out(_of(request, desk, study_uid))
    choices = _choices(desk, request, study_uid)
    return show(
        request,
        desk,
        "opinions.html",
        study_uid=study_uid,
        lists=(("all", found),),
        whose=people_of(desk.reading.engine, [StudyInstanceUID(study_uid)], desk.sight),
        **choices,
    )


@page_router.post("/studies/{study_uid}/opinions")
def ask_by_form(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Ask by the form of the page."""
    fields = {key: value for key, value in request.state.fields.items() if key in AskOpinion.model_fields}
    try:
        wanted = AskOpinion.model_validate(fields)
    except ValidationError:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    made = _ask(request, desk, StudyInstanceUID(study_uid), wanted)
    return made if isinstance(made, Response) else _back(f"/studies/{study_uid}/opinions")


@page_router.post("/opinions/{number}/words")
def say_by_form(request: Request, desk: AtDesk, number: Number) -> Response:
    """Answer by the form of the page."""
    try:
        said = Say(words=request.state.fields.get("words", ""))
    except ValidationError:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    return _say(request, desk, number, said) or _back(f"{_place(request, desk, number)}#o{number}")


@page_router.post("/opinions/{number}/close")
def close_by_form(request: Request, desk: AtDesk, number: Number) -> Response:
    """End it by the button of the page."""
    place = _place(request, desk, number)
    return _close(request, desk, number) or _back(place)


# ---------------------------------------------------------------------- what they share
def _of(request: Request, desk: Desk, study_uid: str) -> Sequence[Opinion]:
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)  # says that the study is unknown, where it is
    desk.witness.record(request, Audited.VIEWED, uid, detail="opinions")
    found = _rows(desk).of(uid)
    if desk.access.is_lent(desk.sight, uid):  # who is asked sees the own question, not what others were asked
        found = [one for one in found if _concerns(desk, request, one)]
    return found


def _ask(request: Request, desk: Desk, uid: StudyInstanceUID, wanted: AskOpinion) -> int | Response:
    me = _me(request)
    if desk.access.is_lent(desk.sight, uid):  # it is not theirs to lend on
        raise Forbidden
    desk.reading.trail(uid)
    if bool(wanted.user) == bool(wanted.facility):
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "opinion.one_asked")
    known = (
        _may_answer(desk, wanted.user) and wanted.user != me.user_name
        if wanted.user
        else any(one.code == wanted.facility for one in desk.settings.facilities)
    )
    if not known:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "opinion.asked_unknown")
    desk.witness.record(
        request, Audited.OPINION_CHANGED, uid, detail=f"asked {wanted.user or f'facility {wanted.facility}'}"
    )
    user, facility = wanted.user or None, wanted.facility or None
    return _rows(desk).ask(uid, who=me.user_name, user=user, facility=facility, words=wanted.words)


def _say(request: Request, desk: Desk, number: int, said: Say) -> Response | None:
    one = _rows(desk).get(number)
    if one is None or one.closed_at is not None:
        return problems.answer(request, HTTPStatus.CONFLICT, "opinion.closed")
    if not _concerns(desk, request, one):
        raise Forbidden
    desk.witness.record(request, Audited.OPINION_CHANGED, one.study_instance_uid, detail=f"said to {number}")
    if not _rows(desk).say(number, who=_me(request).user_name, words=said.words):
        return problems.answer(request, HTTPStatus.CONFLICT, "opinion.closed")
    return None


def _close(request: Request, desk: Desk, number: int) -> Response | None:
    one = _rows(desk).get(number)
    if one is None or one.closed_at is not None:
        return problems.answer(request, HTTPStatus.CONFLICT, "opinion.closed")
    if desk.access.is_lent(desk.sight, one.study_instance_uid):
        raise Forbidden  # who is asked answers; who asked ends it
    desk.witness.record(request, Audited.OPINION_CHANGED, one.study_instance_uid, detail=f"closed {number}")
    if not _rows(desk).close(number, who=_me(request).user_name):
        return problems.answer(request, HTTPStatus.CONFLICT, "opinion.closed")
    return None


def _concerns(desk: Desk, request: Request, one: Opinion) -> bool:
    me = _me(request).user_name
    return one.concerns(me, desk.access.facilities(me))


def _may_answer(desk: Desk, user_name: str) -> bool:
    """Whether the account is there, open, and may answer."""
    try:
        user = desk.people.user(user_name)
    except UserUnknown:
        return False
    return user.disabled_at is None and may(user.role, Action.OPINION_KEEP)


def _choices(desk: Desk, request: Request, study_uid: str | None) -> dict[str, Any]:
    """Who may be asked, and whether the reader may ask about this study."""
    me = _me(request)
    may_ask = study_uid is not None and not desk.access.is_lent(desk.sight, study_uid)
    people = [
        one
        for one in (desk.people.users() if may_ask else ())
        if one.disabled_at is None and may(one.role, Action.OPINION_KEEP) and one.user_name != me.user_name
    ]
    return {
        "may_ask": may_ask,
        "colleagues": sorted(people, key=lambda one: one.user_name),
        "facilities": {one.code: one.name or one.code for one in desk.settings.facilities},
        "mine": desk.access.facilities(me.user_name) or (),
        "longest": LONGEST_WORDS,
        "lent": desk.sight.lent,
    }


def _place(request: Request, desk: Desk, number: int) -> str:
    one = _rows(desk).get(number)
    if one is None or request.state.fields.get("to") != "study":
        return "/opinions"
    return f"/studies/{one.study_instance_uid}/opinions"


def _rows(desk: Desk) -> OpinionsSql:
    return OpinionsSql(desk.reading.engine, desk.clock, desk.sight)


def _me(request: Request) -> Caller:
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else through
    return caller


def _back(place: str) -> RedirectResponse:
    return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)


def _out(found: Sequence[Opinion]) -> list[OpinionOut]:
    return [
        OpinionOut(
            number=one.number,
            study_instance_uid=one.study_instance_uid,
            asked_by=one.asked_by,
            asked_user=one.asked_user,
            asked_facility=one.asked_facility,
            asked_at=one.asked_at,
            closed_at=one.closed_at,
            closed_by=one.closed_by,
            is_answered=one.is_answered,
            said=[SaidOut(author=said.author, at=said.at, words=said.words.reveal()) for said in one.said],
        )
        for one in found
    ]
