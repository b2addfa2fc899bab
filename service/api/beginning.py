"""A report where no machine made one: its analysis failed, or no model runs. A person begins it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.guard.audit import Audited
from hoichan.types import Report, StudyInstanceUID
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.reading import signing_of
from service.api.studies import StudyUid

_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not possible as things stand", "content": {problems.MEDIA_TYPE: {}}}
}

router = APIRouter(prefix="/api/v1", tags=["reading"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class BegunOut(BaseModel):
    """A report that began with a person, or the machine's that was there."""

    report_uid: str


@router.post("/studies/{study_uid}/begin", responses=_CONFLICT)
def begin(request: Request, desk: AtDesk, study_uid: StudyUid) -> BegunOut:
    """Begin a report; nothing of it leaves before a signature."""
    return BegunOut(report_uid=_begin(request, desk, study_uid).report_uid)


@page_router.post("/studies/{study_uid}/begin")
def begin_by_form(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Begin it by the button of the study's page, and go on in the reading room."""
    _begin(request, desk, study_uid)
    return RedirectResponse(f"/studies/{study_uid}", status_code=HTTPStatus.SEE_OTHER)


def _begin(request: Request, desk: Desk, study_uid: str) -> Report:
    uid = StudyInstanceUID(study_uid)
    signing_of(desk).read(uid)
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else through
    desk.witness.record(request, Audited.RESULT_CREATED, uid, detail="begun by a person")
    return signing_of(desk).begin(uid, who=caller.user_name)
