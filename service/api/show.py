"""A template as an answer, in the language and within the frame of its reader."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import HTMLResponse

from hoichan.adapters.opinions_sql import OpinionsSql
from hoichan.guard.roles import Action
from service.api.caller import caller_of, frame, remember_visit
from service.api.desk import Desk
from service.web.rendering import COOKIE, LANGUAGES

COOKIE_SECONDS = 365 * 86400
_KEPT = frozenset({"state", "show", "page", "after", "before"})  # of the address, by the language switch


def show(request: Request, desk: Desk, template: str, **values: object) -> HTMLResponse:
    """One page."""
    language = desk.templates.language(request)
    text = desk.templates.render(
        template,
        language=language,
        path=request.url.path if request.method == "GET" else "/",
        kept={key: value for key, value in request.query_params.items() if key in _KEPT},
        now=desk.clock.now(),
        query=query,
        opinions_waiting=_questions(request, desk),
        notice_sound=desk.settings.web.notice_sound,
        **frame(request),
        **values,
    )
    response = HTMLResponse(text)
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(COOKIE, language, max_age=COOKIE_SECONDS, httponly=True, samesite="lax")
    remember_visit(request, response)
    return response


def query(**values: object) -> str:
    """`?a=b` of what is not None; "" when nothing is left."""
    kept = {key: str(value) for key, value in values.items() if value is not None}
    return f"?{urlencode(kept)}" if kept else ""


def _questions(request: Request, desk: Desk) -> int:
    """How many second opinions wait for the reader."""
    caller = caller_of(request)
    if caller is None or not caller.session_id or not caller.may(Action.OPINION_KEEP):
        return 0
    return OpinionsSql(desk.reading.engine, desk.clock, desk.sight).waiting(caller.user_name)
