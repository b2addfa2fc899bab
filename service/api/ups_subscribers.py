"""UPS-RS: who wants to hear of jobs (PS3.18 11.10 to 11.12). What they hear: `service.api.ups_channel`.

| verb | address | answers |
|---|---|---|
| subscribe | POST /workitems/{uid}/subscribers/{aetitle} | 201, 400, 404, 409 another's AE title |
| unsubscribe | DELETE the same | 200, 404 |
| suspend | POST the same + /suspend | 200, 404; of the two well-known instances only |
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from hoichan.adapters.ups_sql import FILTERED, WELL_KNOWN, UpsSql
from hoichan.guard.audit import Audited
from service.api import ups_json as dicom
from service.api.caller import caller_of
from service.api.desk import UID_MAXIMUM, UID_PATTERN, AtDesk, Desk
from service.api.dicomweb_place import base_url

router = APIRouter(prefix="/dicom-web", tags=["worklist"])
WorkitemUid = Annotated[str, Path(pattern=UID_PATTERN, max_length=UID_MAXIMUM)]
AeTitle = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,16}$")]
_KEYS = {
    **dict.fromkeys(("ProcedureStepState", dicom.STATE), "state"),
    **dict.fromkeys(("StudyInstanceUID", dicom.STUDY), "study"),
    **dict.fromkeys(("AccessionNumber", dicom.ACCESSION), "accession"),
}


@router.post("/workitems/{workitem_uid}/subscribers/{ae_title}")
def subscribe(request: Request, desk: AtDesk, workitem_uid: WorkitemUid, ae_title: AeTitle) -> Response:
    """Tell this AE title of a job, of all, or of all that fit; how they stand now is told first."""
    lock = request.query_params.get("deletionlock", "false").lower()
    wanted = _filter(request.query_params.getlist("filter"))
    is_filtered = workitem_uid == FILTERED
    if lock not in ("true", "false") or wanted is None or bool(wanted) != is_filtered:
        return _warn(HTTPStatus.BAD_REQUEST, "Wanted: deletionlock true or false; a filter of known keys.")
    who = _who(request)
    if not _ups(desk).subscribe(ae_title, workitem_uid, who=who, lock=lock == "true", wanted=wanted):
        if workitem_uid in WELL_KNOWN:
            return _warn(HTTPStatus.CONFLICT, "Another program has this AE title.")
        return _warn(HTTPStatus.NOT_FOUND, "C307: no such job, or another program has this AE title.")
    desk.witness.record(request, Audited.QUERIED, detail="workitems subscribed")
    scheme, _, rest = base_url(request).partition("://")
    channel = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/subscribers/{ae_title}"
    return Response(status_code=HTTPStatus.CREATED, headers={"Content-Location": channel})


@router.delete("/workitems/{workitem_uid}/subscribers/{ae_title}")
def unsubscribe(request: Request, desk: AtDesk, workitem_uid: WorkitemUid, ae_title: AeTitle) -> Response:
    """Tell it no more."""
    return _found(_ups(desk).unsubscribe(ae_title, workitem_uid, who=_who(request)))


@router.post("/workitems/{workitem_uid}/subscribers/{ae_title}/suspend")
def suspend(request: Request, desk: AtDesk, workitem_uid: WorkitemUid, ae_title: AeTitle) -> Response:
    """Tell it of no new jobs."""
    known = workitem_uid in WELL_KNOWN and _ups(desk).suspend(ae_title, workitem_uid, who=_who(request))
    return _found(known)


def _filter(texts: list[str]) -> dict[str, str] | None:
    """`filter=key=value,key=value`; None for what cannot be asked. A person is no key."""
    found: dict[str, str] = {}
    for pair in (one for text in texts for one in text.split(",") if one):
        name, _, value = pair.partition("=")
        if name not in _KEYS or not value or _KEYS[name] in found:
            return None
        found[_KEYS[name]] = value
    return found


def _who(request: Request) -> str:
    caller = caller_of(request)
    return caller.user_name if caller else "unknown"


def _ups(desk: Desk) -> UpsSql:
    return UpsSql(desk.reading.engine, desk.clock)


def _found(is_there: bool) -> Response:
    return Response() if is_there else _warn(HTTPStatus.NOT_FOUND, "There is no such subscription.")


def _warn(status: HTTPStatus, text: str) -> Response:
    return Response(status_code=status, headers={"Warning": f'299 hoichan "{text}"'})
