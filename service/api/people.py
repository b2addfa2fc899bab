"""`/login`, `/logout` and `/account`: a person comes, changes the own password, and goes.

An answer never tells whether an account exists: a wrong name and a wrong password get the same words, after
the same time, and are counted alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.people_sql import Subject
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.passwords import ACCOUNT_PATIENCE, ADDRESS_PATIENCE, SHORTEST, weakness
from hoichan.guard.roles import Role, is_user_name
from service.api.caller import (
    SESSION,
    VISIT,
    Caller,
    address_of,
    caller_of,
    cookie,
    drop_cookie,
    is_at_this_machine,
    set_cookie,
    way_back,
)
from service.api.desk import AtDesk, Desk
from service.api.gate import lifetime
from service.api.show import show

log = structlog.get_logger()

LONGEST_NAME = 64  # characters that are looked at; what is longer is no name
router = APIRouter(default_response_class=HTMLResponse)


@router.get("/login")
def show_sign_in(
    request: Request, desk: AtDesk, next_page: Annotated[str, Query(alias="next", max_length=600)] = ""
) -> Response:
    """The sign-in page; straight on for who is signed in already, or needs not be."""
    caller = caller_of(request)
    if caller is not None:
        return _go(way_back(next_page) or caller.home)
    return _sign_in_page(request, desk, back=way_back(next_page))


@router.post("/login")
def sign_in(request: Request, desk: AtDesk) -> Response:
    """Check name and password; a new session, or the same words for whatever was wrong."""
    fields: Mapping[str, str] = request.state.fields
    name = fields.get("user_name", "").strip().lower()[:LONGEST_NAME]
    back = way_back(fields.get("next", ""))
    wait = _wait(request, desk, name)
    if wait:
        log.warning("sign_in_paused", seconds=ceil(wait.total_seconds()))
        _tell_failed(request, desk, name, detail="paused")
        return _sign_in_page(request, desk, back=back, name=name, wait=wait)
    if not _is_password(desk, name, fields.get("password", "")):
        log.warning("sign_in_failed")  # without the name: people type passwords there
        _tell_failed(request, desk, name)
        return _sign_in_page(request, desk, back=back, name=name, wrong=True)
    desk.people.succeeded(name, address_of(request))
    desk.people.sweep_sessions(lifetime(desk.settings.web))
    if cookie(request, SESSION):
        desk.people.end_session(cookie(request, SESSION))
    user = desk.people.user(name)
    caller = Caller(user_name=name, display_name=user.display_name, role=user.role)
    desk.witness.record(request, Audited.LOGIN, caller=caller)
    log.info("signed_in", user=name, role=user.role.value)
    response = _go(back or caller.home)
    set_cookie(request, response, SESSION, desk.people.begin_session(name))
    drop_cookie(request, response, VISIT)
    return response


@router.post("/logout")
def sign_out(request: Request, desk: AtDesk) -> Response:
    """End the session; the browser forgets what it kept."""
    caller = _caller(request)
    desk.people.end_session(caller.session_id)
    desk.witness.record(request, Audited.LOGOUT)
    log.info("signed_out", user=caller.user_name)
    response = _go("/login")
    drop_cookie(request, response, SESSION)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@router.get("/account")
def show_account(
    request: Request, desk: AtDesk, done: Annotated[str, Query(pattern="^(password)?$")] = ""
) -> Response:
    """Who I am here, and another password."""
    return show(request, desk, "account.html", shortest=SHORTEST, done=done, problem="")


@router.post("/account/password")
def change_password(request: Request, desk: AtDesk) -> Response:
    """Another password of one's own, after the present one; every other session ends."""
    fields: Mapping[str, str] = request.state.fields
    caller = _caller(request)
    new = fields.get("new", "")
    if _wait(request, desk, caller.user_name):
        problem: str | None = "paused"
    elif not _is_password(desk, caller.user_name, fields.get("present", "")):
        problem = "present"
    else:
        desk.people.succeeded(caller.user_name, address_of(request))
        problem = weakness(new, caller.user_name) if new == fields.get("again") else "again"
    if problem:
        desk.witness.record(request, Audited.USER_CHANGED, detail="password", outcome=Outcome.MINOR_FAILURE)
        page = show(request, desk, "account.html", shortest=SHORTEST, done="", problem=problem)
        page.status_code = HTTPStatus.FORBIDDEN
        return page
    desk.witness.record(request, Audited.USER_CHANGED, detail=f"password {caller.user_name}")
    desk.people.set_password(caller.user_name, desk.passwords.hashed(new))
    log.info("password_changed", user=caller.user_name)
    response = _go("/account?done=password")
    set_cookie(request, response, SESSION, desk.people.begin_session(caller.user_name))
    return response


def _wait(request: Request, desk: Desk, name: str) -> timedelta:
    """How long to wait before the next try; zero when it may be made. The try is counted."""
    address = desk.people.try_sign_in(Subject.ADDRESS, address_of(request), ADDRESS_PATIENCE)
    return address or desk.people.try_sign_in(Subject.ACCOUNT, name, ACCOUNT_PATIENCE)


def _tell_failed(request: Request, desk: Desk, name: str, *, detail: str = "") -> None:
    """Record the failure; under a name only where there is such an account."""
    role = desk.people.role(name)
    who = Caller(user_name=name, display_name="", role=role) if role else None
    desk.witness.record(request, Audited.LOGIN, detail=detail, outcome=Outcome.MINOR_FAILURE, caller=who)


def _is_password(desk: Desk, name: str, password: str) -> bool:
    kept = desk.people.password_hash(name) if is_user_name(name) else None
    right, newer = desk.passwords.matches(password, kept)
    if right and newer:
        desk.people.keep_newer_hash(name, newer)
    return right


def _caller(request: Request) -> Caller:
    caller = caller_of(request)
    assert caller is not None and caller.role is not Role.LOCAL  # the gate lets nobody else through
    return caller


def _sign_in_page(
    request: Request,
    desk: Desk,
    *,
    back: str,
    name: str = "",
    wrong: bool = False,
    wait: timedelta = timedelta(0),
) -> Response:
    seconds = ceil(wait.total_seconds())
    page = show(
        request,
        desk,
        "login.html",
        back=back,
        name=name if is_user_name(name) else "",
        wrong=wrong,
        wait=seconds,
        anybody=desk.people.any_user(),
        unencrypted=request.url.scheme != "https" and not is_at_this_machine(request),
    )
    if wrong:
        page.status_code = HTTPStatus.FORBIDDEN
    if seconds:
        page.status_code = HTTPStatus.TOO_MANY_REQUESTS
        page.headers["Retry-After"] = str(seconds)
    return page


def _go(place: str) -> RedirectResponse:
    return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)
