"""Programs that show a token with each request: `Authorization: Bearer` (RFC 6750).

A wrong token is told to the audit log and slows its address down. A right one is never held up by wrong ones
of the same address: its 256 bits cannot be guessed, and a station's neighbours share an address.
"""

from __future__ import annotations

from math import ceil

import structlog
from fastapi import Request
from starlette.datastructures import Headers

from hoichan.adapters.people_sql import PeopleSql, Subject
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.errors import TlsRequired, TokenRefused, TooManyTries
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.passwords import TOKEN_PATIENCE
from hoichan.guard.roles import Role
from hoichan.guard.scopes import OF_A_TOKEN, actions_of
from hoichan.settings import is_loopback
from service.api.caller import Caller, address_of
from service.api.witness import Witness

log = structlog.get_logger()


def bearer(headers: Headers) -> str | None:
    """The token of a request; None where it shows none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def program_of(request: Request, tokens: TokensSql, people: PeopleSql, witness: Witness) -> Caller:
    """Which program asks. Raises TokenRefused, TooManyTries, or TlsRequired where the token came in clear."""
    address = address_of(request)
    if request.url.scheme != "https" and not is_loopback(address):
        witness.record(
            request, Audited.ACCESS_REFUSED, detail="token_in_clear", outcome=Outcome.MINOR_FAILURE
        )
        raise TlsRequired
    token = tokens.holder(bearer(request.headers) or "")
    if token is not None:
        name = OF_A_TOKEN + token.name
        return Caller(user_name=name, display_name=name, role=Role.PROGRAM, actions=actions_of(token.scopes))
    wait = people.try_sign_in(Subject.TOKEN_ADDRESS, address, TOKEN_PATIENCE)
    witness.record(request, Audited.ACCESS_REFUSED, detail="token", outcome=Outcome.MINOR_FAILURE)
    log.warning("token_refused", seconds=ceil(wait.total_seconds()))
    if wait:
        raise TooManyTries(ceil(wait.total_seconds()))
    raise TokenRefused
