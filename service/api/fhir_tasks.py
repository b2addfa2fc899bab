"""`/fhir/Task`: the same jobs as FHIR R4 Tasks, to be read and searched. Read only: UPS-RS has the verbs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse

from hoichan.adapters.workitem_rows import ProcedureStepState, Workitem
from hoichan.adapters.workitems_sql import WorkitemsSql
from hoichan.encoding.fhir_parts import dicom_identifier
from hoichan.guard.audit import Audited
from hoichan.types import Urgency
from service.api.desk import UID_MAXIMUM, UID_PATTERN, AtDesk, Desk

MEDIA_TYPE = "application/fhir+json"
MOST = 100
STATUS = {
    ProcedureStepState.SCHEDULED: "requested",
    ProcedureStepState.IN_PROGRESS: "in-progress",
    ProcedureStepState.COMPLETED: "completed",
}
_PRIORITY = {
    Urgency.STAT: "stat",
    Urgency.URGENT: "urgent",
    Urgency.ROUTINE: "routine",
    Urgency.LOW: "routine",
}
router = APIRouter(prefix="/fhir", tags=["fhir"])


@router.get("/Task")
def search(
    request: Request,
    desk: AtDesk,
    status: str = "",
    identifier: str = "",
    count: Annotated[int, Query(alias="_count", ge=1, le=MOST)] = 50,
) -> JSONResponse:
    """Jobs by `status` and by `identifier` (`urn:dicom:uid|urn:oid:` and the UID of a job or a study)."""
    known = set(request.query_params) <= {"status", "identifier", "_count", "_format"}
    wanted = [one for one in status.split(",") if one]
    states = [state for state in ProcedureStepState if _statuses(state) & set(wanted)]
    if not known or (wanted and not states):
        return _outcome(HTTPStatus.BAD_REQUEST, "invalid", "Only status, identifier and _count are known.")
    uid = identifier.rpartition("|")[2].removeprefix("urn:oid:")
    work = _work(desk)
    one = work.one(uid) if uid else None
    found = [one] if one is not None else list(work.find(states=states, study=uid or None, limit=count))
    fitting = [item for item in found if not wanted or _status(item) in wanted]
    desk.witness.record(request, Audited.QUERIED, detail=f"FHIR Task, {len(fitting)} found")
    base = f"{str(request.base_url).rstrip('/')}/fhir"
    return _answer(
        {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [
                {
                    "fullUrl": f"{base}/Task/{item.workitem_uid}",
                    "resource": task(item),
                    "search": {"mode": "match"},
                }
                for item in fitting
            ],
        }
    )


@router.get("/Task/{workitem_uid}")
def read(
    request: Request,
    desk: AtDesk,
    workitem_uid: Annotated[str, Path(pattern=UID_PATTERN, max_length=UID_MAXIMUM)],
) -> JSONResponse:
    """One job."""
    item = _work(desk).one(workitem_uid)
    if item is None:
        return _outcome(HTTPStatus.NOT_FOUND, "not-found", "There is no such resource.")
    desk.witness.record(request, Audited.VIEWED, item.study_instance_uid, detail="FHIR Task")
    return _answer(task(item))


def task(item: Workitem) -> dict[str, Any]:
    """The resource; the person only by way of the study."""
    when = item.scheduled_at.isoformat(timespec="seconds")
    made: dict[str, Any] = {
        "resourceType": "Task",
        "id": item.workitem_uid,
        "identifier": [dicom_identifier(item.workitem_uid)],
        "status": _status(item),
        "intent": "order",
        "priority": _PRIORITY[item.urgency],
        "code": {
            "coding": [
                {
                    "system": "http://dicom.nema.org/resources/ontology/DCM",
                    "code": "110004",
                    "display": "Computer Aided Detection",
                }
            ]
        },
        "focus": {"type": "ImagingStudy", "identifier": dicom_identifier(item.study_instance_uid)},
        "authoredOn": when,
        "lastModified": when,
    }
    if item.reason:
        made["statusReason"] = {"text": item.reason}
    if item.claimed_by:
        made["owner"] = {"display": item.claimed_by}
    if item.report_uid:
        made["output"] = [
            {
                "type": {"text": "DiagnosticReport"},
                "valueReference": {"reference": f"DiagnosticReport/{item.report_uid}"},
            }
        ]
    return made


def _status(item: Workitem) -> str:
    if item.state is ProcedureStepState.CANCELED:
        return "failed" if item.reason else "cancelled"
    return STATUS[item.state]


def _statuses(state: ProcedureStepState) -> set[str]:
    return {"failed", "cancelled"} if state is ProcedureStepState.CANCELED else {STATUS[state]}


def _work(desk: Desk) -> WorkitemsSql:
    return WorkitemsSql(desk.reading.engine, desk.clock)


def _answer(content: dict[str, Any]) -> JSONResponse:
    return JSONResponse(content, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _outcome(status: HTTPStatus, code: str, text: str) -> JSONResponse:
    issue = {"severity": "error", "code": code, "diagnostics": text}
    content = {"resourceType": "OperationOutcome", "issue": [issue]}
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE)
