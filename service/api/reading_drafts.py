"""`/api/v1/studies/{uid}/draft`: the draft of a report, kept, thrown away, and its words.

A draft lies beside the report and is nobody's word yet. Nothing is overwritten that its writer did not see.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from hoichan.adapters.earlier_sql import EarlierSql
from hoichan.errors import DraftChanged
from hoichan.guard.audit import Audited
from hoichan.reporting.drafting import draft_text
from hoichan.reporting.reviews import check
from hoichan.reporting.volume_verdicts import check_volumes
from hoichan.types import ReviewDraft, SOPInstanceUID, StudyInstanceUID
from service.api import problems
from service.api.desk import AtDesk
from service.api.reading import CONFLICT, begins, held, reader_of, reviews_of, signing_of, told_draft
from service.api.reading_record import record_verdicts, tell_begun
from service.api.reading_schemas import SavedOut, TextOut
from service.api.reading_told import DraftIn, SectionsModel, TextIn, judgements_said
from service.api.studies import StudyUid

router = APIRouter(prefix="/api/v1/studies/{study_uid}", tags=["reading"], responses=problems.RESPONSES)


@router.put("/draft", responses=CONFLICT)
def save_draft(request: Request, desk: AtDesk, study_uid: StudyUid, told: DraftIn) -> Response:
    """Keep the draft. 409 `draft_changed` with the kept one, where somebody saved meanwhile;

    409 `review.step_refused` where somebody signed meanwhile; 409 `review.report_changed` where the machine's
    result is a newer one, and the draft is not to be carried over.
    """
    uid = StudyInstanceUID(study_uid)
    study, report = signing_of(desk).read(uid)
    if report is None:
        return problems.answer(request, HTTPStatus.CONFLICT, "review.no_report")
    signing_of(desk).seen(uid, told.last_signed)
    reviews = reviews_of(desk)
    read_uid = SOPInstanceUID(told.report_uid or report.report_uid)
    if read_uid != report.report_uid and not (told.carry_over and reviews.report(read_uid, study)):
        return problems.answer(request, HTTPStatus.CONFLICT, "review.report_changed")
    draft = ReviewDraft(
        study_instance_uid=uid,
        report_uid=read_uid,
        version=told.version,
        judgements=judgements_said(told.judgements),
        sections=told.sections.said(),
        seconds_spent=told.seconds_spent,
        author=reader_of(request).user_name,
        updated_at=desk.clock.now(),
        volumes=tuple(one.said() for one in told.volumes),
    )
    if told.carry_over:
        draft = held(draft, reviews, study, report)
    check(report, draft.judgements, study)
    check_volumes(report, draft.volumes)
    record_verdicts(request, desk, draft, reviews.draft(uid))
    try:
        kept = reviews.save_draft(draft)
    except DraftChanged as error:
        stored = told_draft(reviews, study, report)
        problem = problems.answer(request, HTTPStatus.CONFLICT, error.code, str(error))
        told_back = json.loads(bytes(problem.body)) if isinstance(problem, JSONResponse) else {}
        told_back["draft"] = stored.model_dump(mode="json") if stored else None
        return JSONResponse(told_back, status_code=HTTPStatus.CONFLICT, media_type=problems.MEDIA_TYPE)
    tell_begun(desk, report, begins(request, desk))
    saved = SavedOut(version=kept.version, updated_at=kept.updated_at)
    return JSONResponse(saved.model_dump(mode="json"))


@router.delete("/draft", status_code=HTTPStatus.NO_CONTENT)
def discard_draft(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Throw the draft away."""
    uid = StudyInstanceUID(study_uid)
    signing_of(desk).read(uid)
    if reviews_of(desk).draft(uid) is not None:
        desk.witness.record(request, Audited.RESULT_REVIEWED, uid, detail="draft thrown away")
    reviews_of(desk).discard_draft(uid)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/draft/text", responses=CONFLICT)
def write_text(request: Request, desk: AtDesk, study_uid: StudyUid, told: TextIn) -> Response:
    """The report's words, drafted from the verdicts. Nothing is kept."""
    study, report = signing_of(desk).read(StudyInstanceUID(study_uid))
    if report is None:
        return problems.answer(request, HTTPStatus.CONFLICT, "review.no_report")
    judgements = judgements_said(told.judgements)
    check(report, judgements, study)
    priors = bool(EarlierSql(desk.reading.engine).of(study, desk.sight))
    sections = draft_text(report, judgements, language=told.language, has_priors=priors)
    return JSONResponse(TextOut(sections=SectionsModel.of(sections)).model_dump(mode="json"))
