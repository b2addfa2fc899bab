"""`/emergency`: break-glass. Who is bound to facilities opens one study of another one, and says why.

Nobody is asked for leave: in an emergency there is none to ask. It is loud instead: a warning in the log, an
event of its own in the audit log, a line on the study's trail, and a page for the auditor with the words.
"""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.emergency import LONGEST, SHORTEST, Reason, words_of
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.show import show

log = structlog.get_logger()

LONGEST_NUMBER = 64
router = APIRouter(default_response_class=HTMLResponse)


@router.get("/emergency")
def show_emergency(
    request: Request, desk: AtDesk, study: Annotated[str, Query(pattern=r"^[0-9.]{0,64}$")] = ""
) -> Response:
    """The form: which study, and why."""
    return _page(request, desk, number=study)


@router.post("/emergency")
def break_glass(request: Request, desk: AtDesk) -> Response:
    """Open the study that a UID or a whole accession number names."""
    fields = request.state.fields
    number = fields.get("study", "").strip()[:LONGEST_NUMBER]
    words = words_of(fields.get("words", ""))
    if fields.get("reason") not in set(Reason) or words is None:
        return _page(request, desk, number=number, problem="reason")
    found = desk.access.named(number)
    if len(found) != 1:
        desk.witness.record(
            request, Audited.ACCESS_REFUSED, detail="emergency unknown", outcome=Outcome.MINOR_FAILURE
        )
        return _page(request, desk, number=number, problem="several" if found else "unknown")
    reason = Reason(fields["reason"])
    lasts = timedelta(seconds=desk.settings.access.emergency_seconds)
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else through
    if caller.sight.is_bound:  # who sees all needs no glass broken
        until = desk.clock.now() + lasts
        desk.witness.record(
            request, Audited.BREAK_GLASS, found[0], detail=f"{reason.value} until {until:%Y-%m-%dT%H:%MZ}"
        )
        desk.access.break_glass(caller.user_name, found[0], reason=reason, words=words, lasts=lasts)
        log.warning("glass_broken", user=caller.user_name, study=found[0], reason=reason.value)
    return RedirectResponse(f"/studies/{found[0]}", status_code=HTTPStatus.SEE_OTHER)


def _page(request: Request, desk: Desk, *, number: str, problem: str = "") -> Response:
    page = show(
        request,
        desk,
        "emergency.html",
        number=number,
        problem=problem,
        reasons=list(Reason),
        shortest=SHORTEST,
        longest=LONGEST,
        hours=f"{desk.settings.access.emergency_seconds / 3600:.3g}",
    )
    if problem:
        page.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return page
