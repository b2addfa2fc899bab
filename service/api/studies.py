"""`/api/v1`: the reading list, one study, its trail, its picture and documents, and the replay button."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from hoichan.adapters.list_filters import Asked, Shown
from hoichan.adapters.reading_order import PLACE_PATTERN, Place
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.views import DocumentView, ReadingPage
from hoichan.errors import RecordsError, RecordsUnavailable
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from hoichan.types import DeliveryState, DocumentKind, StudyInstanceUID, StudyState
from service.api import problems
from service.api.caller import caller_of, lasting
from service.api.desk import UID_MAXIMUM, UID_PATTERN, AtDesk, Desk
from service.api.pictures import PictureShelf
from service.api.schemas import DeliveryOut, StudyDetailOut, StudyListOut, TrailOut, etag

PAGE_SIZE = 50
LAST_PAGE = 10_000
_ENDINGS = {"application/dicom": "dcm", "application/fhir+json": "json", "x-application/hl7-v2+er7": "hl7"}

StudyUid = Annotated[
    str, Path(pattern=UID_PATTERN, max_length=UID_MAXIMUM, description="Study Instance UID (0020,000D)")
]
DeliveryKey = Annotated[str, Path(pattern=r"^[0-9.]+:[A-Za-z0-9_.-]+$", max_length=129)]
Page = Annotated[int, Query(ge=1, le=LAST_PAGE)]
Revision = Annotated[int | None, Query(ge=1, description="Of this revision; the newest report without it")]
OnlyState = Annotated[
    StudyState | None, Query(alias="state", description="Only this state; without it all that are not signed")
]
OnlyShown = Annotated[
    Shown | None, Query(description="Only these, in place of a state: unread, mine, critical, rejected")
]
After = Annotated[
    str | None, Query(pattern=PLACE_PATTERN, description="`next` of a former answer: what comes after it")
]
Before = Annotated[
    str | None, Query(pattern=PLACE_PATTERN, description="`previous` of a former answer: what comes before")
]

router = APIRouter(prefix="/api/v1", tags=["studies"], responses=problems.RESPONSES)
_shelf = PictureShelf()


def stretch_of(
    request: Request,
    desk: Desk,
    state: StudyState | None,
    shown: Shown | None,
    *,
    page: int,
    after: str | None,
    before: str | None,
) -> ReadingPage:
    """The stretch of the list behind or in front of a place; without one, by the number of the page."""
    reading, size = desk.reading, PAGE_SIZE
    caller = caller_of(request)
    asked = Asked(who=caller.user_name if caller else "", now=desk.clock.now(), shown=shown)
    if after is not None:
        return reading.reading_list(state=state, limit=size, after=Place.parse(after), asked=asked)
    if before is not None:
        return reading.reading_list(state=state, limit=size, before=Place.parse(before), asked=asked)
    return reading.reading_list(state=state, limit=size, offset=(page - 1) * size, asked=asked)


def asked_words(state: StudyState | None, shown: Shown | None) -> str:
    """What was asked for, for the audit log."""
    if shown is not None:
        return f"show={shown}"
    return f"state={state}" if state else ""


def listing(desk: Desk, found: ReadingPage, *, page: int) -> StudyListOut:
    """A stretch of the list with how far the reading of each study is."""
    reviews = ReviewsSql(desk.reading.engine, desk.reading.objects, desk.clock)
    marks = reviews.marks([entry.study_instance_uid for entry in found.entries])
    level = desk.settings.web.service_level
    return StudyListOut.of(found, page=page, size=PAGE_SIZE, marks=marks, level=level)


def _tagged(request: Request, model: StudyListOut | StudyDetailOut, tell: Callable[[], None]) -> Response:
    """The model, unless the asker has it already; what is shown is told to the audit log first."""
    tag = etag(model)
    headers = {"ETag": tag, "Cache-Control": lasting(request, "private, no-cache")}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    tell()
    return Response(model.model_dump_json(), media_type="application/json", headers=headers)


@router.get("/studies", response_model=StudyListOut)
def list_studies(
    request: Request,
    desk: AtDesk,
    state: OnlyState = None,
    show: OnlyShown = None,
    page: Page = 1,
    after: After = None,
    before: Before = None,
) -> Response:
    """The reading list: most urgent tier first, then oldest first. Send the ETag back to poll cheaply."""
    found = stretch_of(request, desk, state, show, page=page, after=after, before=before)
    detail = asked_words(state, show)
    listed = listing(desk, found, page=page)
    return _tagged(request, listed, lambda: desk.witness.record(request, Audited.QUERIED, detail=detail))


@router.get("/studies/{study_uid}", response_model=StudyDetailOut)
def show_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """One study with its newest report, and its series, documents and deliveries."""
    detail = StudyDetailOut.of_view(desk.reading.study(StudyInstanceUID(study_uid)))
    return _tagged(
        request, detail, lambda: desk.witness.record(request, Audited.VIEWED, study_uid, detail="study")
    )


@router.get("/studies/{study_uid}/trail")
def show_trail(request: Request, desk: AtDesk, study_uid: StudyUid) -> TrailOut:
    """What happened to the study, oldest first. Identifiers, codes and counts only."""
    lines = desk.reading.told(StudyInstanceUID(study_uid))
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="trail")
    return TrailOut.of(study_uid, lines)


@router.get(
    "/studies/{study_uid}/picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {}, "image/jpeg": {}}}},
)
def show_picture(
    request: Request,
    desk: AtDesk,
    study_uid: StudyUid,
    revision: Revision = None,
    v: Annotated[
        str, Query(max_length=64, description="sha256 of the document: an address that may be cached")
    ] = "",
) -> Response:
    """The Secondary Capture of a report as a picture for a browser."""
    document = _find(desk, study_uid, DocumentKind.SC, revision)
    if document is None or document.taken_back:
        return problems.answer(request, HTTPStatus.NOT_FOUND, "document.unknown", "No picture stands.")
    tag = f'"{document.sha256}"'
    policy = "private, max-age=31536000, immutable" if v == document.sha256 else "private, no-cache"
    headers = {"ETag": tag, "Cache-Control": lasting(request, policy)}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    desk.witness.record(request, Audited.VIEWED, study_uid, document.uid, detail="picture")
    picture = _shelf.picture(document.sha256, lambda: desk.reading.content(document))
    return Response(picture.content, media_type=picture.media_type, headers=headers)


@router.get(
    "/studies/{study_uid}/documents/{kind}",
    response_class=Response,
    responses={200: {"content": {"application/dicom": {}, "application/fhir+json": {}}}},
)
def download_document(
    request: Request,
    desk: AtDesk,
    study_uid: StudyUid,
    kind: DocumentKind,
    revision: Revision = None,
    destination: Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")] = None,
) -> Response:
    """The kept bytes of one form of a report, exactly as receivers get them."""
    document = _find(desk, study_uid, kind, revision, destination)
    if document is None:
        return problems.answer(
            request, HTTPStatus.NOT_FOUND, "document.unknown", "No such document was made."
        )
    desk.witness.record(request, Audited.EXPORTED, study_uid, document.uid, detail=kind.value)
    ending = _ENDINGS.get(document.media_type, "bin")
    return Response(
        desk.reading.content(document),
        media_type=document.media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{kind}-{document.sha256[:12]}.{ending}"',
            "ETag": f'"{document.sha256}"',
        },
    )


@router.post(
    "/deliveries/{idempotency_key}/replay",
    status_code=HTTPStatus.ACCEPTED,
    response_model=DeliveryOut,
    responses={
        403: {"description": "Not allowed, or not from our page", "content": {problems.MEDIA_TYPE: {}}},
        409: {"description": "Not a dead delivery", "content": {problems.MEDIA_TYPE: {}}},
    },
)
def replay_delivery(request: Request, desk: AtDesk, idempotency_key: DeliveryKey) -> Response:
    """Send a dead delivery again: the same bytes under the same key."""
    try:
        delivery = desk.studies.delivery(idempotency_key)
    except RecordsUnavailable:
        raise
    except RecordsError:
        return problems.answer(request, HTTPStatus.NOT_FOUND, "delivery.unknown")
    if delivery.state is not DeliveryState.DEAD:
        return problems.answer(request, HTTPStatus.CONFLICT, "delivery.not_dead")
    desk.witness.record(
        request,
        Audited.SENDING,
        delivery.study_instance_uid,
        delivery.report_uid,
        detail=f"replay {delivery.destination}",
    )
    desk.studies.revive(idempotency_key)
    if "text/html" in request.headers.get("accept", ""):
        caller = caller_of(request)
        seen = caller is not None and caller.may(Action.STUDY_READ)
        if request.query_params.get("to") == "queue":
            return RedirectResponse("/queue", status_code=HTTPStatus.SEE_OTHER)
        place = f"/studies/{delivery.study_instance_uid}{'/record#deliveries' if seen else '/trail'}"
        return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)
    view = desk.reading.study(delivery.study_instance_uid)
    revived = next(one for one in view.deliveries if one.idempotency_key == idempotency_key)
    return JSONResponse(DeliveryOut.of(revived).model_dump(mode="json"), status_code=HTTPStatus.ACCEPTED)


def _find(
    desk: AtDesk,
    study_uid: str,
    kind: DocumentKind,
    revision: int | None,
    destination: str | None = None,
) -> DocumentView | None:
    """The document of the newest report that fits; one for a single receiver only where it is asked for."""
    fitting = [
        document
        for document in desk.reading.documents(StudyInstanceUID(study_uid))
        if document.kind is kind
        and revision in (None, document.revision)
        and destination in (None, document.destination)
    ]
    return next(iter(fitting), None)
