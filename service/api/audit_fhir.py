"""`/fhir/AuditEvent`: the audit log for a collector of another maker, oldest first. For the auditor.

Who and which study may stand in the address here: names of accounts and UIDs, nothing of a patient.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from hoichan.adapters.audit_sql import Wanted
from hoichan.encoding.fhir_audit import audit_event
from hoichan.guard.audit import Audited
from service.api import problems
from service.api.desk import AtDesk

MEDIA_TYPE = "application/fhir+json"
LARGEST_PAGE = 1000
router = APIRouter(prefix="/fhir", tags=["fhir"], responses=problems.RESPONSES)

Since = Annotated[datetime | None, Query(description="From this moment on; with its zone")]
Until = Annotated[datetime | None, Query(description="Before this moment; with its zone")]


@router.get("/AuditEvent", response_class=JSONResponse)
def list_events(
    request: Request,
    desk: AtDesk,
    since: Since = None,
    until: Until = None,
    agent: Annotated[str, Query(pattern=r"^[A-Za-z0-9._:-]{0,64}$", description="Name of the account")] = "",
    study: Annotated[str, Query(pattern=r"^[0-9.]{0,64}$", description="Study Instance UID")] = "",
    count: Annotated[int, Query(alias="_count", ge=1, le=LARGEST_PAGE)] = 100,
    after: Annotated[
        int, Query(ge=0, le=2**53, description="Position of the last event of the page before")
    ] = 0,
) -> JSONResponse:
    """A page of the log as a searchset of AuditEvents; follow the link `next`."""
    if any(moment is not None and moment.tzinfo is None for moment in (since, until)):
        return problems.problem_json(
            HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed", "A time has no zone."
        )
    wanted = Wanted(
        who=agent or None, study_instance_uid=study or None, since=since or None, until=until or None
    )
    desk.witness.record(request, Audited.LOG_READ, *([study] if study else []), detail="FHIR AuditEvent")
    lines = list(islice(desk.witness.audit.lines(wanted, after=after), count + 1))
    base = f"{str(request.base_url).rstrip('/')}/fhir/AuditEvent"
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
    links = [{"relation": "self", "url": f"{base}?{request.url.query}" if request.url.query else base}]
    if len(lines) > count:
        following = urlencode([*asked, ("after", lines[count - 1].position)])
        links.append({"relation": "next", "url": f"{base}?{following}"})
    events = [audit_event(line.position, line.record, desk.settings.site) for line in lines[:count]]
    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": links,
        "entry": [
            {"fullUrl": f"{base}/{event['id']}", "resource": event, "search": {"mode": "match"}}
            for event in events
        ],
    }
    return JSONResponse(bundle, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
