"""`/waits`: how long studies waited, in the order of this list and in order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import HTMLResponse

from hoichan.adapters.waits_sql import waits
from hoichan.guard.audit import Audited
from hoichan.reporting.waits import Figures, figures
from hoichan.types import Tier
from service.api import problems
from service.api.desk import AtDesk, Desk
from service.api.show import show

Days = Annotated[int, Query(ge=1, le=365)]
TIERS = tuple(Tier)

router = APIRouter(prefix="/api/v1", tags=["studies"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class TierWaitOut(BaseModel):
    """Seconds of waiting in one tier."""

    model_config = ConfigDict(from_attributes=True)

    tier: Tier | None  # null: no model flagged it
    read: int
    unread: int
    median: float | None
    ninth_decile: float | None
    median_by_arrival: float | None
    ninth_decile_by_arrival: float | None

    @classmethod
    def of(cls, one: Figures) -> TierWaitOut:
        """From the figures."""
        told = {name: getattr(one, name) for name in cls.model_fields if name != "tier"}
        return cls(tier=TIERS[one.rank] if one.rank < len(TIERS) else None, **told)


class WaitsOut(BaseModel):
    """From the first image of a study until a radiologist opened it, and until it was signed."""

    days: int
    is_all: bool  # false: the newest 20,000 studies only
    opened: list[TierWaitOut]
    signed: list[TierWaitOut]


@router.get("/waits", response_model=WaitsOut)
def list_waits(request: Request, desk: AtDesk, days: Days = 30) -> WaitsOut:
    """What was measured, and what the same readers would have reached in order of arrival."""
    return _waits(request, desk, days)


@page_router.get("/waits")
def show_waits(request: Request, desk: AtDesk, days: Days = 30) -> HTMLResponse:
    """The same as a page."""
    return show(request, desk, "waits.html", waits=_waits(request, desk, days), days=days)


def _waits(request: Request, desk: Desk, days: int) -> WaitsOut:
    desk.witness.record(request, Audited.QUERIED, detail="waits")
    since = desk.clock.now() - timedelta(days=days)
    found = waits(desk.reading.engine, since=since, sight=desk.sight)

    def out(made: Sequence[Figures]) -> list[TierWaitOut]:
        return [TierWaitOut.of(one) for one in made]

    return WaitsOut(
        days=days, is_all=found.is_all, opened=out(figures(found.opened)), signed=out(figures(found.signed))
    )
