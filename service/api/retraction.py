"""`/studies/{uid}/retraction` and its data: where the taking back of reports has arrived, and where not."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from hoichan.adapters.retractions_read import RetractionsRead
from hoichan.guard.audit import Audited
from hoichan.types import StudyInstanceUID
from service.api import problems
from service.api.desk import AtDesk
from service.api.reading_schemas import RetractionOut
from service.api.show import show
from service.api.studies import StudyUid

router = APIRouter(prefix="/api/v1/studies/{study_uid}", tags=["reading"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


@router.get("/retractions")
def list_retractions(request: Request, desk: AtDesk, study_uid: StudyUid) -> list[RetractionOut]:
    """How far the taking back of each report has come at each receiver that has it."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)  # says that the study is unknown, where it is
    desk.witness.record(request, Audited.VIEWED, uid, detail="retractions")
    return [
        RetractionOut(
            report_uid=one.report_uid,
            destination=one.destination,
            form=one.form,
            state=one.state,
            acknowledged_at=one.acknowledged_at,
            detail=one.detail,
        )
        for one in RetractionsRead(desk.reading.engine).of(uid)
    ]


@page_router.get("/studies/{study_uid}/retraction")
def show_retraction(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """The same as a page, for whoever has to see to it."""
    uid = StudyInstanceUID(study_uid)
    desk.reading.trail(uid)
    desk.witness.record(request, Audited.VIEWED, uid, detail="retractions")
    found = RetractionsRead(desk.reading.engine).of(uid)
    return show(
        request,
        desk,
        "retraction.html",
        study_uid=study_uid,
        found=found,
        missing=sum(not one.is_done for one in found),
    )
