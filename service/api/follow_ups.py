"""What follows a finding: asked for about a signed report, listed overdue first, closed with its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.follow_ups_sql import FollowUp, FollowUpsSql
from hoichan.adapters.patients_sql import people_of
from hoichan.adapters.people_sql import User
from hoichan.errors import UserUnknown
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action, may
from hoichan.reporting.notices import FollowUpKind, FollowUpState
from hoichan.reporting.sealing import typed
from hoichan.types import StudyInstanceUID
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.notices import Number, names_of
from service.api.show import show
from service.api.studies import StudyUid

LONGEST_WORDS = 500
Words = Annotated[str, AfterValidator(typed), Field(max_length=LONGEST_WORDS)]
ENDS = tuple(state for state in FollowUpState if state is not FollowUpState.OPEN)
# Kinds and ends that say nothing without words.
_NEED_WORDS = frozenset({FollowUpKind.OTHER.value, FollowUpState.NOT_NEEDED.value})

router = APIRouter(prefix="/api/v1", tags=["follow-ups"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not possible as things stand", "content": {problems.MEDIA_TYPE: {}}}
}


class Ask(BaseModel):
    """A next step."""

    model_config = ConfigDict(extra="forbid")

    finding: str = Field(max_length=64)  # key of a finding of the signed report
    kind: FollowUpKind
    words: Words = ""
    owner: str = Field(max_length=32)  # user name
    due_on: date


class Close(BaseModel):
    """How it ended."""

    model_config = ConfigDict(extra="forbid")

    state: FollowUpState
    words: Words = ""


class FollowUpOut(BaseModel):
    """A next step and where it stands."""

    number: int
    study_instance_uid: StudyInstanceUID
    finding: str
    finding_names: Mapping[str, str]
    kind: FollowUpKind
    words: str
    owner: str
    owner_may: bool  # false: the account was closed, or sees no studies any more
    due_on: date
    is_overdue: bool
    finding_stands: bool  # false: amended away or withdrawn since; whoever owns it decides what that means
    asked_by: str
    asked_at: datetime
    state: FollowUpState
    outcome: str
    closed_by: str | None
    closed_at: datetime | None


class AskableOut(BaseModel):
    """A finding of the signed report that stands."""

    key: str
    names: Mapping[str, str]


class OwnerOut(BaseModel):
    """An account that a next step of the study may be given to."""

    user_name: str
    display_name: str


class FollowUpsOut(BaseModel):
    """By date: the overdue come first."""

    items: list[FollowUpOut]
    askable: list[AskableOut] = []  # of one study: what a next step may be asked about
    owners: list[OwnerOut] = []  # of one study: who may be asked
    kinds: list[FollowUpKind] = list(FollowUpKind)


@router.get("/follow-ups", response_model=FollowUpsOut)
def list_follow_ups(request: Request, desk: AtDesk) -> FollowUpsOut:
    """What is open, overdue first."""
    desk.witness.record(request, Audited.QUERIED, detail="follow-ups")
    return FollowUpsOut(items=_out(desk, _rows(desk).open()))


@router.get("/studies/{study_uid}/follow-ups", response_model=FollowUpsOut)
def follow_ups_of(request: Request, desk: AtDesk, study_uid: StudyUid) -> FollowUpsOut:
    """All of one study, open and closed."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)  # says that the study is unknown, where it is
    desk.witness.record(request, Audited.VIEWED, uid, detail="follow-ups")
    signed = _rows(desk).signed_findings(uid)
    askable = [AskableOut(key=key, names=names_of(key)) for key in (signed[1] if signed else ())]
    owners = _owners(desk, uid) if askable and _may_ask(request) else []
    return FollowUpsOut(items=_out(desk, _rows(desk).of(uid)), askable=askable, owners=owners)


@router.post(
    "/studies/{study_uid}/follow-ups",
    status_code=HTTPStatus.CREATED,
    response_model=FollowUpOut,
    responses=_NOT_NOW,
)
def ask(request: Request, desk: AtDesk, study_uid: StudyUid, wanted: Ask) -> Response | FollowUpOut:
    """Ask for a next step about a finding of the signed report."""
    number = _ask(request, desk, StudyInstanceUID(study_uid), wanted)
    if isinstance(number, Response):
        return number
    made = _rows(desk).get(number)
    if made is None:
        return problems.answer(request, HTTPStatus.CONFLICT, "follow_up.closed")
    return _out(desk, [made])[0]


@router.post("/follow-ups/{number}/close", status_code=HTTPStatus.NO_CONTENT, responses=_NOT_NOW)
def close(request: Request, desk: AtDesk, number: Number, said: Close) -> Response:
    """Close it with its outcome, once."""
    return _close(request, desk, number, said) or Response(status_code=HTTPStatus.NO_CONTENT)


@page_router.get("/follow-ups")
def show_follow_ups(request: Request, desk: AtDesk) -> HTMLResponse:
    """What is open as a page."""
    desk.witness.record(request, Audited.QUERIED, detail="follow-ups")
    found = _out(desk, _rows(desk).open())
    whose = people_of(desk.reading.engine, [one.study_instance_uid for one in found], desk.sight)
    return show(
        request,
        desk,
        "follow_ups.html",
        found=found,
        whose=whose,
        study_uid=None,
        signed=(),
        kinds=(),
        ends=ENDS,
    )


