"""`/shared/{token}`: what the holder of a link sees without an account: a signed report and its films.

Nothing of a machine that no doctor signed is here: the words are the signed ones, and films are bare.
A link that ended, was taken back or never was gives one and the same answer. Each opening is on record first.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, Response

from hoichan.adapters.people_sql import Subject
from hoichan.adapters.shares_sql import Share
from hoichan.errors import NotConvertible
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.passwords import TOKEN_PATIENCE, Patience
from hoichan.guard.roles import Role
from hoichan.reporting.review_words import HEADINGS, KINDS, REASON_OF
from hoichan.types import Instance, Review
from service.api.caller import SHARE, Caller, address_of, cookie, set_cookie
from service.api.desk import AtDesk, Desk
from service.api.dicomweb_rendered import RenderedShelf, Rendering
from service.api.known_browser import remember
from service.api.reading import reviews_of
from service.api.shares import shares_of
from service.api.show import show
from service.api.signing_in import succeeded, wait_of

PIN_SECONDS = 1800  # of one right PIN, in one browser
MOST_PICTURES = 24
LARGEST = (1600, 1600)  # columns and rows of a picture
OPENING_PATIENCE = Patience(free=30, first_seconds=2, longest_seconds=300, forgets_one_every_seconds=60)
PARTS_PATIENCE = Patience(  # the PDF and all the pictures of each opening
    free=OPENING_PATIENCE.free * (MOST_PICTURES + 1),
    first_seconds=2,
    longest_seconds=300,
    forgets_one_every_seconds=OPENING_PATIENCE.forgets_one_every_seconds / (MOST_PICTURES + 1),
)
HEADERS = {"X-Robots-Tag": "noindex, nofollow, noarchive", "Cache-Control": "no-store"}
Token = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{43}$")]
PictureNumber = Annotated[int, Path(ge=1, le=MOST_PICTURES)]

router = APIRouter(default_response_class=HTMLResponse)
_shelf = RenderedShelf()


@router.get("/shared/{token}")
def open_link(request: Request, desk: AtDesk, token: Token) -> Response:
    """The report, or the question for the PIN."""
    share = _share(request, desk, token)
    if isinstance(share, Response):
        return share
    if not _is_admitted(request, desk, share):
        return _page(request, desk, "pin")
    return _report(request, desk, token, share)


@router.post("/shared/{token}")
def open_with_pin(request: Request, desk: AtDesk, token: Token) -> Response:
    """The report after the right PIN."""
    share = _share(request, desk, token)
    if isinstance(share, Response):
        return share
    if share.pin_hash is not None:
        who = f"share:{share.number}"
        if wait_of(request, desk, who):
            return _page(request, desk, "wait", status=HTTPStatus.TOO_MANY_REQUESTS)
        right, _ = desk.passwords.matches(request.state.fields.get("pin", ""), share.pin_hash)
        if not right:
            _record(request, desk, share, "wrong pin", Outcome.MINOR_FAILURE)
            return _page(request, desk, "wrong_pin", status=HTTPStatus.FORBIDDEN)
        succeeded(request, desk, who)
    return _report(request, desk, token, share, admit=True)


@router.get("/shared/{token}/report.pdf", response_class=Response)
def open_pdf(request: Request, desk: AtDesk, token: Token) -> Response:
    """The signed page, byte for byte as it was kept."""
    found = _admitted(request, desk, token)
    if isinstance(found, Response):
        return found
    share, review = found
    page = reviews_of(desk).signed_page(review.report_uid)
    if not page:
        return _page(request, desk, "gone", status=HTTPStatus.NOT_FOUND)
    _record(request, desk, share, "pdf")
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="report.pdf"'}
    return Response(page, media_type="application/pdf", headers=headers)


@router.get("/shared/{token}/pictures/{number}", response_class=Response)
def open_picture(request: Request, desk: AtDesk, token: Token, number: PictureNumber) -> Response:
    """One film as a picture, without anything drawn on it."""
    found = _admitted(request, desk, token)
    if isinstance(found, Response):
        return found
    share, review = found
    films = _films(desk, review)
    if number > len(films):
        return _page(request, desk, "gone", status=HTTPStatus.NOT_FOUND)
    series, film = films[number - 1]
    held = desk.held.one(share.study_instance_uid, series, film.sop_instance_uid)
    try:
        if held is None:
            return _page(request, desk, "gone", status=HTTPStatus.NOT_FOUND)
        picture = _shelf.picture(held.path, 0, Rendering(largest=LARGEST, quality=85))
    except (NotConvertible, OSError):
        return _page(request, desk, "gone", status=HTTPStatus.NOT_FOUND)
    _record(request, desk, share, f"picture {number}")
    return Response(picture, media_type="image/jpeg", headers=HEADERS)


# ---------------------------------------------------------------------- who may
def _share(request: Request, desk: Desk, token: str) -> Share | Response:
    """The link, where it is open and its report stands; otherwise the one answer for all the rest."""
    share = shares_of(desk).by_token(token)
    if share is None:
        wait = desk.people.try_sign_in(Subject.TOKEN_ADDRESS, address_of(request), TOKEN_PATIENCE)
        if wait:
            return _page(request, desk, "wait", status=HTTPStatus.TOO_MANY_REQUESTS)
    if (
        share is None
        or not share.is_open(desk.clock.now())
        or not reviews_of(desk).stands(share.study_instance_uid)
    ):
        return _page(request, desk, "gone", status=HTTPStatus.NOT_FOUND)
    return share


def _admitted(request: Request, desk: Desk, token: str) -> tuple[Share, Review] | Response:
    share = _share(request, desk, token)
    if isinstance(share, Response):
        return share
    if not _is_admitted(request, desk, share):
        return _page(request, desk, "pin", status=HTTPStatus.FORBIDDEN)
    if desk.people.try_sign_in(Subject.TOKEN_ADDRESS, f"share parts:{share.number}", PARTS_PATIENCE):
        return _page(request, desk, "wait", status=HTTPStatus.TOO_MANY_REQUESTS)
    return share, reviews_of(desk).reviews(share.study_instance_uid)[-1]


def _is_admitted(request: Request, desk: Desk, share: Share) -> bool:
    """Whether the link alone opens it, or this browser has shown the PIN a while ago."""
    if share.pin_hash is None:
        return True
    until, _, proof = cookie(request, _cookie_of(share)).partition(".")
    if not until.isascii() or not until.isdigit() or len(until) > 12:
        return False
    right = hmac.compare_digest(_proof(desk, share, until).encode(), proof.encode("utf-8", "replace"))
    return right and desk.clock.now().timestamp() < int(until)


def _cookie_of(share: Share) -> str:
    """One for each link: a doctor may have several open side by side."""
    return f"{SHARE}_{share.number}"


def _proof(desk: Desk, share: Share, until: str) -> str:
    key = desk.witness.audit.derived_key("share link")
    return hmac.digest(key, f"{share.number}.{until}".encode(), hashlib.sha256).hex()


# ---------------------------------------------------------------------- what is shown
def _report(request: Request, desk: Desk, token: str, share: Share, *, admit: bool = False) -> Response:
    often = desk.people.try_sign_in(Subject.TOKEN_ADDRESS, f"share opened:{share.number}", OPENING_PATIENCE)
    if often:
        return _page(request, desk, "wait", status=HTTPStatus.TOO_MANY_REQUESTS)
    _record(request, desk, share, "opened")
    shares_of(desk).opened(share)
    review = reviews_of(desk).reviews(share.study_instance_uid)[-1]
    films = _films(desk, review)
    language = review.language
    sections = [
        (HEADINGS[name][language], getattr(review.sections, name).reveal().strip())
        for name in ("description", "comparison", "conclusion", "recommendation")
    ]
    if review.reason and review.kind.value in REASON_OF:
        sections.append((REASON_OF[review.kind.value][language], review.reason))
    page = _page(
        request,
        desk,
        "report",
        token=token,
        review=review,
        kind=KINDS[review.kind.value][language],
        sections=[(heading, words) for heading, words in sections if words],
        pictures=range(1, len(films) + 1),
        share=share,
    )
    if admit and share.pin_hash is not None:
        until = str(int((desk.clock.now() + timedelta(seconds=PIN_SECONDS)).timestamp()))
        set_cookie(request, page, _cookie_of(share), f"{until}.{_proof(desk, share, until)}")
        remember(request, desk, page, f"share:{share.number}")
    return page


def _films(desk: Desk, review: Review) -> list[tuple[str, Instance]]:
    """The films of the revision that was signed, in order, with their series; so many at most."""
    study = desk.studies.load(review.study_instance_uid, review.revision)
    found = [
        (str(series.series_instance_uid), one)
        for series in study.series
        for one in series.instances
        if one.rows and one.columns
    ]
    return found[:MOST_PICTURES]


def _record(
    request: Request, desk: Desk, share: Share, detail: str, outcome: Outcome = Outcome.SUCCESS
) -> None:
    who = Caller(user_name=f"share:{share.number}", display_name="", role=Role.HOLDER)
    uid = share.study_instance_uid
    desk.witness.record(request, Audited.SHARE_OPENED, uid, detail=detail, outcome=outcome, caller=who)


def _page(
    request: Request, desk: Desk, state: str, *, status: HTTPStatus = HTTPStatus.OK, **values: object
) -> HTMLResponse:
    page = show(request, desk, "shared.html", state=state, **values)
    page.status_code = status
    page.headers.update(HEADERS)
    return page
