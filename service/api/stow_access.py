"""Who may store: a program with a token, or, where the page is on loopback, any program of this machine."""

from __future__ import annotations

from starlette.requests import Request

from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.errors import Forbidden, SignInRequired
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import Action
from hoichan.guard.scopes import OF_A_TOKEN
from hoichan.settings import is_loopback
from service.api.caller import address_of
from service.api.doorkeeper import host_name
from service.api.programs import bearer, program_of
from service.api.witness import Witness

SENDER = "STOW"  # stands for a calling AE title: HTTP has none
_LONGEST_TITLE = 16  # characters of an AE title (PS3.5 6.2)


class StowAccess:
    """Judges requests to store."""

    def __init__(self, tokens: TokensSql, people: PeopleSql, witness: Witness, *, host: str) -> None:
        """`host`: where the page listens."""
        self._tokens = tokens
        self._people = people
        self._witness = witness
        self._is_open_here = is_loopback(host)

    def __call__(self, request: Request) -> str:
        """What stands for the calling AE title. Raises an AccessError, or RecordsUnavailable."""
        if bearer(request.headers) is None:
            if self._is_open_here and _is_of_this_machine(request):
                return SENDER
            raise SignInRequired("Show a token: Authorization: Bearer.")
        program = program_of(request, self._tokens, self._people, self._witness)
        request.state.caller = program
        if not program.may(Action.INSTANCES_STORE):
            self._witness.record(
                request,
                Audited.ACCESS_REFUSED,
                detail=str(Action.INSTANCES_STORE),
                outcome=Outcome.MINOR_FAILURE,
            )
            raise Forbidden("The token is not for storing.")
        return program.user_name.removeprefix(OF_A_TOKEN)[:_LONGEST_TITLE]


def _is_of_this_machine(request: Request) -> bool:
    """Under a loopback name and from a loopback address, not through a proxy."""
    headers = request.headers
    forwarded = "forwarded" in headers or "x-forwarded-for" in headers
    return (
        is_loopback(host_name(headers.get("host", "")) or "")
        and is_loopback(address_of(request))
        and not forwarded
    )
