"""The pages: the reading list, one study, its trail, and the list of API operations.

Pages carry people's data, so none is kept by the browser (`no-store`, set by the doorkeeper). The
address holds a UID, a state and a page number, never more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, JSONResponse

from hoichan.adapters import reading_order
from hoichan.adapters.audit_sql import Line, Wanted
from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.list_filters import Shown
from hoichan.adapters.neighbours_read import came_near
from hoichan.adapters.views import DocumentView, ReadingPage, ResultView, StudyView
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from hoichan.types import DeliveryState, DocumentKind, Finding, Outcome, StudyInstanceUID, StudyState
from service.api.caller import caller_of
from service.api.desk import AtDesk
from service.api.follow_ups import overdue
from service.api.notices import unacknowledged
from service.api.questions import told_of
from service.api.reading_page import reading_page
from service.api.schemas import StudyDetailOut, etag
from service.api.show import query, show
from service.api.studies import (
    After,
    Before,
    OnlyState,
    Page,
    StudyUid,
    asked_words,
    listing,
    stretch_of,
)
from service.api.unmatched import waiting_for_a_patient
from service.story import aside, refused, story
from service.web.reading_room import built

MOST_READERS = 50
SHOWN_FINDINGS = 4  # positives in a line of the list; the study page has them all
PARTIAL = frozenset({Outcome.PARTIAL_WITH_FINDINGS, Outcome.PARTIAL_WITHOUT_FINDINGS})

router = APIRouter(default_response_class=HTMLResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One choice above the list."""

    state: StudyState | None
    shown: Shown | None = None
    count: int
    more: bool  # so many or more
    chosen: bool


@router.get("/")
def show_list(
    request: Request,
    desk: AtDesk,
    state: OnlyState = None,
    shown: Annotated[Shown | None, Query(alias="show")] = None,
    page: Page = 1,
    after: After = None,
    before: Before = None,
) -> HTMLResponse:
    """The reading list."""
    found = stretch_of(request, desk, state, shown, page=page, after=after, before=before)
    desk.witness.record(request, Audited.QUERIED, detail=asked_words(state, shown))
    choices = _choices(found, state, shown)
    listed = listing(desk, found, page=page)
    return show(
        request,
        desk,
        "list.html",
        found=found,
        filters=choices,
        unmatched=waiting_for_a_patient(request, desk),
        notices=unacknowledged(request, desk),
        overdue=overdue(request, desk),
        questions=CorrectionsSql(desk.reading.engine, desk.clock, desk.sight).waiting(),
        state=state,
        choice=shown,
        page=page,
        pages=listed.pages,
        readings={line.study_instance_uid: line for line in listed.items},
        etag=etag(listed),
        poll="/api/v1/studies"
        + query(state=state, show=shown, page=page if page > 1 else None, after=after, before=before),
        partial=PARTIAL,
        shown=SHOWN_FINDINGS,
    )


@router.get("/studies/{study_uid}")
def show_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """One study to be read: the reading room; its record where the app was not built."""
    app = built()
    if app is None:
        return show_record(request, desk, study_uid)
    view = desk.reading.study(StudyInstanceUID(study_uid))
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="study")
    return reading_page(request, desk, view, app)


@router.get("/studies/{study_uid}/record")
def show_record(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """One study as it is recorded: picture, findings, refusals, deliveries, documents, model."""
    view = desk.reading.study(StudyInstanceUID(study_uid))
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="study")
    report = view.entry.report
    return show(
        request,
        desk,
        "study.html",
        view=view,
        entry=view.entry,
        report=report,
        told=told_of(desk, view.entry.study_instance_uid),
        picture=_picture(view),
        images=_images(report.findings if report else ()),
        ran=_ran(view.results),
        etag=etag(StudyDetailOut.of_view(view)),
        poll=f"/api/v1/studies/{study_uid}",
        partial=PARTIAL,
        shown=SHOWN_FINDINGS,
    )


