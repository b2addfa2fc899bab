"""`/login/code` and `/account/second-factor`: the code of an authenticator, and how it is set up.

The secret is shown once, as a picture and as letters, to who knows the password; recovery codes are shown
once. Wrong codes are counted as wrong passwords are.
"""

from __future__ import annotations

from http import HTTPStatus
from math import ceil

import segno
import structlog
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from hoichan.adapters.second_factor_sql import Proof
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.second_factor import provisioning_uri, spelt
from service.api.caller import STEP, cookie, way_back
from service.api.desk import AtDesk, Desk
from service.api.show import show
from service.api.signing_in import enter, go, is_password, me, succeeded, tell_failed, wait_of

log = structlog.get_logger()

router = APIRouter(default_response_class=HTMLResponse)


# ---------------------------------------------------------------------- signing in
@router.get("/login/code")
def show_code(request: Request, desk: AtDesk) -> Response:
    """The form for the code; back to the beginning where no password came before."""
    if desk.factors.half(cookie(request, STEP)) is None:
        return go("/login")
    return _code_page(request, desk)


@router.post("/login/code")
def show_proof(request: Request, desk: AtDesk) -> Response:
    """The code, or a recovery code: then a session begins."""
    step = cookie(request, STEP)
    half = desk.factors.half(step)
    if half is None:
        return go("/login")
    name, back = half
    wait = wait_of(request, desk, name)
    if wait:
        tell_failed(request, desk, name, detail="paused")
        page = _code_page(request, desk, wait=ceil(wait.total_seconds()))
        page.status_code = HTTPStatus.TOO_MANY_REQUESTS
        page.headers["Retry-After"] = str(ceil(wait.total_seconds()))
        return page
    proof = desk.factors.check(name, request.state.fields.get("code", "")[:64])
    if proof is None:
        log.warning("second_factor_failed", user=name)
        tell_failed(request, desk, name, detail="second_factor")
        page = _code_page(request, desk, wrong=True)
        page.status_code = HTTPStatus.FORBIDDEN
        return page
    desk.factors.end_half(step)
    if proof is Proof.RECOVERY:
        log.warning("recovery_code_used", user=name, left=desk.factors.recovery_left(name))
    return enter(request, desk, name, back=way_back(back), how=f"second_factor {proof.value}")


def _code_page(request: Request, desk: Desk, *, wrong: bool = False, wait: int = 0) -> Response:
    return show(request, desk, "login_code.html", wrong=wrong, wait=wait)


# ---------------------------------------------------------------------- setting up
@router.get("/account/second-factor")
def show_second_factor(request: Request, desk: AtDesk) -> Response:
    """Whether it is on; the picture to scan where it was begun."""
    return _page(request, desk)


@router.post("/account/second-factor")
def begin(request: Request, desk: AtDesk) -> Response:
    """Show a new secret, after the present password."""
    caller = me(request)
    if desk.factors.is_on(caller.user_name):
        return go("/account/second-factor")
    problem = _unproven(request, desk)
    if problem:
        return _page(request, desk, problem=problem)
    desk.factors.begin(caller.user_name)
    return go("/account/second-factor")


@router.post("/account/second-factor/confirm")
def confirm(request: Request, desk: AtDesk) -> Response:
    """The first code of the authenticator: from now on it is asked for. Shows the recovery codes."""
    caller = me(request)
    if wait_of(request, desk, caller.user_name):
        return _page(request, desk, problem="paused")
    codes = desk.factors.confirm(caller.user_name, request.state.fields.get("code", "")[:64])
    if codes is None:
        return _page(request, desk, problem="code")
    succeeded(request, desk, caller.user_name)
    desk.witness.record(request, Audited.USER_CHANGED, detail=f"second_factor on {caller.user_name}")
    log.info("second_factor_on", user=caller.user_name)
    return _page(request, desk, codes=codes)


@router.post("/account/second-factor/off")
def turn_off(request: Request, desk: AtDesk) -> Response:
    """Ask for no code any more, after the password and a code."""
    caller = me(request)
    if caller.role.value in desk.settings.access.second_factor:
        return _page(request, desk, problem="required")
    problem = _unproven(request, desk)
    if (
        not problem
        and desk.factors.check(caller.user_name, request.state.fields.get("code", "")[:64]) is None
    ):
        problem = "code"
    if problem:
        return _page(request, desk, problem=problem)
    desk.factors.remove(caller.user_name)
    succeeded(request, desk, caller.user_name)
    desk.witness.record(request, Audited.USER_CHANGED, detail=f"second_factor off {caller.user_name}")
    log.info("second_factor_off", user=caller.user_name)
    return go("/account/second-factor")


def _unproven(request: Request, desk: Desk) -> str:
    """Why whoever sits at the session may not change this; "" where the password is right."""
    caller = me(request)
    if wait_of(request, desk, caller.user_name):
        return "paused"
    if is_password(desk, caller.user_name, request.state.fields.get("present", "")):
        return ""
    desk.witness.record(request, Audited.USER_CHANGED, detail="second_factor", outcome=Outcome.MINOR_FAILURE)
    return "present"


def _page(request: Request, desk: Desk, *, problem: str = "", codes: tuple[str, ...] = ()) -> Response:
    name = me(request).user_name
    is_on = desk.factors.is_on(name)
    secret = None if is_on else desk.factors.begun(name)
    picture = ""
    if secret is not None:
        uri = provisioning_uri(secret, name, f"Hội Chẩn {desk.settings.site.name}".replace(":", " "))
        picture = segno.make(uri, error="m", micro=False).svg_inline(scale=4, border=4, light="white")
    page = show(
        request,
        desk,
        "second_factor.html",
        is_on=is_on,
        picture=picture,
        spelt=" ".join(spelt(secret)[at : at + 4] for at in range(0, 32, 4)) if secret else "",
        problem=problem,
        recovery=codes,
        left=desk.factors.recovery_left(name) if is_on else 0,
        required=me(request).role.value in desk.settings.access.second_factor,
    )
    if problem:
        page.status_code = HTTPStatus.FORBIDDEN
    return page
