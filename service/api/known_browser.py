"""Browsers in which somebody has come in before: their tries are counted apart from everybody else's.

Whoever types wrong passwords under the name of another keeps nobody waiting who comes from the own browser
(OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). The cookie opens nothing: it only says under
which count a try falls, and each of those counts is as patient as that of the account itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta

from fastapi import Request
from starlette.responses import Response

from service.api.caller import KNOWN, cookie, set_cookie
from service.api.desk import Desk

LASTS = timedelta(days=180)
MOST = 8  # people at one workstation; whoever came longest ago is forgotten
_ENTRY = re.compile(r"(?P<nonce>[A-Za-z0-9_-]{16})\.(?P<until>[0-9]{1,12})\.(?P<proof>[0-9a-f]{64})")
_BETWEEN = "~"


def counted_as(request: Request, desk: Desk, name: str) -> str:
    """What tries under this name count for: the account, or the account in this browser."""
    nonce = _nonce(request, desk, name)
    return f"{name} {nonce}" if nonce else name  # no name of an account has a space


def remember(request: Request, desk: Desk, response: Response, name: str) -> None:
    """The person is there: from now on this browser's tries are its own."""
    kept = [entry for entry in _entries(request) if not _is_of(desk, name, entry)]
    nonce = _nonce(request, desk, name) or secrets.token_urlsafe(12)
    until = str(int((desk.clock.now() + LASTS).timestamp()))
    mine = f"{nonce}.{until}.{_proof(desk, name, nonce, until)}"
    value = _BETWEEN.join([mine, *(entry[0] for entry in kept)][:MOST])
    set_cookie(request, response, KNOWN, value, lasts=LASTS)


def _nonce(request: Request, desk: Desk, name: str) -> str:
    now = desk.clock.now().timestamp()
    for entry in _entries(request):
        if int(entry["until"]) > now and _is_of(desk, name, entry):
            return entry["nonce"]
    return ""


def _entries(request: Request) -> Iterator[re.Match[str]]:
    for text in cookie(request, KNOWN).split(_BETWEEN)[:MOST]:
        if match := _ENTRY.fullmatch(text):
            yield match


def _is_of(desk: Desk, name: str, entry: re.Match[str]) -> bool:
    right = _proof(desk, name, entry["nonce"], entry["until"])
    return hmac.compare_digest(right, entry["proof"])


def _proof(desk: Desk, name: str, nonce: str, until: str) -> str:
    key = desk.witness.audit.derived_key("known browser")
    return hmac.digest(key, f"{name} {nonce} {until}".encode(), hashlib.sha256).hex()
