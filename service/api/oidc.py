"""`/login/oidc`: signing in with the hospital's own account, beside the local accounts.

The first time an account is made, with the name and the role that the issuer says; afterwards the role
follows the issuer. A local account is never taken over by a name that is the same. Who has no role here stays
out.
"""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.oidc_client import OidcClient, Person
from hoichan.errors import AccountRefused, IssuerFailed, UserExists
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import Role
from hoichan.settings import Oidc
from service.api.caller import STATE, Caller, cookie, drop_cookie, set_cookie, way_back
from service.api.desk import AtDesk, Desk
from service.api.show import show
from service.api.signing_elsewhere import failed, finish, pending_of
from service.api.signing_in import enter

log = structlog.get_logger()

SCREENED = frozenset({"name", "role", "taken", "closed", "state"})  # reasons with words of their own
router = APIRouter(default_response_class=HTMLResponse)


@router.get("/login/oidc")
def begin(
    request: Request, desk: AtDesk, next_page: Annotated[str, Query(alias="next", max_length=600)] = ""
) -> Response:
    """Send the browser to the issuer."""
    _, client = _configured(desk)
    errand = desk.external.begin(way_back(next_page))
    try:
        address = client.address(state=errand.state, nonce=errand.nonce, code_verifier=errand.code_verifier)
    except IssuerFailed as error:
        return _failed(request, desk, error.reason)
    response = RedirectResponse(address, status_code=HTTPStatus.SEE_OTHER)
    set_cookie(request, response, STATE, errand.state)
    return response


@router.get("/login/oidc/back")
def come_back(
    request: Request,
    desk: AtDesk,
    state: Annotated[str, Query(max_length=128)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """The browser comes back from the issuer, with a code or without."""
    settings, client = _configured(desk)
    begun_here = hmac.compare_digest(cookie(request, STATE).encode(), state.encode("utf-8", "replace"))
    errand = desk.external.take(state) if state and begun_here else None
    pending = pending_of(desk).take(state) if errand is not None else None
    if errand is None or (iss and iss != settings.issuer_name):  # RFC 9207
        return _failed(request, desk, "state")
    if not code:
        if pending is not None:
            return failed(request, desk, pending)
        return _failed(request, desk, "refused")
    try:
        person = client.redeem(code=code, nonce=errand.nonce, code_verifier=errand.code_verifier)
        if pending is not None:
            return finish(request, desk, pending, person)
        name = _account(request, desk, settings, person)
    except IssuerFailed as error:
        if pending is not None:
            return failed(request, desk, pending)
        return _failed(request, desk, error.reason)
    except (AccountRefused, UserExists) as error:
        return _failed(request, desk, error.reason if isinstance(error, AccountRefused) else "taken")
    response = enter(request, desk, name, back=errand.back, how="oidc")
    drop_cookie(request, response, STATE)
    return response


def _account(request: Request, desk: Desk, settings: Oidc, person: Person) -> str:
    """The account of this person, in the role of today. Raises AccountRefused, UserExists."""
    role = next((Role(one) for claim, one in settings.roles.items() if claim in person.roles), None)
    if role is None:
        raise AccountRefused("role", "The issuer says no role that is known here.")
    issuer = settings.issuer_name
    name = desk.external.user_of(issuer, person.subject)
    if name is None:
        kept = desk.passwords.hashed(secrets.token_urlsafe(32))  # nobody knows it
        desk.external.add(
            issuer,
            person.subject,
            person.user_name,
            display_name=person.display_name or person.user_name,
            role=role,
            password_hash=kept,
        )
        _changed(request, desk, person.user_name, role, f"add {person.user_name} {role} by the issuer")
        return person.user_name
    user = desk.people.user(name)
    if user.disabled_at is not None:
        raise AccountRefused("closed", "The account is closed.")
    if user.role is not role:
        _changed(request, desk, name, role, f"role {name} {role} by the issuer")
        desk.people.set_role(name, role)
    return name


def _changed(request: Request, desk: Desk, name: str, role: Role, detail: str) -> None:
    who = Caller(user_name=name, display_name="", role=role)
    desk.witness.record(request, Audited.USER_CHANGED, detail=detail, caller=who)


def _configured(desk: Desk) -> tuple[Oidc, OidcClient]:
    if desk.settings.oidc is None or desk.issuer is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return desk.settings.oidc, desk.issuer


def _failed(request: Request, desk: Desk, reason: str) -> Response:
    log.warning("issuer_failed", reason=reason)
    desk.witness.record(request, Audited.LOGIN, detail=f"oidc {reason}", outcome=Outcome.MINOR_FAILURE)
    page = show(
        request, desk, "login_failed.html", reason=reason if reason in SCREENED else "other", code=reason
    )
    page.status_code = HTTPStatus.FORBIDDEN
    return page


def way_out(desk: Desk) -> str:
    """Where to sign out of the hospital's own sign-in too; "" where there is no such place now."""
    if desk.issuer is None:
        return ""
    try:
        return desk.issuer.end_session_address() or ""
    except IssuerFailed as error:
        log.warning("issuer_failed", reason=error.reason)
        return ""
