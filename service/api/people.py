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
from starlette.responses import HTMLResponse, Response

from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.passwords import SHORTEST, weakness
from hoichan.guard.roles import is_user_name
from service.api.caller import (
    SESSION,
    STEP,
    caller_of,
    drop_cookie,
    is_at_this_machine,
    set_cookie,
    way_back,
)
from service.api.desk import AtDesk, Desk
from service.api.oidc import way_out
from service.api.show import show
from service.api.signing_in import enter, go, is_password, me, succeeded, tell_failed, wait_of

log = structlog.get_logger()

LONGEST_NAME = 64  # characters that are looked at; what is longer is no name
router = APIRouter(default_response_class=HTMLResponse)


@router.get("/login")
def show_sign_in(
    request: Request,
    desk: AtDesk,
    next_page: Annotated[str, Query(alias="next", max_length=600)] = "",
    left: Annotated[str, Query(pattern="^(issuer)?$")] = "",
) -> Response:
    """The sign-in page; straight on for who is signed in already, or needs not be."""
    caller = caller_of(request)
    if caller is not None:
        return go(way_back(next_page) or caller.home)
    return _sign_in_page(request, desk, back=way_back(next_page), left=way_out(desk) if left else "")


@router.post("/login")
def sign_in(request: Request, desk: AtDesk) -> Response:
    """Check name and password; a new session, or the same words for whatever was wrong."""
    fields: Mapping[str, str] = request.state.fields
    name = fields.get("user_name", "").strip().lower()[:LONGEST_NAME]
    back = way_back(fields.get("next", ""))
    wait = wait_of(request, desk, name)
    if wait:
        log.warning("sign_in_paused", seconds=ceil(wait.total_seconds()))
        tell_failed(request, desk, name, detail="paused")
        return _sign_in_page(request, desk, back=back, name=name, wait=wait)
    if not is_password(desk, name, fields.get("password", "")):
        log.warning("sign_in_failed")  # without the name: people type passwords there
        tell_failed(request, desk, name)
        return _sign_in_page(request, desk, back=back, name=name, wrong=True)
    if desk.factors.is_on(name):
        response = go("/login/code")
        set_cookie(request, response, STEP, desk.factors.begin_half(name, back))
        return response
    return enter(request, desk, name, back=back)


@router.post("/logout")
def sign_out(request: Request, desk: AtDesk) -> Response:
    """End the session; the browser forgets what it kept."""
    caller = me(request)
    desk.people.end_session(caller.session_id)
    desk.witness.record(request, Audited.LOGOUT)
    log.info("signed_out", user=caller.user_name)
    response = go("/login?left=issuer" if desk.external.is_external(caller.user_name) else "/login")
    drop_cookie(request, response, SESSION)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@router.get("/account")
def show_account(
    request: Request, desk: AtDesk, done: Annotated[str, Query(pattern="^(password)?$")] = ""
) -> Response:
    """Who I am here, and another password."""
    return _account_page(request, desk, done=done)


@router.post("/account/password")
def change_password(request: Request, desk: AtDesk) -> Response:
    """Another password of one's own, after the present one; every other session ends."""
    fields: Mapping[str, str] = request.state.fields
    caller = me(request)
    new = fields.get("new", "")
    if wait_of(request, desk, caller.user_name):
        problem: str | None = "paused"
    elif not is_password(desk, caller.user_name, fields.get("present", "")):
        problem = "present"
    else:
        succeeded(request, desk, caller.user_name)
        problem = weakness(new, caller.user_name) if new == fields.get("again") else "again"
    if problem:
        desk.witness.record(request, Audited.USER_CHANGED, detail="password", outcome=Outcome.MINOR_FAILURE)
        page = _account_page(request, desk, problem=problem)
        page.status_code = HTTPStatus.FORBIDDEN
        return page
    desk.witness.record(request, Audited.USER_CHANGED, detail=f"password {caller.user_name}")
    desk.people.set_password(caller.user_name, desk.passwords.hashed(new))
    log.info("password_changed", user=caller.user_name)
    response = go("/account?done=password")
    set_cookie(request, response, SESSION, desk.people.begin_session(caller.user_name))
    return response


def _account_page(request: Request, desk: Desk, *, done: str = "", problem: str = "") -> Response:
    caller = me(request)
    return show(
        request,
        desk,
        "account.html",
        shortest=SHORTEST,
        done=done,
        problem=problem,
        second_factor=desk.factors.is_on(caller.user_name),
        facilities=desk.access.facilities(caller.user_name),
    )


def _sign_in_page(
    request: Request,
    desk: Desk,
    *,
    back: str,
    name: str = "",
    wrong: bool = False,
    wait: timedelta = timedelta(0),
    left: str = "",
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
        oidc=desk.settings.oidc,
        left=left,
        unencrypted=request.url.scheme != "https" and not is_at_this_machine(request),
    )
    if wrong:
        page.status_code = HTTPStatus.FORBIDDEN
    if seconds:
        page.status_code = HTTPStatus.TOO_MANY_REQUESTS
        page.headers["Retry-After"] = str(seconds)
    return page
