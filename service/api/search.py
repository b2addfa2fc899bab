"""Finding studies by name, number, accession number, UID, day, sender, finding or state: `/search`.

What is asked for may be a name, so it travels in the body of a POST only: addresses stand in histories,
referrers and logs. The audit log hears who searched, for what kind of thing and which studies were shown;
never the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from hoichan.adapters.search_facets import together, understood
from hoichan.adapters.views import ListEntry
from hoichan.guard.audit import Audited
from hoichan.intake.names import kind_of_query
from hoichan.types import StudyState
from service.api import problems
from service.api.desk import AtDesk, Desk
from service.api.schemas import StudyOut
from service.api.show import show
from service.web.rendering import LANGUAGES

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
    # "": people and numbers, else what fits; "together": a day and something else
    by: Literal["", "day", "sender", "finding", "state", "together"] = ""


class FoundOut(BaseModel):
    """Studies that a query finds, newest first; also under a name or number from before a correction."""

    items: list[StudyOut]
    page: int
    more: bool  # there is a next page
    by: str  # what the text was taken for; "": a name or number
    other: list[str]  # what else it could be: send one as `by`


@router.post("/studies/search", response_model=FoundOut)
def search_studies(request: Request, desk: AtDesk, query: Query) -> Response:
    """Find studies. The query is in the body, because addresses are written down in many places."""
    got = _find(request, desk, query.text, query.page, query.by)
    found = FoundOut(
        items=[StudyOut.of(entry) for entry in got.entries],
        page=query.page,
        more=got.more,
        by=got.by,
        other=list(got.other),
    )
    return JSONResponse(found.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


@page_router.post("/search")
def show_found(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    fields = request.state.fields
    text = fields.get("text", "")[:LONGEST_QUERY]
    number = fields.get("page", "1")
    page = min(max(int(number), 1), LAST_PAGE) if number.isascii() and number.isdigit() else 1
    by = fields.get("by", "")
    got = _find(request, desk, text, page, by) if text.strip() else Got()
    answer = show(request, desk, "search.html", text=text, got=got, entries=got.entries, page=page)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What a query found, and what it was taken for."""

    entries: tuple[ListEntry, ...] = ()
    more: bool = False
    by: str = ""
    other: tuple[str, ...] = ()


def _find(request: Request, desk: Desk, text: str, page: int, by: str) -> Got:
    zone = desk.settings.site.zone
    states = {
        desk.templates.words(language).state(state): state for language in LANGUAGES for state in StudyState
    }
    today = desk.clock.now().astimezone(zone).date()
    facets = {one.kind.value: one for one in understood(text, states=states, today=today)}
    found: tuple[ListEntry, ...] = ()
    offset = (page - 1) * PAGE_SIZE
    day_and = together(text, states=states, today=today) if by in ("", "together") else None
    if day_and is not None:
        found = desk.reading.on_day(*day_and, zone=zone, limit=PAGE_SIZE + 1, offset=offset)
        by = "together" if found else ""
    if not by:
        found = desk.reading.search(text, limit=PAGE_SIZE + 1, offset=offset)
    ways = [by] if by in facets else ([] if found else list(facets))
    for way in ways:
        if way in facets:
            found = desk.reading.of_facet(facets[way], zone=zone, limit=PAGE_SIZE + 1, offset=offset)
            if found:
                by = way
                break
    shown = found[:PAGE_SIZE]
    detail = f"search {by or kind_of_query(text)}, {len(shown)} found"
    uids = [entry.study_instance_uid for entry in shown]
    desk.witness.record(request, Audited.QUERIED, *uids, detail=detail)
    other = tuple(one for one in facets if one != by)
    return Got(entries=shown, more=len(found) > PAGE_SIZE, by=by, other=other)
