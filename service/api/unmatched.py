"""Reports whose patient an EMR does not know, or knows twice: `/unmatched`, and the word of a person.

The page shows the study's person with a masked number, and takes the EMR's own id of the patient. What the
EMR knows of that patient is compared and never shown or kept.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.matches_sql import MatchesSql
from hoichan.errors import Unreachable
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from service import unmatched as answering
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.finding_schemas import PatientOut
from service.api.show import show
from service.unmatched import Answer, Said, is_patient_id

router = APIRouter(prefix="/api/v1", tags=["unmatched"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)
Key = Annotated[str, Path(max_length=256)]


class UnmatchedOut(BaseModel):
    """A report that waits; identifiers are masked."""

    idempotency_key: str
    study_instance_uid: str
    destination: str
    reason: str  # none | several | differs | unreadable
    patient: PatientOut
    accession_number: str | None
    asked_at: datetime


class UnmatchedListOut(BaseModel):
    """Reports that wait for a patient, oldest first."""

    items: list[UnmatchedOut]


class Choice(BaseModel):
    """Whose record it is."""

    model_config = ConfigDict(extra="forbid")

    patient: str = Field(max_length=80)  # the logical id at the EMR, e.g. "77" or "Patient/77"
    confirmed: bool = False  # also where the two people differ


@router.get("/unmatched", response_model=UnmatchedListOut)
def list_unmatched(request: Request, desk: AtDesk) -> UnmatchedListOut:
    """What waits for a patient, oldest first."""
    found = _matches(desk).unmatched()
    desk.witness.record(request, Audited.QUERIED, detail="unmatched")
    return UnmatchedListOut(
        items=[
            UnmatchedOut(
                idempotency_key=one.idempotency_key,
                study_instance_uid=one.study_instance_uid,
                destination=one.destination,
                reason=one.reason,
                patient=PatientOut.of(one.patient),
                accession_number=one.accession_number,
                asked_at=one.asked_at,
            )
            for one in found
        ]
    )


@router.post(
    "/unmatched/{idempotency_key}",
    status_code=HTTPStatus.NO_CONTENT,
    responses={
        409: {"description": "Answered already, or two people", "content": {problems.MEDIA_TYPE: {}}},
        502: {"description": "The EMR does not answer", "content": {problems.MEDIA_TYPE: {}}},
    },
)
def choose(request: Request, desk: AtDesk, idempotency_key: Key, choice: Choice) -> Response:
    """Say whose record it is; the report is sent again."""
    said = _choose(request, desk, idempotency_key, choice)
    if isinstance(said, Response):
        return said
    match said.answer:
        case Answer.MATCHED:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        case Answer.DIFFERS:
            facts = said.comparison
            told = f"Agree: {len(facts.agree)}. Differ: {', '.join(facts.differ) or 'none'}." if facts else ""
            return problems.answer(request, HTTPStatus.CONFLICT, "unmatched.differs", told)
        case _:
            return _refusal(request, said)


@page_router.get("/unmatched")
def show_unmatched(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    found = _matches(desk).unmatched()
    desk.witness.record(request, Audited.QUERIED, detail="unmatched")
    return show(request, desk, "unmatched.html", unmatched=found, asked=None, chosen="", comparison=None)


@page_router.post("/unmatched/{idempotency_key}")
def choose_by_form(request: Request, desk: AtDesk, idempotency_key: Key) -> Response:
    """Say it by the form of the page."""
    fields = request.state.fields
    choice = Choice(patient=fields.get("patient", "")[:80], confirmed=fields.get("confirmed") == "yes")
    said = _choose(request, desk, idempotency_key, choice)
    if isinstance(said, Response):
        return said
    if said.answer is Answer.MATCHED:
        return RedirectResponse("/unmatched", status_code=HTTPStatus.SEE_OTHER)
    if said.answer is Answer.DIFFERS:
        found = [one for one in _matches(desk).unmatched() if one.idempotency_key == idempotency_key]
        return show(
            request,
            desk,
            "unmatched.html",
            unmatched=found,
            asked=idempotency_key,
            chosen=choice.patient,
            comparison=said.comparison,
        )
    return _refusal(request, said)


def _choose(request: Request, desk: Desk, key: str, choice: Choice) -> Said | Response:
    if not is_patient_id(choice.patient):
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    caller = caller_of(request)
    matches = _matches(desk)
    found = matches.unmatched(key)
    try:
        said = answering.match(
            desk.settings,
            matches,
            desk.studies,
            key,
            patient_id=choice.patient,
            confirmed=choice.confirmed,
            who=caller.user_name if caller else "unknown",
        )
    except Unreachable:
        return problems.answer(request, HTTPStatus.BAD_GATEWAY, "unmatched.unreachable")
    if said.answer is Answer.MATCHED:
        agree = len(said.comparison.agree) if said.comparison else 0
        desk.witness.record(
            request,
            Audited.PATIENT_CORRECTED,
            found[0].study_instance_uid,
            detail=f"matched at {found[0].destination}, {agree} facts agree",
        )
    return said


def _refusal(request: Request, said: Said) -> Response:
    if said.answer is Answer.UNKNOWN:
        return problems.answer(request, HTTPStatus.NOT_FOUND, "unmatched.patient_unknown")
    return problems.answer(request, HTTPStatus.CONFLICT, "unmatched.answered")


def _matches(desk: Desk) -> MatchesSql:
    return MatchesSql(desk.reading.engine, desk.clock, desk.sight)


def waiting_for_a_patient(request: Request, desk: Desk) -> int:
    """How many reports wait, for those who may answer."""
    caller = caller_of(request)
    if caller is None or not caller.may(Action.PATIENT_DECIDE):
        return 0
    return _matches(desk).waiting()