@router.get("/studies/{study_uid}/trail")
def show_trail(request: Request, desk: AtDesk, study_uid: StudyUid) -> HTMLResponse:
    """Where one study is, and every step of it, oldest first."""
    uid = StudyInstanceUID(study_uid)
    lines = desk.reading.told(uid)
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="trail")
    words = desk.templates.words(desk.templates.language(request))
    standing = desk.premises.aside.standing(uid)
    parts = aside(words, standing)
    current = desk.studies.current(uid)
    if current is None:  # nothing of it could be recorded, or all was refused
        parts += refused(words, lines)
        what = {"lines": lines, "study_uid": uid, "parts": parts, "recorded": False, "again": bool(standing)}
        return show(request, desk, "trail.html", dead=(), state="", unsent=False, **what)
    view = desk.reading.study(uid)
    caller = caller_of(request)
    opened: Sequence[Line] = ()
    if caller is not None and caller.may(Action.AUDIT_READ):
        _, opened = desk.witness.audit.search(Wanted(study_instance_uid=uid), limit=MOST_READERS)
    parts += story(
        words,
        view,
        lines,
        receivers=desk.work.receivers(),
        opened=opened,
        study=current,
        near=came_near(desk.reading.engine, uid, current.calling_ae_title),
    )
    dead = [one for one in view.deliveries if one.state is DeliveryState.DEAD]
    return show(
        request,
        desk,
        "trail.html",
        lines=lines,
        study_uid=uid,
        dead=dead,
        parts=parts,
        state=view.entry.state.value,
        recorded=True,
        again=bool(standing or dead) or view.entry.state in (StudyState.FAILED, StudyState.CANCELLED),
        unsent=any(one.state in (DeliveryState.PENDING, DeliveryState.DEAD) for one in view.deliveries),
    )


@router.get("/openapi.json", response_class=JSONResponse)
def show_description(request: Request) -> JSONResponse:
    """The API for machines to read (OpenAPI 3.1)."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def show_operations(request: Request, desk: AtDesk) -> HTMLResponse:
    """The operations of the API, without a script from elsewhere."""
    description = request.app.openapi()
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return show(request, desk, "docs.html", operations=operations)


def _choices(found: ReadingPage, state: StudyState | None, shown: Shown | None) -> list[Filter]:
    """What can be chosen above the list: all that is open, how far reading is, then the states there are."""
    whole = Filter(
        state=None,
        count=reading_order.total_of(found.by_state, None),
        more=reading_order.is_bound(found.by_state, None),
        chosen=state is None and shown is None,
    )
    by_choice = [
        Filter(
            state=None,
            shown=one,
            count=count,
            more=count >= reading_order.COUNTED_TO,
            chosen=shown is one,
        )
        for one, count in found.by_choice.items()
    ]
    by_state = [
        Filter(
            state=one,
            count=reading_order.total_of(found.by_state, one),
            more=reading_order.is_bound(found.by_state, one),
            chosen=state is one and shown is None,
        )
        for one in StudyState
        if found.by_state.get(one) or state is one
    ]
    return [whole, *by_choice, *by_state]


def _picture(view: StudyView) -> DocumentView | None:
    """The newest Secondary Capture, also of an earlier revision; none where it was taken back."""
    newest = next((document for document in view.documents if document.kind is DocumentKind.SC), None)
    return None if newest is not None and newest.taken_back else newest


def _images(findings: tuple[Finding, ...]) -> dict[str, int]:
    """A number for each image that findings speak of, when there are several."""
    uids = list(dict.fromkeys(finding.sop_instance_uid for finding in findings))
    return {uid: number for number, uid in enumerate(sorted(uids), start=1)} if len(uids) > 1 else {}


def _ran(results: tuple[ResultView, ...]) -> dict[tuple[str, str], list[ResultView]]:
    """Runs by model and version."""
    runs: dict[tuple[str, str], list[ResultView]] = {}
    for result in results:
        runs.setdefault((result.algorithm_name, result.algorithm_version), []).append(result)
    return runs
