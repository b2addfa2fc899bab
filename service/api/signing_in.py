"""What every way to sign in has in common: how tries are counted, how a session begins, where it leads."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import structlog
from fastapi import Request
from starlette.responses import RedirectResponse, Response

from hoichan.adapters.people_sql import Subject
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.passwords import ACCOUNT_PATIENCE, ADDRESS_PATIENCE
from hoichan.guard.roles import Role, is_user_name
from service.api.caller import (
    SESSION,
    STEP,
    VISIT,
    Caller,
    address_of,
    caller_of,
    cookie,
    drop_cookie,
    set_cookie,
)
from service.api.desk import Desk
from service.api.known_browser import counted_as, remember
from service.told_at_start import end_sessions

log = structlog.get_logger()


def wait_of(request: Request, desk: Desk, name: str) -> timedelta:
    """How long to wait before the next try; zero when it may be made. The try is counted."""
    counted = counted_as(request, desk, name)
    if counted == name:  # a browser that is known waits for nobody else
        address = desk.people.try_sign_in(Subject.ADDRESS, address_of(request), ADDRESS_PATIENCE)
        if address:
            return address
    return desk.people.try_sign_in(Subject.ACCOUNT, counted, ACCOUNT_PATIENCE)


def succeeded(request: Request, desk: Desk, name: str) -> None:
    """What was shown was right: the failures of this account, in this browser where it is known, are over."""
    desk.people.succeeded(counted_as(request, desk, name), address_of(request))


def is_password(desk: Desk, name: str, password: str) -> bool:
    """Whether it is the password of an account that may sign in; after the same time for one that is not."""
    kept = desk.people.password_hash(name) if is_user_name(name) else None
    right, newer = desk.passwords.matches(password, kept)
    if right and newer:
        desk.people.keep_newer_hash(name, newer)
    return right


def tell_failed(request: Request, desk: Desk, name: str, *, detail: str = "") -> None:
    """Record the failure; under a name only where there is such an account."""
    role = desk.people.role(name)
    who = Caller(user_name=name, display_name="", role=role) if role else None
    desk.witness.record(request, Audited.LOGIN, detail=detail, outcome=Outcome.MINOR_FAILURE, caller=who)


def enter(request: Request, desk: Desk, name: str, *, back: str, how: str = "") -> Response:
    """Begin a session, after everything that was asked for was right."""
    succeeded(request, desk, name)
    end_sessions(desk.settings.web, desk.people, desk.witness.audit, desk.clock)
    if cookie(request, SESSION):
        desk.people.end_session(cookie(request, SESSION))
    user = desk.people.user(name)
    sight = desk.access.sight(name)
    caller = Caller(user_name=name, display_name=user.display_name, role=user.role, sight=sight)
    desk.witness.record(request, Audited.LOGIN, detail=how, caller=caller)
    log.info("signed_in", user=name, role=user.role.value, how=how)
    response = go(back or caller.home)
    set_cookie(request, response, SESSION, desk.people.begin_session(name))
    remember(request, desk, response, name)
    for name_of_cookie in (VISIT, STEP):
        drop_cookie(request, response, name_of_cookie)
    return response


def me(request: Request) -> Caller:
    """Who is signed in; the gate lets nobody else through to an account's own pages."""
    caller = caller_of(request)
    assert caller is not None and caller.role is not Role.LOCAL
    return caller


def go(place: str) -> RedirectResponse:
    """To another page, with GET."""
    return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)
