"""`POST /fhir/ServiceRequest`: orders from an EMR that speaks FHIR, instead of HL7 v2 messages.

The EMR tells us, with a token for orders: hospitals let what is inside call out, and few EMRs can be asked.
An update, or a cancellation (`revoked`), is the resource posted again with the same number. What is taken is
on disk before it is answered, exactly as at the MLLP door; what is refused is kept for `/messages`.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from hoichan.adapters.orders_sql import OrdersSql
from hoichan.encoding.hl7_ack import verdict
from hoichan.errors import MessageTooLarge, MessageUnsupported
from hoichan.intake.service_requests import KIND, hear_request
from service.api.caller import address_of, caller_of
from service.api.desk import AtDesk, Desk

MEDIA_TYPE = "application/fhir+json"
_JSON = frozenset({"application/fhir+json", "application/json"})
router = APIRouter(prefix="/fhir", tags=["fhir"])


@router.post(f"/{KIND}", status_code=HTTPStatus.CREATED)
async def place_order(request: Request, desk: AtDesk) -> JSONResponse:
    """Take an order, its change or its cancellation."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON:
        return _outcome(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-supported", "application/fhir+json is taken.")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > desk.settings.orders.maximum_message_bytes:
            return _outcome(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-long", str(MessageTooLarge()))
    return await run_in_threadpool(_take, request, desk, content)


def _take(request: Request, desk: Desk, content: bytes) -> JSONResponse:
    caller = caller_of(request)
    sender = caller.user_name if caller else ""
    now = desk.clock.now()
    told = hear_request(content, sender=sender, zone=desk.settings.site.zone, now=now)
    fault = told.error
    if fault is None:
        answer = _outcome(HTTPStatus.CREATED, "informational", "Taken.", severity="information")
    else:
        unsupported = isinstance(fault, MessageUnsupported)
        code = "not-supported" if unsupported else "invalid"
        answer = _outcome(HTTPStatus.UNPROCESSABLE_ENTITY, code, str(fault))
    OrdersSql(desk.reading.engine, desk.clock).take(
        told,
        content,
        source=address_of(request),
        answer=verdict(fault)[0],
        acknowledgement=bytes(answer.body),
    )
    return answer


def _outcome(status: HTTPStatus, code: str, text: str, *, severity: str = "error") -> JSONResponse:
    issue = {"severity": severity, "code": code, "diagnostics": text}
    content = {"resourceType": "OperationOutcome", "issue": [issue]}
    return JSONResponse(
        content, status_code=status, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"}
    )
