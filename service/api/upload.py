"""`/upload`: a person brings films in by hand; they go where STOW-RS goes, under the sender `UPLOAD`.

The page sends object by object to `/upload/studies`, a second STOW-RS door with a door-keeper of its own: a
session, its token and a role that may, where programs have their tokens.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from service.api.desk import AtDesk, Desk
from service.api.gate import admitted
from service.api.show import show

SENDER = "UPLOAD"  # stands for a calling AE title: a person has none
PLACE = "/upload"
_WORDS = "upload.answer."

page_router = APIRouter(default_response_class=HTMLResponse)


@page_router.get("/upload")
def show_upload(request: Request, desk: AtDesk) -> HTMLResponse:
    """Where films are dropped."""
    sentences = desk.templates.words(desk.templates.language(request))
    words = {key: sentences(_WORDS + key) for key in ANSWERS}
    return show(request, desk, "upload.html", words=words, is_open=desk.settings.web.upload)


ANSWERS = (
    *("stored", "changed", "not_dicom", "contradicts", "later", "too_large", "no_line", "signed_out"),
    *("forbidden", "refused", "unreadable", "total"),
    *("zip_broken", "zip_encrypted", "zip_zip64", "zip_method"),
)


class UploadAccess:
    """Judges requests of the page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, request: Request) -> str:
        """What stands for the calling AE title. Raises an AccessError, or RecordsUnavailable."""
        admitted(request, self._desk, Action.INSTANCES_UPLOAD)
        self._desk.witness.record(request, Audited.INSTANCES_RECEIVED, detail="upload")
        return SENDER
