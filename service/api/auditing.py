"""`/audit`: who did what, for the auditor. Identifiers only; nothing of a patient is in the log."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from service.api.desk import AtDesk, Desk
from service.api.show import show
from service.api.studies import Page

PAGE_SIZE = 100
LOUD_FOR = timedelta(days=7)  # break-glass stands above the log for so long
router = APIRouter(default_response_class=HTMLResponse)

# A form sends its empty fields too, so "" stands for "whatever it is".
Who = Annotated[str, Query(pattern=r"^[a-z0-9._:-]{0,64}$")]
Study = Annotated[str, Query(pattern=r"^\s*[0-9.]{0,64}\s*$")]
Day = Annotated[str, Query(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
What = Annotated[str, Query(pattern=r"^[a-z_]{0,32}$")]


@router.get("/audit")
def show_audit(
    request: Request,
    desk: AtDesk,
    who: Who = "",
    study: Study = "",
    what: What = "",
    since: Day = "",
    until: Day = "",
    page: Page = 1,
) -> HTMLResponse:
    """The audit log, newest first."""
    if what and what not in {one.value for one in Audited}:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY)
    wanted = Wanted(
        who=who or None,
        study_instance_uid=study.strip() or None,
        what=Audited(what) if what else None,
        since=_begin_of(desk, since) if since else None,
        until=_begin_of(desk, until, days=1) if until else None,
    )
    uids = (wanted.study_instance_uid,) if wanted.study_instance_uid else ()
    desk.witness.record(request, Audited.LOG_READ, *uids)
    total, lines = desk.witness.audit.search(wanted, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE)
    asked = {"who": who, "study": study.strip(), "what": what, "since": since, "until": until}
    return show(
        request,
        desk,
        "audit.html",
        lines=lines,
        emergencies=len(desk.access.emergencies(since=desk.clock.now() - LOUD_FOR)),
        total=total,
        kinds=list(Audited),
        asked=asked,
        chosen={key: value or None for key, value in asked.items()},
        page=page,
        pages=max(1, -(-total // PAGE_SIZE)),
    )


@router.get("/audit/emergencies")
def show_emergencies(request: Request, desk: AtDesk) -> HTMLResponse:
    """Who broke the glass, and the words they gave, newest first."""
    desk.witness.record(request, Audited.LOG_READ, detail="emergencies")
    return show(request, desk, "emergencies.html", emergencies=desk.access.emergencies())


def _begin_of(desk: Desk, day: str, *, days: int = 0) -> datetime:
    """Midnight at the site. Raises HTTPException 422 for a day that no calendar has."""
    try:
        return datetime.combine(
            date.fromisoformat(day) + timedelta(days=days), time(), desk.settings.site.zone
        )
    except (ValueError, OverflowError) as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY) from error
