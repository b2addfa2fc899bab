"""Whether the person who is signed in is the one who changes the receivers now: the password is asked for.

A session that was stolen, or left open on a screen, changes nothing.
"""

from __future__ import annotations

from typing import Literal

from fastapi import Request

from hoichan.guard.audit import Audited, Outcome
from service.api.caller import caller_of
from service.api.desk import Desk
from service.api.signing_elsewhere import signs_elsewhere
from service.api.signing_in import is_password, succeeded, wait_of

FIELD = "password"
Proof = Literal["given", "asked", "wrong", "paused"]


def proof_of(request: Request, desk: Desk) -> Proof:
    """What the form says of it. Wrong passwords are counted as at the sign-in, and recorded.

    Who sits at a page without accounts has none, and who signs in at an issuer has none here (flaw 151).
    """
    caller = caller_of(request)
    if caller is None or not caller.session_id or signs_elsewhere(desk, caller):
        return "given"
    password = request.state.fields.get(FIELD, "")
    if not password:
        return "asked"
    if wait_of(request, desk, caller.user_name):
        return "paused"
    if is_password(desk, caller.user_name, password):
        succeeded(request, desk, caller.user_name)
        return "given"
    desk.witness.record(request, Audited.SETTINGS_CHANGED, detail="receivers", outcome=Outcome.MINOR_FAILURE)
    return "wrong"
