"""What only a person may decide about a study's patient: `/questions`, and what was told of a study.

A question stands here until somebody says "the other one" or "as it is". Who said so is in the audit log and
on the trail, whose it was before stays on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.changes_sql import ChangesSql
from hoichan.adapters.corrections_sql import CorrectionsSql, Question, Version
from hoichan.adapters.links_sql import Link, LinksSql
from hoichan.guard.audit import Audited
from hoichan.types import StudyInstanceUID
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.finding_schemas import PatientOut
from service.api.show import show

Number = Annotated[int, Path(ge=1, le=2**53)]

router = APIRouter(prefix="/api/v1", tags=["questions"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class Decision(BaseModel):
    """What a person says."""

    model_config = ConfigDict(extra="forbid")

    take: bool  # True: the study is that of the patient who was told; False: it stays as it is
    whose: Annotated[str, Field(max_length=64)] | None = None  # of the question; None: not compared


class QuestionOut(BaseModel):
    """An open question; identifiers are masked."""

    id: int
    study_instance_uid: str
    kind: str  # two_patients | resent_in_part | update_contradicts | merge_contradicts | …_proposed
    holds: bool  # nothing of the study is analysed until it is answered
    asked_at: datetime
    told: PatientOut
    told_accession_number: str | None
    current: PatientOut
    current_accession_number: str | None
    whose: str  # changes with the patient that the study has now: said back with the answer


class QuestionsOut(BaseModel):
    """Open questions, oldest first."""

    items: list[QuestionOut]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of a study besides its images."""

    questions: tuple[Question, ...]
    versions: tuple[Version, ...]  # whose it was said to be, oldest first
    link: Link | None  # its order


def told_of(desk: Desk, study: StudyInstanceUID) -> Told:
    """Questions, former patients and order of a study."""
    engine = desk.reading.engine
    corrections = CorrectionsSql(engine, desk.clock)
    return Told(
        questions=corrections.questions(study),
        versions=corrections.versions(study),
        link=LinksSql(engine, desk.clock).of(study),
    )


def changed_contents(desk: Desk) -> dict[str, int]:
    """Objects that came with other content and were set aside, by what differs."""
    if desk.sight.is_bound:  # they are counted over every facility
        return {}
    return dict(ChangesSql(desk.reading.engine, desk.clock).counts())


@router.get("/questions", response_model=QuestionsOut)
def list_questions(request: Request, desk: AtDesk) -> QuestionsOut:
    """What waits for a person's decision, oldest first."""
    found = CorrectionsSql(desk.reading.engine, desk.clock, desk.sight).questions()
    desk.witness.record(request, Audited.QUERIED, detail="questions")
    return QuestionsOut(
        items=[
            QuestionOut(
                id=one.id,
                study_instance_uid=one.study_instance_uid,
                kind=one.kind.value,
                holds=one.holds,
                asked_at=one.asked_at,
                told=PatientOut.of(one.patient),
                told_accession_number=one.accession_number,
                current=PatientOut.of(one.current),
                current_accession_number=one.current_accession_number,
                whose=one.whose,
            )
            for one in found
        ]
    )


@router.post(
    "/questions/{number}",
    status_code=HTTPStatus.NO_CONTENT,
    responses={
        409: {
            "description": "Answered already, unknown, or the patient is another now",
            "content": {problems.MEDIA_TYPE: {}},
        }
    },
)
def decide(request: Request, desk: AtDesk, number: Number, decision: Decision) -> Response:
    """Answer a question, once."""
    if not _decide(request, desk, number, take=decision.take, whose=decision.whose):
        return problems.answer(request, HTTPStatus.CONFLICT, "question.answered")
    return Response(status_code=HTTPStatus.NO_CONTENT)


@page_router.get("/questions")
def show_questions(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    found = CorrectionsSql(desk.reading.engine, desk.clock, desk.sight).questions()
    desk.witness.record(request, Audited.QUERIED, detail="questions")
    return show(request, desk, "questions.html", questions=found, changed=changed_contents(desk))


@page_router.post("/questions/{number}")
def decide_by_form(request: Request, desk: AtDesk, number: Number) -> Response:
    """Answer by a button of the page."""
    said = request.state.fields.get("take", "")
    if said not in ("yes", "no"):
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    whose = request.state.fields.get("whose") or None
    if not _decide(request, desk, number, take=said == "yes", whose=whose):
        return problems.answer(request, HTTPStatus.CONFLICT, "question.answered")
    return RedirectResponse("/questions", status_code=HTTPStatus.SEE_OTHER)


def _decide(request: Request, desk: Desk, number: int, *, take: bool, whose: str | None) -> bool:
    corrections = CorrectionsSql(desk.reading.engine, desk.clock, desk.sight)
    asked = next((one for one in corrections.questions() if one.id == number), None)
    if asked is None or whose not in (None, asked.whose):
        return False
    desk.witness.record(
        request,
        Audited.PATIENT_CORRECTED,
        asked.study_instance_uid,
        detail=f"question {number} {asked.kind.value} {'taken' if take else 'kept'}",
    )
    caller = caller_of(request)
    who = caller.user_name if caller else "unknown"
    return corrections.answer(number, take=take, who=who, whose=whose) is not None
