"""Who asks: the session cookie, the token of forms, and what every page's frame shows of it.

The cookie holds 256 random bits and nothing else. Over https it is a `__Host-` cookie (RFC 6265bis 4.1.3.2):
no other host and no plain connection can set or get it. A form's token is an HMAC under the reader's own
secret: the session id, or the visit cookie while nobody is signed in.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.guard.roles import OF_THE_WHOLE_SITE, Action, Role, may
from hoichan.settings import is_loopback

SESSION = "hoichan_session"
VISIT = "hoichan_visit"
KNOWN = "hoichan_known"  # that somebody has signed in with this browser before; opens nothing
SHARE = "hoichan_share"  # that the PIN of a link was right, for a while
STEP = "hoichan_step"  # between the password and the second factor
STATE = "hoichan_state"  # of a sign-in that went to the issuer: it comes back to the same browser
TOKEN_FIELD = "csrf_token"
TOKEN_HEADER = "x-csrf-token"
POLL_HEADER = "x-hoichan-poll"  # a page asks by itself: that keeps no session alive
_NEXT = re.compile(r"/(?![/\\])[A-Za-z0-9._~/?=&:%-]{0,511}")
_VISIT = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who may do what a role allows."""

    user_name: str
    display_name: str
    role: Role
    session_id: str = ""  # "": nobody is signed in, and nobody needs to be
    actions: frozenset[Action] | None = None  # of a program's token; None: what the role allows
    sight: Sight = EVERYTHING  # which studies

    def may(self, action: Action) -> bool:
        """Whether the role, or the scopes of the token, allow it."""
        if self.sight.is_bound and action in OF_THE_WHOLE_SITE:
            return False
        return may(self.role, action) if self.actions is None else action in self.actions

    @property
    def is_program(self) -> bool:
        """Whether it showed a token with its request."""
        return self.actions is not None

    @property
    def home(self) -> str:
        """Where this role begins."""
        if self.may(Action.LIST_READ):
            return "/"
        return "/audit" if self.may(Action.AUDIT_READ) else "/account"


LOCAL = Caller(user_name="local", display_name="", role=Role.LOCAL)


def caller_of(request: Request) -> Caller | None:
    """Who was let in; None at the sign-in page, and where a request ended before."""
    caller: Caller | None = getattr(request.state, "caller", None)
    return caller


def address_of(request: Request) -> str:
    """Where the request comes from: the address that a trusted proxy told, or that of the connection."""
    return request.client.host if request.client else ""


def is_at_this_machine(request: Request) -> bool:
    """Whether somebody at this machine asks under a name of this machine."""
    return is_loopback(address_of(request)) and is_loopback(request.url.hostname or "")


# ---------------------------------------------------------------------- cookies
def cookie(request: Request, name: str) -> str:
    """The value of one of our cookies; "" when there is none."""
    return request.cookies.get(_name(request, name), "")


def set_cookie(
    request: Request, response: Response, name: str, value: str, *, lasts: timedelta | None = None
) -> None:
    """Give the browser one of our cookies, until it is closed or for so long."""
    response.set_cookie(
        _name(request, name),
        value,
        path="/",
        max_age=None if lasts is None else int(lasts.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=_is_https(request),
    )


def drop_cookie(request: Request, response: Response, name: str) -> None:
    """Take one of our cookies back."""
    response.delete_cookie(
        _name(request, name), path="/", httponly=True, samesite="lax", secure=_is_https(request)
    )


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def _name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _is_https(request) else name


# ---------------------------------------------------------------------- tokens of forms
def token_of(secret: str) -> str:
    """The token that forms of the holder of this secret carry."""
    return hmac.digest(secret.encode(), b"hoichan form", hashlib.sha256).hex()


def is_token(request: Request, fields: Mapping[str, str]) -> bool:
    """Whether a form or a header carries the token of the one who sends it."""
    caller = caller_of(request)
    secret = caller.session_id if caller and caller.session_id else cookie(request, VISIT)
    told = fields.get(TOKEN_FIELD) or request.headers.get(TOKEN_HEADER, "")
    return bool(secret) and hmac.compare_digest(token_of(secret).encode(), told.encode())


def _secret(request: Request) -> str:
    """The reader's own secret; a new visit's is remembered for `remember_visit`."""
    caller = caller_of(request)
    if caller is not None and caller.session_id:
        return caller.session_id
    visit = cookie(request, VISIT) or str(getattr(request.state, "visit", ""))
    if not _VISIT.fullmatch(visit):
        visit = secrets.token_urlsafe(32)
        request.state.visit = visit
    return visit


def remember_visit(request: Request, response: Response) -> None:
    """Give a new visitor the cookie that the forms of the page are bound to."""
    visit = getattr(request.state, "visit", "")
    if visit:
        set_cookie(request, response, VISIT, visit)


# ---------------------------------------------------------------------- pages
def frame(request: Request) -> dict[str, Any]:
    """What the frame of every page needs to know of its reader."""
    caller = caller_of(request)

    def allowed(action: str) -> bool:
        return caller is not None and caller.may(Action(action))

    may_ask: Callable[[str], bool] = allowed
    return {
        "caller": caller,
        "may": may_ask,
        "home": caller.home if caller else "/",
        "csrf_token": token_of(_secret(request)),
    }


def login_address(request: Request) -> str:
    """The sign-in page, which leads back to the page that was asked for."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or wanted == "/" or request.url.path.startswith("/api/"):
        return "/login"
    return f"/login?next={quote(wanted, safe='')}" if way_back(wanted) == wanted else "/login"


def way_back(wanted: str) -> str:
    """A place of our own to go to after sign-in; "" for anything else."""
    fits = _NEXT.fullmatch(wanted) and not wanted.startswith(("/login", "/logout"))
    return wanted if fits else ""


def lasting(request: Request, policy: str) -> str:
    """How long a browser may keep an answer: not at all what somebody signed in to see."""
    caller = caller_of(request)
    return "no-store" if caller and (caller.session_id or caller.is_program) else policy
