"""The outermost layer of the application: who may ask, what leaves with every answer, what is logged.

* Host must be a name of this machine or a configured one: a foreign page that rebinds its own DNS
  name to loopback is turned away.
* HEAD is GET without a body. Whatever else fails ends here as a 500 without a word of its text,
  which may hold data of a patient.
* One log line a request: method, route template, status, milliseconds. Never the URL.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hoichan.settings import is_loopback
from service.api.problems import problem_json

log = structlog.get_logger()

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def host_name(authority: str) -> str | None:
    """The host of `host[:port]` in lower case, without brackets; None when it cannot be read."""
    try:
        parts = urlsplit(f"//{authority}")
        if parts.username is not None or parts.path or parts.query or parts.fragment:
            return None
        parts.port  # noqa: B018  raises for a port that is not a number
        return parts.hostname
    except ValueError:
        return None


def is_ours(authority: str, names: Iterable[str]) -> bool:
    """Whether a Host header names this machine or one of the configured names."""
    host = host_name(authority)
    return host is not None and (is_loopback(host) or host in {name.lower() for name in names})


def is_same_origin(headers: Headers) -> bool:
    """Whether a request that changes something comes from our own page.

    Fetch metadata first: under `Referrer-Policy: no-referrer` a form posts `Origin: null`. A request
    with neither header is refused; on a machine there is `hoichan replay`.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def route_template(scope: Scope) -> str:
    """The path with its parameters' names in place of their values."""
    template = getattr(scope.get("route"), "path_format", None) or getattr(scope.get("route"), "path", None)
    if isinstance(template, str):
        return template
    return "/static" if scope.get("path", "").startswith("/static/") else "unmatched"


class Doorkeeper:
    """The ASGI layer around the application."""

    def __init__(self, app: ASGIApp, names: tuple[str, ...] = ()) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"]
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                of_handler = headers.get("Content-Security-Policy")  # the reading room has one of its own
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers["Content-Security-Policy"] = of_handler or CONTENT_SECURITY_POLICY
                headers.setdefault("Cache-Control", "no-store")
            elif method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if method == "HEAD":
            scope["method"] = "GET"
        try:
            if is_ours(Headers(scope=scope).get("host", ""), self._names):
                await self._app(scope, receive, answer)
            else:
                refusal = problem_json(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "request.host_not_allowed",
                    "Ask under a name of this machine, or add the name to web.public_names.",
                )
                await refusal(scope, receive, answer)
        except Exception as error:  # noqa: BLE001  the outermost loop: nothing of the error's text may leave
            log.error(
                "http_failed", route=route_template(scope), error=type(error).__name__, at=_place(error)
            )
            if not status:
                await problem_json(HTTPStatus.INTERNAL_SERVER_ERROR, "hoichan")(scope, receive, answer)
        log.info(
            "http_request",
            method=method,
            route=route_template(scope),
            status=status,
            ms=round((time.perf_counter() - started) * 1000, 1),
        )


def _place(error: BaseException) -> str:
    """Where it was raised, as module:line; the text itself stays out of the log."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return "" if last is None else f"{Path(last.tb_frame.f_code.co_filename).stem}:{last.tb_lineno}"
