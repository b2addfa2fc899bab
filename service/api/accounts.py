"""`/people`: the accounts, for the IT admin: role, facilities, password, second factor, closed or open.

What is done to an account ends its sessions and is in the audit log with the account's name. Nobody changes
the own role, facilities or state: so there is always one left who can, and nobody rises by a slip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from hoichan.adapters.people_sql import User
from hoichan.errors import AccountRefused, UserExists, UserUnknown
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.passwords import SHORTEST, weakness
from hoichan.guard.roles import ASSIGNABLE, USER_NAME, Role
from service.api.desk import AtDesk, Desk
from service.api.show import show
from service.api.signing_in import go, me

log = structlog.get_logger()

LONGEST_NAME = 120
router = APIRouter(default_response_class=HTMLResponse)

UserName = Annotated[str, Path(pattern=f"^{USER_NAME.pattern}$")]
Fields = Mapping[str, str]


class Verb(StrEnum):
    """What can be done to an account."""

    ROLE = "role"
    FACILITIES = "facilities"
    PASSWORD = "password"
    CLOSE = "close"
    OPEN = "open"
    SECOND_FACTOR = "second-factor"


_NOT_TO_ONESELF = frozenset({Verb.ROLE, Verb.FACILITIES, Verb.CLOSE})


@router.get("/people")
def show_people(request: Request, desk: AtDesk) -> Response:
    """Every account, and the form for a new one."""
    return _list(request, desk)


@router.post("/people")
def add(request: Request, desk: AtDesk) -> Response:
    """A new account."""
    fields: Fields = request.state.fields
    name = fields.get("user_name", "").strip().lower()[:64]
    role, password = fields.get("role", ""), fields.get("new", "")
    problem = "" if role in ASSIGNABLE else "role"
    problem = problem or weakness(password, name) or ""
    if not problem:
        try:
            desk.people.add(
                name,
                display_name=_line(fields.get("display_name", "")) or name,
                role=Role(role),
                password_hash=desk.passwords.hashed(password),
            )
        except UserExists:
            problem = "exists"
        except AccountRefused as error:
            problem = error.reason
    if problem:
        return _list(request, desk, problem=problem, asked=fields)
    desk.witness.record(request, Audited.USER_CHANGED, detail=f"add {name} {role}")
    log.info("user_added", user=name, role=role)
    return go(f"/people/{name}")


@router.get("/people/{user_name}")
def show_person(request: Request, desk: AtDesk, user_name: UserName) -> Response:
    """One account, and what can be done to it."""
    return _one(request, desk, _user(desk, user_name))


@router.post("/people/{user_name}/{verb}")
def change(request: Request, desk: AtDesk, user_name: UserName, verb: Verb) -> Response:
    """Do it, and say so in the audit log first."""
    user, fields = _user(desk, user_name), request.state.fields
    if user_name == me(request).user_name and verb in _NOT_TO_ONESELF:
        return _one(request, desk, user, problem="oneself")
    try:
        act, detail = _act(desk, user, verb, fields)
    except AccountRefused as error:
        detail = f"{verb.value} {user_name}"
        desk.witness.record(request, Audited.USER_CHANGED, detail=detail, outcome=Outcome.MINOR_FAILURE)
        return _one(request, desk, user, problem=error.reason)
    desk.witness.record(request, Audited.USER_CHANGED, detail=detail[:256])
    act()
    log.info("user_changed", user=user_name, change=verb.value)
    return go(f"/people/{user_name}")


def _act(desk: Desk, user: User, verb: Verb, fields: Fields) -> tuple[Callable[[], object], str]:
    """What to do and how the audit log calls it. Raises AccountRefused where it cannot be done."""
    name = user.user_name
    match verb:
        case Verb.ROLE:
            if fields.get("role") not in ASSIGNABLE:
                raise AccountRefused("role", "No such role.")
            role = Role(fields["role"])
            return lambda: desk.people.set_role(name, role), f"role {name} {role}"
        case Verb.FACILITIES:
            codes = _codes(desk, fields)
            told = "all" if codes is None else ",".join(codes) or "none"
            return lambda: desk.access.bind(name, codes), f"facilities {name} {told}"
        case Verb.PASSWORD:
            problem = weakness(fields.get("new", ""), name)
            if problem:
                raise AccountRefused(problem, "The password cannot be taken.")
            kept = desk.passwords.hashed(fields["new"])
            return lambda: desk.people.set_password(name, kept), f"password {name}"
        case Verb.CLOSE:
            return lambda: desk.people.disable(name), f"disable {name}"
        case Verb.OPEN:
            return lambda: desk.people.enable(name), f"enable {name}"
        case Verb.SECOND_FACTOR:
            return lambda: desk.factors.remove(name), f"second_factor reset {name}"


def _codes(desk: Desk, fields: Fields) -> tuple[str, ...] | None:
    """The facilities that a form names; None for all. Raises AccountRefused for one that is not known."""
    if fields.get("sees") == "all":
        return None
    codes = tuple(dict.fromkeys(fields.get("facilities", "").replace(",", " ").split()))
    if set(codes) - {facility.code for facility in desk.settings.facilities}:
        raise AccountRefused("facility", "No such facility.")
    return codes


def _user(desk: Desk, user_name: str) -> User:
    try:
        return desk.people.user(user_name)
    except UserUnknown as error:
        raise HTTPException(HTTPStatus.NOT_FOUND) from error


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_NAME]


def _list(request: Request, desk: Desk, *, problem: str = "", asked: Fields | None = None) -> Response:
    page = show(
        request,
        desk,
        "people.html",
        people=desk.people.users(),
        bound=desk.access.bound(),
        factors=desk.factors.on(),
        roles=ASSIGNABLE,
        shortest=SHORTEST,
        problem=problem,
        asked=asked or {},
    )
    if problem:
        page.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return page


def _one(request: Request, desk: Desk, user: User, *, problem: str = "") -> Response:
    page = show(
        request,
        desk,
        "person.html",
        person=user,
        facilities=desk.access.facilities(user.user_name),
        known=desk.settings.facilities,
        factor=desk.factors.is_on(user.user_name),
        roles=ASSIGNABLE,
        shortest=SHORTEST,
        problem=problem,
        oneself=user.user_name == me(request).user_name,
    )
    if problem:
        page.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return page