@page_router.get("/studies/{study_uid}/follow-ups")
def show_of_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """Those of one study, and a form for a new one."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)
    desk.witness.record(request, Audited.VIEWED, uid, detail="follow-ups")
    signed = _rows(desk).signed_findings(uid)
    return show(
        request,
        desk,
        "follow_ups.html",
        found=_out(desk, _rows(desk).of(uid)),
        whose=people_of(desk.reading.engine, [uid], desk.sight),
        study_uid=study_uid,
        signed=[(key, names_of(key)) for key in (signed[1] if signed else ())],
        kinds=tuple(FollowUpKind),
        owners=_owners(desk, uid) if signed and _may_ask(request) else [],
        ends=ENDS,
    )


@page_router.post("/studies/{study_uid}/follow-ups")
def ask_by_form(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Ask by the form of the page."""
    fields = {key: value for key, value in request.state.fields.items() if key in Ask.model_fields}
    try:
        wanted = Ask.model_validate(fields)
    except ValidationError:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    made = _ask(request, desk, StudyInstanceUID(study_uid), wanted)
    if isinstance(made, Response):
        return made
    return RedirectResponse(f"/studies/{study_uid}/follow-ups", status_code=HTTPStatus.SEE_OTHER)


@page_router.post("/follow-ups/{number}/close")
def close_by_form(request: Request, desk: AtDesk, number: Number) -> Response:
    """Close by the form of the page."""
    fields = {key: value for key, value in request.state.fields.items() if key in Close.model_fields}
    try:
        said = Close.model_validate(fields)
    except ValidationError:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    refused = _close(request, desk, number, said)
    return refused or RedirectResponse("/follow-ups", status_code=HTTPStatus.SEE_OTHER)


def overdue(request: Request, desk: Desk) -> int:
    """How many are overdue, for those who may see them."""
    caller = caller_of(request)
    if caller is None or not caller.may(Action.STUDY_READ):
        return 0
    return _rows(desk).overdue(_today(desk))


def _ask(request: Request, desk: Desk, uid: StudyInstanceUID, wanted: Ask) -> int | Response:
    if wanted.kind.value in _NEED_WORDS and not wanted.words:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "follow_up.words_needed")
    desk.reading.trail(uid)
    if not _may_own(desk, uid, wanted.owner):
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "follow_up.owner_unknown")
    signed = _rows(desk).signed_findings(uid)
    if signed is None or wanted.finding not in signed[1]:
        return problems.answer(request, HTTPStatus.CONFLICT, "follow_up.not_signed")
    desk.witness.record(request, Audited.FOLLOW_UP_CHANGED, uid, detail=f"asked {wanted.kind}")
    number = _rows(desk).ask(
        uid,
        finding_key=wanted.finding,
        kind=wanted.kind,
        words=wanted.words,
        owner=wanted.owner,
        due_on=wanted.due_on,
        who=_who(request),
    )
    return number or problems.answer(request, HTTPStatus.CONFLICT, "follow_up.not_signed")


def _close(request: Request, desk: Desk, number: int, said: Close) -> Response | None:
    if said.state is FollowUpState.OPEN:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    if said.state.value in _NEED_WORDS and not said.words:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "follow_up.words_needed")
    rows = _rows(desk)
    one = rows.get(number)
    if one is None or one.state is not FollowUpState.OPEN:
        return problems.answer(request, HTTPStatus.CONFLICT, "follow_up.closed")
    detail = f"closed {number} {said.state}"
    desk.witness.record(request, Audited.FOLLOW_UP_CHANGED, one.study_instance_uid, detail=detail)
    if not rows.close(number, said.state, words=said.words, who=_who(request)):
        return problems.answer(request, HTTPStatus.CONFLICT, "follow_up.closed")
    return None


def _may_own(desk: Desk, uid: StudyInstanceUID, user_name: str) -> bool:
    """Whether the account is there, open, and sees this study for good: not only because somebody asks."""
    try:
        user = desk.people.user(user_name)
    except UserUnknown:
        return False
    if not _is_able(user):
        return False
    sight = desk.access.sight(user_name)
    return bool(desk.access.sees(replace(sight, opened=frozenset()), uid))


def _is_able(user: User) -> bool:
    return user.disabled_at is None and may(user.role, Action.STUDY_READ)


def _may_ask(request: Request) -> bool:
    caller = caller_of(request)
    return caller is not None and caller.may(Action.FOLLOW_UP_KEEP)


def _owners(desk: Desk, uid: StudyInstanceUID) -> list[OwnerOut]:
    """Who may be asked, by name."""
    bound = desk.access.bound()
    return [
        OwnerOut(user_name=one.user_name, display_name=one.display_name)
        for one in desk.people.users()
        if _is_able(one) and (one.user_name not in bound or _may_own(desk, uid, one.user_name))
    ]


def _out(desk: Desk, found: Sequence[FollowUp]) -> list[FollowUpOut]:
    today, stand = _today(desk), _rows(desk).standing(found)
    able = {one.user_name for one in desk.people.users() if _is_able(one)} if found else set()
    return [
        FollowUpOut(
            number=one.number,
            study_instance_uid=one.study_instance_uid,
            finding=one.finding_key,
            finding_names=names_of(one.finding_key),
            kind=one.kind,
            words=one.words.reveal(),
            owner=one.owner,
            owner_may=one.owner in able,
            due_on=one.due_on,
            is_overdue=one.state is FollowUpState.OPEN and one.due_on < today,
            finding_stands=one.number in stand,
            asked_by=one.asked_by,
            asked_at=one.asked_at,
            state=one.state,
            outcome=one.outcome.reveal(),
            closed_by=one.closed_by,
            closed_at=one.closed_at,
        )
        for one in found
    ]


def _today(desk: Desk) -> date:
    return desk.clock.now().astimezone(desk.settings.site.zone).date()


def _who(request: Request) -> str:
    caller = caller_of(request)
    return caller.user_name if caller else "unknown"


def _rows(desk: Desk) -> FollowUpsSql:
    return FollowUpsSql(desk.reading.engine, desk.clock, desk.sight)
