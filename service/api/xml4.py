"""`/api/v1/studies/{uid}/xml4`: a prefill of XML4 for the HIS, from what a physician signed alone."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.site_codes_sql import SiteCodesSql
from hoichan.encoding.xml4 import Unsigned, prefill
from hoichan.errors import StudyUnknown
from hoichan.guard.audit import Audited
from hoichan.intake.orders import region
from hoichan.site_codes import CodeTable
from hoichan.types import Review, Study, StudyInstanceUID, Verdict
from service.api import problems
from service.api.desk import AtDesk
from service.api.studies import StudyUid

router = APIRouter(prefix="/api/v1", tags=["studies"], responses=problems.RESPONSES)


@router.get(
    "/studies/{study_uid}/xml4",
    response_model=None,
    responses={409: {"description": "No physician has signed", "content": {problems.MEDIA_TYPE: {}}}},
)
def xml4(
    request: Request,
    desk: AtDesk,
    study_uid: StudyUid,
    visit: Annotated[str, Query(max_length=100, description="MA_LK of the visit, as the HIS has it")] = "",
) -> Response:
    """The twelve fields of one line."""
    engine = desk.reading.engine
    uid = StudyInstanceUID(study_uid)
    study = desk.studies.current(uid)
    if study is None:
        raise StudyUnknown(f"There is no study {study_uid}.")
    signed = ReviewsSql(engine, desk.reading.objects, desk.clock)
    review = signed.reviews(uid)[-1] if signed.stands(uid) else None
    tables = SiteCodesSql(engine, desk.clock)
    try:
        line = prefill(
            review,
            visit=visit,
            service_key=_service_key(study),
            services=tables.rows(CodeTable.SERVICE),
            indicators=tables.rows(CodeTable.INDICATOR),
            indicator_key=_indicator_key(review),
            zone=desk.settings.site.zone,
        )
    except Unsigned as error:
        return problems.answer(request, HTTPStatus.CONFLICT, error.code, str(error))
    assert review is not None  # else it was unsigned
    desk.witness.record(request, Audited.EXPORTED, study_uid, review.report_uid, detail="xml4")
    return JSONResponse(line, headers={"Cache-Control": "no-store"})


def _service_key(study: Study) -> str:
    """Modality and region, as in a table of services; "" where they are not one of each."""
    kinds = {(one.modality, region(one.body_part_examined)) for one in study.series}
    kinds = {(modality, part) for modality, part in kinds if part}
    return "/".join(str(word) for word in kinds.pop()) if len(kinds) == 1 else ""


def _indicator_key(review: Review | None) -> str:
    """The finding, where the physician left exactly one standing; several have no single indicator."""
    stand = {one.key for one in review.judgements if one.verdict is not Verdict.REJECTED} if review else set()
    return stand.pop() if len(stand) == 1 else ""
