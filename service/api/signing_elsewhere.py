"""Signing with an account of the hospital's own sign-in: the person says there again who it is.

The password of such an account is not ours to ask for. The issuer is asked to have the person sign in anew
(`prompt=login`, `max_age=0`, OpenID Connect Core 3.1.2.1); `auth_time` is checked on the way back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, RedirectResponse, Response

from hoichan.adapters.oidc_client import LEEWAY_SECONDS, Person
from hoichan.adapters.pending_sql import PendingSignature, PendingSignatures, digest
from hoichan.errors import HoichanError, IssuerFailed, NotSignable, PatientChanged, ReviewError
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from hoichan.reporting.reviews import LONGEST_TEXT
from hoichan.types import ReviewKind, StudyInstanceUID
from service.api import problems
from service.api.caller import STATE, Caller, caller_of, set_cookie
from service.api.desk import AtDesk, Desk
from service.api.questions import told_of
from service.api.reading import refused, signer_of, signing_of, witness_of
from service.api.reading_told import LastSigned, Whose
from service.api.show import show
from service.api.studies import StudyUid
from service.signing import whose

log = structlog.get_logger()

router = APIRouter(prefix="/api/v1", tags=["reading"], responses=problems.RESPONSES)


class SignElsewhereIn(BaseModel):
    """A signature or a withdrawal, without a password."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=0, le=2**31 - 1)]  # of the draft; 0 for a withdrawal
    may_train: bool = False
    kind: ReviewKind = ReviewKind.FINAL
    reason: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    language: Literal["vi", "en"] | None = None
    last_signed: LastSigned = None
    whose: Whose = None


class ElsewhereOut(BaseModel):
    """Where to send the browser."""

    address: str


@router.post("/studies/{study_uid}/sign/elsewhere", response_model=ElsewhereOut)
def begin(request: Request, desk: AtDesk, study_uid: StudyUid, told: SignElsewhereIn) -> Response:
    """Fix what is signed, and say where the person signs in again."""
    uid = StudyInstanceUID(study_uid)
    signing = signing_of(desk)
    study, _ = signing.read(uid)
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else through
    if not caller.session_id or not signs_elsewhere(desk, caller):
        raise NotSignable("wrong_password")
    if not signer_of(desk, caller.user_name).licence_number:
        raise NotSignable("no_licence")
    before = signing.seen(uid, told.last_signed)
    if told.whose is not None and told.whose != whose(study):
        raise PatientChanged
    assert desk.issuer is not None
    errand = desk.external.begin(f"/studies/{uid}")
    try:
        address = desk.issuer.address(
            state=errand.state, nonce=errand.nonce, code_verifier=errand.code_verifier, anew=True
        )
    except IssuerFailed as error:
        log.warning("issuer_failed", reason=error.reason)
        raise NotSignable("issuer") from None
    pending = PendingSignature(
        study_instance_uid=uid,
        user_name=caller.user_name,
        session_sha256=digest(caller.session_id),
        version=told.version,
        kind=told.kind,
        reason=told.reason,
        may_train=told.may_train,
        language=told.language or desk.settings.site.language,
        begun_at=desk.clock.now(),
        last_signed=before[-1].report_uid if before else "",
        whose=whose(study),
    )
    pending_of(desk).keep(errand.state, pending)
    response = JSONResponse(ElsewhereOut(address=address).model_dump())
    set_cookie(request, response, STATE, errand.state)
    return response


def finish(request: Request, desk: Desk, pending: PendingSignature, person: Person) -> Response:
    """Sign what was fixed, where the person who came back is the one who left, and signed in just now."""
    uid = pending.study_instance_uid
    try:
        _check(request, desk, pending, person)
        _sign(request, desk, pending)
    except (ReviewError, HoichanError) as error:
        if isinstance(error, ReviewError):
            refused(request, desk, uid, error)
        return _told(request, desk, uid, error)
    return RedirectResponse(f"/studies/{uid}", status_code=HTTPStatus.SEE_OTHER)


def failed(request: Request, desk: Desk, pending: PendingSignature) -> Response:
    """The issuer sent the person back without a word of who it is."""
    error = NotSignable("issuer")
    refused(request, desk, pending.study_instance_uid, error)
    return _told(request, desk, pending.study_instance_uid, error)


def signs_elsewhere(desk: Desk, caller: Caller) -> bool:
    """Whether this account proves who it is at the issuer, and not by a password of ours."""
    return desk.issuer is not None and desk.external.is_external(caller.user_name)


def pending_of(desk: Desk) -> PendingSignatures:
    """The signatures that wait for their signer."""
    return PendingSignatures(desk.reading.engine, desk.clock)


def _check(request: Request, desk: Desk, pending: PendingSignature, person: Person) -> None:
    """Raises NotSignable. The gate let anybody in: the browser comes from elsewhere."""
    caller = caller_of(request)
    if caller is None or not caller.session_id or digest(caller.session_id) != pending.session_sha256:
        raise NotSignable("session_ended")
    assert desk.settings.oidc is not None
    who = desk.external.user_of(desk.settings.oidc.issuer_name, person.subject)
    if who is None or who != pending.user_name or who != caller.user_name:
        raise NotSignable("other_person")
    leeway, now = timedelta(seconds=LEEWAY_SECONDS), desk.clock.now()
    proved = datetime.fromtimestamp(person.auth_time, UTC) if person.auth_time else None
    if proved is None or not pending.begun_at - leeway <= proved <= now + leeway:
        raise NotSignable("not_anew")
    uid = pending.study_instance_uid
    lent = desk.access.is_lent(caller.sight, uid)
    if not caller.may(Action.STUDY_SIGN) or lent or not desk.access.sees(caller.sight, uid):
        raise NotSignable("other_person")


def _sign(request: Request, desk: Desk, pending: PendingSignature) -> None:
    """Raises ReviewError or RecordsUnavailable."""
    uid, signer = pending.study_instance_uid, signer_of(desk, pending.user_name)
    if pending.kind is ReviewKind.WITHDRAWAL:
        witness = witness_of(request, desk, Audited.RESULT_WITHDRAWN)
        signing_of(desk).withdraw(
            uid, last_signed=pending.last_signed, signer=signer, reason=pending.reason, witness=witness
        )
        return
    if told_of(desk, uid).questions:  # a signature would name a patient whom somebody doubts
        raise NotSignable("whose_study")
    signing_of(desk).sign(
        uid,
        version=pending.version,
        last_signed=pending.last_signed,
        shown=pending.whose,
        signer=signer,
        kind=pending.kind,
        reason=pending.reason,
        may_train=pending.may_train,
        language=pending.language,
        witness=witness_of(request, desk, Audited.RESULT_SIGNED),
    )


def _told(request: Request, desk: Desk, uid: StudyInstanceUID, error: HoichanError) -> Response:
    page = show(request, desk, "not_signed.html", code=error.code, study_uid=uid)
    page.status_code = HTTPStatus.FORBIDDEN
    return page
