"""What lies in quarantine on every machine: `/quarantine` and `/api/v1/quarantine`.

When it came, from which AE title, why it was refused or set aside, how large it is, and the UIDs that it
names; nothing else of what stands in it. Each machine tells the record of its own within seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse

from hoichan.adapters.quarantine_disk import KEPT_REFUSED
from hoichan.adapters.quarantine_sql import Quarantined, QuarantineSql
from hoichan.guard.audit import Audited
from service.api import problems
from service.api.desk import AtDesk, Desk
from service.api.show import show

MOST = 200  # shown at once

router = APIRouter(prefix="/api/v1", tags=["quarantine"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


class QuarantinedOut(BaseModel):
    """One file in quarantine. null: not noted, or it says none."""

    name: str  # without its ending, in `spool/quarantine` of the machine
    spool: str  # of which machine, as `hoichan retention spools` names it
    at: datetime  # received
    calling_ae_title: str | None
    reason: str  # code of the error, or "changed_content"
    study_instance_uid: str | None  # as the object says; nobody has checked it
    sop_instance_uid: str | None
    size_bytes: int | None


class QuarantineOut(BaseModel):
    """What lies in quarantine, newest first, 200 at most."""

    items: list[QuarantinedOut]
    counts: dict[str, int]  # of all that the record knows, by reason
    kept_refused: int  # of what was refused each machine tells of its newest so many


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One look."""

    items: list[Quarantined]
    counts: dict[str, int]


@router.get("/quarantine")
def list_quarantine(request: Request, desk: AtDesk) -> QuarantineOut:
    """What lies in quarantine on every machine, newest first."""
    found = _look(request, desk)
    return QuarantineOut(
        items=[QuarantinedOut(**asdict(one)) for one in found.items],
        counts=found.counts,
        kept_refused=KEPT_REFUSED,
    )


@page_router.get("/quarantine")
def show_quarantine(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    found = _look(request, desk)
    return show(
        request,
        desk,
        "quarantine.html",
        found=found.items,
        counts=found.counts,
        total=sum(found.counts.values()),
        kept_refused=KEPT_REFUSED,
        spools=len({one.spool for one in found.items}),
    )


def _look(request: Request, desk: Desk) -> _Found:
    quarantine = QuarantineSql(desk.reading.engine, desk.clock)
    desk.witness.record(request, Audited.QUERIED, detail="quarantine")
    return _Found(items=list(quarantine.listed(MOST)), counts=dict(quarantine.counts()))
