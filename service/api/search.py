"""Finding studies by name, number, accession number or UID: `/search` and `/api/v1/studies/search`.

What is asked for may be a name, so it travels in the body of a POST only: addresses stand in histories,
referrers and logs. The audit log hears who searched, for what kind of thing and which studies were shown;
never the words.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from hoichan.adapters.views import ListEntry
from hoichan.guard.audit import Audited
from hoichan.intake.names import kind_of_query
from service.api import problems
from service.api.desk import AtDesk, Desk
from service.api.schemas import StudyOut
from service.api.show import show

PAGE_SIZE = 50
LONGEST_QUERY = 120
LAST_PAGE = 200

router = APIRouter(prefix="/api/v1", tags=["studies"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class Query(BaseModel):
    """What to look for: names without accents, in any order; numbers with or without separators."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]
    page: Annotated[int, Field(ge=1, le=LAST_PAGE)] = 1


class FoundOut(BaseModel):
    """Studies that a query finds, newest first; also under a name or number from before a correction."""

    items: list[StudyOut]
    page: int
    more: bool  # there is a next page


@router.post("/studies/search", response_model=FoundOut)
def search_studies(request: Request, desk: AtDesk, query: Query) -> Response:
    """Find studies. The query is in the body, because addresses are written down in many places."""
    entries, more = _find(request, desk, query.text, query.page)
    found = FoundOut(items=[StudyOut.of(entry) for entry in entries], page=query.page, more=more)
    return JSONResponse(found.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


@page_router.post("/search")
def show_found(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    fields = request.state.fields
    text = fields.get("text", "")[:LONGEST_QUERY]
    number = fields.get("page", "1")
    page = min(max(int(number), 1), LAST_PAGE) if number.isascii() and number.isdigit() else 1
    entries, more = _find(request, desk, text, page) if text.strip() else ((), False)
    answer = show(request, desk, "search.html", text=text, entries=entries, page=page, more=more)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _find(request: Request, desk: Desk, text: str, page: int) -> tuple[tuple[ListEntry, ...], bool]:
    found = desk.reading.search(text, limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE)
    shown = found[:PAGE_SIZE]
    detail = f"search {kind_of_query(text)}, {len(shown)} found"
    uids = [entry.study_instance_uid for entry in shown]
    desk.witness.record(request, Audited.QUERIED, *uids, detail=detail)
    return shown, len(found) > PAGE_SIZE
