"""Every route and the action it stands for. What is not in the table is closed to everybody.

The gate is a dependency of the whole application: it runs before any handler, and before a malformed address
is told to be one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qsl

import structlog
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hoichan.adapters.people_sql import Lifetime
from hoichan.errors import (
    CrossOrigin,
    Forbidden,
    OutOfScope,
    SecondFactorRequired,
    SignInRequired,
    TokenMissing,
)
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import Action
from hoichan.settings import Web, is_loopback
from service.api.caller import (
    LOCAL,
    POLL_HEADER,
    SESSION,
    Caller,
    caller_of,
    cookie,
    is_at_this_machine,
    is_token,
)
from service.api.desk import UID_MAXIMUM, UID_PATTERN, AtWholeDesk, Desk
from service.api.doorkeeper import is_same_origin
from service.api.programs import bearer, program_of

log = structlog.get_logger()


class Open(Enum):
    """Routes that need no action."""

    TO_MACHINES = "health checks: nobody is looked up"
    TO_SIGN_IN = "whoever is there may ask"
    TO_HOLDER = "whoever holds the link: 256 random bits in the address"


_OF_INSTANCE = "/series/{series_uid}/instances/{instance_uid}"
_WADO = (
    *("", "/metadata", "/series/{series_uid}", "/series/{series_uid}/metadata"),
    *(_OF_INSTANCE, f"{_OF_INSTANCE}/metadata", f"{_OF_INSTANCE}/rendered", f"{_OF_INSTANCE}/thumbnail"),
    *(f"{_OF_INSTANCE}/frames/{{numbers}}", f"{_OF_INSTANCE}/frames/{{number}}/rendered"),
    f"{_OF_INSTANCE}/bulkdata/{{tag}}",
)
ROUTES: Mapping[tuple[str, str], Action | Open] = {
    ("GET", "/healthz"): Open.TO_MACHINES,
    ("GET", "/readyz"): Open.TO_MACHINES,
    ("GET", "/metrics"): Action.METRICS_READ,  # open at this machine
    ("GET", "/login"): Open.TO_SIGN_IN,
    ("POST", "/login"): Open.TO_SIGN_IN,
    ("GET", "/login/oidc"): Open.TO_SIGN_IN,
    ("GET", "/login/oidc/back"): Open.TO_SIGN_IN,
    ("GET", "/login/code"): Open.TO_SIGN_IN,
    ("POST", "/login/code"): Open.TO_SIGN_IN,
    ("GET", "/account/second-factor"): Action.ACCOUNT_OWN,
    ("POST", "/account/second-factor"): Action.ACCOUNT_OWN,
    ("POST", "/account/second-factor/confirm"): Action.ACCOUNT_OWN,
    ("POST", "/account/second-factor/off"): Action.ACCOUNT_OWN,
    ("POST", "/logout"): Action.ACCOUNT_OWN,
    ("GET", "/people"): Action.PEOPLE_MANAGE,
    ("POST", "/people"): Action.PEOPLE_MANAGE,
    ("GET", "/people/{user_name}"): Action.PEOPLE_MANAGE,
    ("POST", "/people/{user_name}/{verb}"): Action.PEOPLE_MANAGE,
    ("GET", "/audit/emergencies"): Action.AUDIT_READ,
    ("GET", "/emergency"): Action.BREAK_GLASS,
    ("POST", "/emergency"): Action.BREAK_GLASS,
    ("GET", "/account"): Action.ACCOUNT_OWN,
    ("POST", "/account/password"): Action.ACCOUNT_OWN,
    ("GET", "/"): Action.LIST_READ,
    ("POST", "/search"): Action.LIST_READ,
    ("GET", "/questions"): Action.LIST_READ,
    ("POST", "/questions/{number}"): Action.PATIENT_DECIDE,
    ("GET", "/notices"): Action.STUDY_READ,
    ("POST", "/notices/{number}/acknowledge"): Action.NOTICE_ACKNOWLEDGE,
    ("GET", "/api/v1/notices"): Action.STUDY_READ,
    ("POST", "/api/v1/notices/{number}/acknowledge"): Action.NOTICE_ACKNOWLEDGE,
    ("GET", "/opinions"): Action.OPINION_KEEP,
    ("POST", "/opinions/{number}/words"): Action.OPINION_KEEP,
    ("POST", "/opinions/{number}/close"): Action.OPINION_KEEP,
    ("GET", "/studies/{study_uid}/opinions"): Action.OPINION_KEEP,
    ("POST", "/studies/{study_uid}/opinions"): Action.OPINION_KEEP,
    ("GET", "/api/v1/opinions"): Action.OPINION_KEEP,
    ("POST", "/api/v1/opinions/{number}/words"): Action.OPINION_KEEP,
    ("POST", "/api/v1/opinions/{number}/close"): Action.OPINION_KEEP,
    ("GET", "/api/v1/studies/{study_uid}/opinions"): Action.OPINION_KEEP,
    ("POST", "/api/v1/studies/{study_uid}/opinions"): Action.OPINION_KEEP,
    ("GET", "/studies/{study_uid}/shares"): Action.SHARE_KEEP,
    ("POST", "/studies/{study_uid}/shares"): Action.SHARE_KEEP,
    ("POST", "/shares/{number}/revoke"): Action.SHARE_KEEP,
    ("GET", "/api/v1/studies/{study_uid}/shares"): Action.SHARE_KEEP,
    ("POST", "/api/v1/studies/{study_uid}/shares"): Action.SHARE_KEEP,
    ("POST", "/api/v1/shares/{number}/revoke"): Action.SHARE_KEEP,
    ("GET", "/shared/{token}"): Open.TO_HOLDER,
    ("POST", "/shared/{token}"): Open.TO_HOLDER,
    ("GET", "/shared/{token}/report.pdf"): Open.TO_HOLDER,
    ("GET", "/shared/{token}/pictures/{number}"): Open.TO_HOLDER,
    ("GET", "/follow-ups"): Action.STUDY_READ,
    ("POST", "/follow-ups/{number}/close"): Action.FOLLOW_UP_KEEP,
    ("GET", "/api/v1/follow-ups"): Action.STUDY_READ,
    ("POST", "/api/v1/follow-ups/{number}/close"): Action.FOLLOW_UP_KEEP,
    ("GET", "/studies/{study_uid}/follow-ups"): Action.STUDY_READ,
    ("POST", "/studies/{study_uid}/follow-ups"): Action.FOLLOW_UP_KEEP,
    ("GET", "/api/v1/studies/{study_uid}/follow-ups"): Action.STUDY_READ,
    ("POST", "/api/v1/studies/{study_uid}/follow-ups"): Action.FOLLOW_UP_KEEP,
    ("GET", "/messages"): Action.QUEUE_READ,
    ("GET", "/api/v1/messages"): Action.QUEUE_READ,
    ("POST", "/api/v1/messages/{message_key}/repeat"): Action.DELIVERY_REPLAY,
    ("GET", "/quarantine"): Action.QUEUE_READ,
    ("GET", "/api/v1/quarantine"): Action.QUEUE_READ,
    ("POST", "/fhir/ServiceRequest"): Action.ORDER_PLACE,
    ("GET", "/fhir/Task"): Action.WORKLIST_USE,
    ("GET", "/fhir/Task/{workitem_uid}"): Action.WORKLIST_USE,
    ("POST", "/dicom-web/workitems"): Action.WORKLIST_USE,
    ("GET", "/dicom-web/workitems"): Action.WORKLIST_USE,
    ("GET", "/dicom-web/workitems/{workitem_uid}"): Action.WORKLIST_USE,
    ("POST", "/dicom-web/workitems/{workitem_uid}"): Action.WORKLIST_USE,
    ("PUT", "/dicom-web/workitems/{workitem_uid}/state"): Action.WORKLIST_USE,
    ("POST", "/dicom-web/workitems/{workitem_uid}/cancelrequest"): Action.WORKLIST_USE,
    ("POST", "/dicom-web/workitems/{workitem_uid}/cancelrequest/{requester}"): Action.WORKLIST_USE,
    ("POST", "/dicom-web/workitems/{workitem_uid}/subscribers/{ae_title}"): Action.WORKLIST_USE,
    ("DELETE", "/dicom-web/workitems/{workitem_uid}/subscribers/{ae_title}"): Action.WORKLIST_USE,
    ("POST", "/dicom-web/workitems/{workitem_uid}/subscribers/{ae_title}/suspend"): Action.WORKLIST_USE,
    ("GET", "/unmatched"): Action.PATIENT_DECIDE,
    ("POST", "/unmatched/{idempotency_key}"): Action.PATIENT_DECIDE,
    ("GET", "/api/v1/unmatched"): Action.PATIENT_DECIDE,
    ("POST", "/api/v1/unmatched/{idempotency_key}"): Action.PATIENT_DECIDE,
    ("GET", "/studies/{study_uid}"): Action.STUDY_READ,
    ("GET", "/studies/{study_uid}/record"): Action.STUDY_READ,
    ("GET", "/studies/{study_uid}/trail"): Action.TRAIL_READ,
    ("GET", "/audit"): Action.AUDIT_READ,
    ("GET", "/queue"): Action.QUEUE_READ,
    ("GET", "/api/v1/queue"): Action.QUEUE_READ,
    ("POST", "/api/v1/receivers/{destination}/replay"): Action.DELIVERY_REPLAY,
    ("POST", "/api/v1/studies/{study_uid}/replay"): Action.STUDY_STEER,
    ("POST", "/api/v1/studies/{study_uid}/cancel"): Action.STUDY_STEER,
    ("POST", "/api/v1/studies/{study_uid}/forwards/retry"): Action.DELIVERY_REPLAY,
    ("GET", "/waits"): Action.QUEUE_READ,
    ("GET", "/drift"): Action.METRICS_READ,
    ("GET", "/api/v1/waits"): Action.QUEUE_READ,
    ("GET", "/upload"): Action.INSTANCES_UPLOAD,
    ("GET", "/trial"): Action.ROUTING_MANAGE,
    ("POST", "/trial/{name}"): Action.ROUTING_MANAGE,
    ("POST", "/trial/{name}/answers"): Action.ROUTING_MANAGE,
    ("GET", "/receivers"): Action.ROUTING_MANAGE,
    ("POST", "/receivers/save"): Action.ROUTING_MANAGE,
    ("POST", "/receivers/{name}/{verb}"): Action.ROUTING_MANAGE,
    ("POST", "/receivers/versions/{version}/restore"): Action.ROUTING_MANAGE,
    ("GET", "/routing"): Action.ROUTING_MANAGE,
    ("POST", "/routing/rules"): Action.ROUTING_MANAGE,
    ("POST", "/routing/rules/{name}/{verb}"): Action.ROUTING_MANAGE,
    ("POST", "/routing/{version}/restore"): Action.ROUTING_MANAGE,
    ("GET", "/api/v1/routing"): Action.ROUTING_MANAGE,
    ("PUT", "/api/v1/routing"): Action.ROUTING_MANAGE,
    ("POST", "/api/v1/routing/{version}/restore"): Action.ROUTING_MANAGE,
    ("GET", "/api/v1/routing/try"): Action.ROUTING_MANAGE,
    ("GET", "/docs"): Action.API_READ,
    ("GET", "/openapi.json"): Action.API_READ,
    ("GET", "/api/v1/studies"): Action.LIST_READ,
    ("POST", "/api/v1/studies/search"): Action.LIST_READ,
    ("GET", "/api/v1/questions"): Action.LIST_READ,
    ("POST", "/api/v1/questions/{number}"): Action.PATIENT_DECIDE,
    ("GET", "/api/v1/studies/{study_uid}"): Action.STUDY_READ,
    ("GET", "/api/v1/studies/{study_uid}/reading"): Action.STUDY_READ,
    ("POST", "/studies/{study_uid}/begin"): Action.STUDY_REVIEW,
    ("POST", "/api/v1/studies/{study_uid}/begin"): Action.STUDY_REVIEW,
    ("PUT", "/api/v1/studies/{study_uid}/draft"): Action.STUDY_REVIEW,
    ("DELETE", "/api/v1/studies/{study_uid}/draft"): Action.STUDY_REVIEW,
    ("POST", "/api/v1/studies/{study_uid}/draft/text"): Action.STUDY_REVIEW,
    ("PUT", "/api/v1/studies/{study_uid}/lock"): Action.STUDY_REVIEW,
    ("DELETE", "/api/v1/studies/{study_uid}/lock"): Action.STUDY_REVIEW,
    ("POST", "/api/v1/studies/{study_uid}/sign"): Action.STUDY_SIGN,
    ("POST", "/api/v1/studies/{study_uid}/withdraw"): Action.STUDY_SIGN,
    ("POST", "/api/v1/studies/{study_uid}/sign/elsewhere"): Action.STUDY_SIGN,
    ("GET", "/api/v1/studies/{study_uid}/retractions"): Action.TRAIL_READ,
    ("GET", "/studies/{study_uid}/retraction"): Action.TRAIL_READ,
    ("GET", "/api/v1/studies/{study_uid}/findings/{finding_identity}/heatmap.png"): Action.STUDY_READ,
    ("GET", "/api/v1/studies/{study_uid}/trail"): Action.TRAIL_READ,
    ("GET", "/api/v1/studies/{study_uid}/xml4"): Action.DOCUMENT_READ,
    ("GET", "/api/v1/studies/{study_uid}/picture"): Action.STUDY_READ,
    ("GET", "/api/v1/studies/{study_uid}/documents/{kind}"): Action.DOCUMENT_READ,
    ("POST", "/api/v1/deliveries/{idempotency_key}/replay"): Action.DELIVERY_REPLAY,
    ("GET", "/fhir/metadata"): Action.API_READ,
    ("GET", "/fhir/AuditEvent"): Action.AUDIT_READ,
    ("GET", "/fhir/{resource_type}"): Action.DOCUMENT_READ,
    ("GET", "/fhir/{resource_type}/{resource_id}"): Action.DOCUMENT_READ,
    ("POST", "/fhir/{resource_type}/_search"): Action.DOCUMENT_READ,
    ("GET", "/dicom-web/studies"): Action.INSTANCES_READ,
    ("GET", "/dicom-web/series"): Action.INSTANCES_READ,
    ("GET", "/dicom-web/instances"): Action.INSTANCES_READ,
    ("GET", "/dicom-web/studies/{study_uid}/series"): Action.INSTANCES_READ,
    ("GET", "/dicom-web/studies/{study_uid}/instances"): Action.INSTANCES_READ,
    ("GET", "/dicom-web/studies/{study_uid}/series/{series_uid}/instances"): Action.INSTANCES_READ,
    **{("GET", "/dicom-web/studies/{study_uid}" + rest): Action.INSTANCES_READ for rest in _WADO},
}
# Applications of their own below ours, each with a gate of its own.
MOUNTED: Mapping[tuple[str, str], Action] = {
    ("POST", "/dicom-web/studies"): Action.INSTANCES_STORE,
    ("POST", "/dicom-web/studies/{study_uid}"): Action.INSTANCES_STORE,
    ("POST", "/upload/studies"): Action.INSTANCES_UPLOAD,
    ("POST", "/upload/studies/{study_uid}"): Action.INSTANCES_UPLOAD,
}
# What an account that is bound to facilities may ask besides the addresses of its own studies: about no
# study at all, or answered from a desk that sees its own only. Every other route is closed to it.
OF_NO_STUDY = frozenset({Action.ACCOUNT_OWN, Action.API_READ, Action.BREAK_GLASS})
NARROWED = frozenset(
    {
        *("/", "/search", "/api/v1/studies", "/api/v1/studies/search"),
        *("/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances"),
        *("/notices", "/api/v1/notices", "/follow-ups", "/api/v1/follow-ups"),
        *("/notices/{number}/acknowledge", "/api/v1/notices/{number}/acknowledge"),
        *("/queue", "/api/v1/queue", "/api/v1/receivers/{destination}/replay", "/waits", "/api/v1/waits"),
        *("/questions", "/questions/{number}", "/api/v1/questions", "/api/v1/questions/{number}"),
        *("/unmatched", "/api/v1/unmatched"),
        *("/opinions", "/opinions/{number}/words", "/opinions/{number}/close"),
        *("/api/v1/opinions", "/api/v1/opinions/{number}/words", "/api/v1/opinions/{number}/close"),
        *("/shares/{number}/revoke", "/api/v1/shares/{number}/revoke"),
        *("/follow-ups/{number}/close", "/api/v1/follow-ups/{number}/close"),
        *("/fhir/{resource_type}", "/fhir/{resource_type}/{resource_id}", "/fhir/{resource_type}/_search"),
    }
)
# What may be done with a study that is seen only because a colleague asks about it.
OF_LENT = frozenset({Action.LIST_READ, Action.STUDY_READ, Action.INSTANCES_READ, Action.OPINION_KEEP})
CHANGES = frozenset({"POST", "PUT", "DELETE"})
LARGEST_FORM = 16 * 1024  # bytes
LARGEST_JSON = 512 * 1024  # bytes; a draft of a report with all its boxes
_FORM = "application/x-www-form-urlencoded"


async def admit(request: Request, desk: AtWholeDesk) -> None:
    """Let the request through, or raise SignInRequired, Forbidden or another AccessError.

    Afterwards `request.state.caller` is who asks, and `request.state.fields` are the fields of a form.
    """
    request.state.caller = None
    request.state.fields = {}
    if request.method in CHANGES and bearer(request.headers) is None:  # no page of another site can add one
        if not is_same_origin(request.headers):
            raise CrossOrigin
        request.state.fields = await _fields(request)
    await run_in_threadpool(_admit, request, desk)


def lifetime(web: Web) -> Lifetime:
    """How long sessions last here."""
    return Lifetime(
        idle=timedelta(seconds=web.session_idle_seconds), longest=timedelta(seconds=web.session_seconds)
    )


def needs_no_sign_in(request: Request, desk: Desk) -> bool:
    """Whether this is a first look: somebody at this machine, and no account yet."""
    web = desk.settings.web
    return (
        web.sign_in == "with_first_user"
        and is_loopback(web.host)
        and is_at_this_machine(request)
        and not desk.people.any_user()
    )


def _admit(request: Request, desk: Desk) -> None:
    wanted = ROUTES.get((request.method, request.scope["route"].path))
    if wanted is Open.TO_MACHINES:
        return
    if wanted is Action.METRICS_READ and is_at_this_machine(request):
        if cookie(request, SESSION):  # the page's frame knows who looks
            request.state.caller = _caller(request, desk)
        return
    caller = _caller(request, desk)
    request.state.caller = caller
    if not isinstance(wanted, Open) and caller is None:
        raise SignInRequired
    is_program = caller is not None and caller.is_program
    if request.method in CHANGES and not is_program and not is_token(request, request.state.fields):
        raise TokenMissing
    if isinstance(wanted, Open):
        return
    if caller is None or wanted is None or not caller.may(wanted):
        _refuse(request, desk, str(wanted))
        raise Forbidden
    if _lacks_second_factor(desk, caller) and wanted is not Action.ACCOUNT_OWN:
        raise SecondFactorRequired
    if caller.sight.is_bound and not _is_in_sight(request, desk, caller, wanted):
        _refuse(request, desk, f"scope {wanted}")
        raise OutOfScope


def admitted(request: Request, desk: Desk, wanted: Action) -> Caller:
    """Who asks an application that is mounted below ours, from our page. Raises an AccessError.

    An account that is bound to facilities is turned away: what it would do there is of no facility yet.
    """
    request.state.caller = None
    if not is_same_origin(request.headers):
        raise CrossOrigin
    if bearer(request.headers) is not None:
        raise Forbidden
    caller = _caller(request, desk)
    if caller is None:
        raise SignInRequired
    request.state.caller = caller
    if not is_token(request, {}):
        raise TokenMissing
    if not caller.may(wanted):
        _refuse(request, desk, str(wanted))
        raise Forbidden
    if _lacks_second_factor(desk, caller):
        raise SecondFactorRequired
    if caller.sight.is_bound:
        _refuse(request, desk, f"scope {wanted}")
        raise OutOfScope
    return caller


def _lacks_second_factor(desk: Desk, caller: Caller) -> bool:
    """Whether the site asks this role for an authenticator and the account has none."""
    is_asked = caller.role.value in desk.settings.access.second_factor and bool(caller.session_id)
    if not is_asked or desk.factors.is_on(caller.user_name):
        return False
    return not desk.external.is_external(caller.user_name)  # there it is the issuer's to ask for


def _refuse(request: Request, desk: Desk, detail: str) -> None:
    caller = caller_of(request)
    log.warning("access_denied", user=caller.user_name if caller else "", action=detail)
    uids = (request.path_params["study_uid"],) if _names_a_study(request) else ()
    desk.witness.record(request, Audited.ACCESS_REFUSED, *uids, detail=detail, outcome=Outcome.MINOR_FAILURE)


def _is_in_sight(request: Request, desk: Desk, caller: Caller, wanted: Action) -> bool:
    """Whether an account that is bound may ask this. That a study is unknown is told by its handler."""
    study = request.path_params.get("study_uid")
    if study is None and (key := request.path_params.get("idempotency_key")) is not None:
        study = desk.access.study_of(key)
        if study is None:
            return True
    if study is not None:
        if wanted not in OF_LENT and desk.access.is_lent(caller.sight, study):
            return False
        return desk.access.sees(caller.sight, study) is not False
    return wanted in OF_NO_STUDY or request.scope["route"].path in NARROWED


def _names_a_study(request: Request) -> bool:
    uid = request.path_params.get("study_uid", "")
    return len(uid) <= UID_MAXIMUM and re.fullmatch(UID_PATTERN, uid) is not None


def _caller(request: Request, desk: Desk) -> Caller | None:
    if bearer(request.headers) is not None:  # then nothing else counts
        return program_of(request, desk.tokens, desk.people, desk.witness)
    session_id = cookie(request, SESSION)
    if session_id:
        by_hand = POLL_HEADER not in request.headers
        user = desk.people.signed_in(session_id, lifetime(desk.settings.web), by_hand=by_hand)
        if user is not None:
            return Caller(
                user_name=user.user_name,
                display_name=user.display_name,
                role=user.role,
                session_id=session_id,
                sight=desk.access.sight(user.user_name),
            )
    return LOCAL if needs_no_sign_in(request, desk) else None


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form; {} for a body of another kind. Raises HTTPException 413 or 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    largest = LARGEST_JSON if kind == "application/json" else LARGEST_FORM
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if kind != _FORM:
        return {}
    if b"%00" in body:  # no text of a database holds it
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=200))
    except ValueError:  # not a form after all
        return {}
