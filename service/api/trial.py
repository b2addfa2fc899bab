"""`/trial`: what does your PACS, EMR or RIS show? A labelled test study goes there in every form.

As `hoichan try`, for IT alone: the page sends, a person looks at the other screen and answers, and from both
comes the receiver's profile, which counts from the next start on. Nothing is kept between the two steps but
what the page itself carries, so that a restart between them loses nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse

from hoichan.analysis.manifests import discover, shelf_roots
from hoichan.guard.audit import Audited
from hoichan.settings import (
    AnyDestination,
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
)
from hoichan.settings.profiles import profile_file, profile_lines, write_profile
from hoichan.types import ModelManifest
from service.api.desk import AtDesk, Desk
from service.api.show import show

PATIENT_ID = "HOICHAN-TEST"
_PATIENT_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_ONE_AT_A_TIME = threading.Lock()
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]

page_router = APIRouter(default_response_class=HTMLResponse)


class ReceiverOut(BaseModel):
    """A receiver that can be tried."""

    name: str
    kind: str
    profile: list[str]  # lines of its profile; [] where there is none


class TriedOut(BaseModel):
    """What came of one form."""

    form: str
    stored: bool
    detail: str


class RunOut(BaseModel):
    """A run that waits for a person's answers."""

    name: str
    kind: str
    at: datetime
    patient_id: str
    tried: list[TriedOut]
    asked: list[str]  # forms about which the person is asked

    @property
    def stored(self) -> list[str]:
        """What got through."""
        return [one.form for one in self.tried if one.stored]


class DoneOut(BaseModel):
    """What the answers made of it."""

    name: str
    lines: list[str]
    taken_back: list[TriedOut]


@page_router.get("/trial")
def show_page(request: Request, desk: AtDesk) -> HTMLResponse:
    """The receivers, and what is known of them."""
    return _page(request, desk)


@page_router.post("/trial/{name}")
def send_by_form(request: Request, desk: AtDesk, name: Name) -> HTMLResponse:
    """Send the test study in every form, and ask what shows."""
    receiver, manifest = _receiver(desk, name), _manifest(desk)
    patient_id = request.state.fields.get("patient_id", PATIENT_ID).strip()
    if receiver is None or not _PATIENT_ID.fullmatch(patient_id):
        return _page(request, desk, problem="malformed", status=HTTPStatus.UNPROCESSABLE_ENTITY)
    if manifest is None:
        return _page(request, desk, problem="no_model", status=HTTPStatus.CONFLICT)
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        return _page(request, desk, problem="busy", status=HTTPStatus.CONFLICT)
    try:
        desk.witness.record(request, Audited.SETTINGS_CHANGED, detail=f"test study to {name}")
        now = desk.clock.now().astimezone(desk.settings.site.zone)
        tried = list(_send(desk, receiver, manifest, now, patient_id))
    finally:
        _ONE_AT_A_TIME.release()
    run = RunOut(
        name=name,
        kind=receiver.kind,
        at=now,
        patient_id=patient_id,
        tried=tried,
        asked=[one.form for one in tried if one.stored and one.form != "film"],
    )
    return _page(request, desk, run=run)


@page_router.post("/trial/{name}/answers")
def answer_by_form(request: Request, desk: AtDesk, name: Name) -> HTMLResponse:
    """Make the profile of what was stored and what a person saw; take messages back."""
    fields: Mapping[str, str] = request.state.fields
    receiver, manifest = _receiver(desk, name), _manifest(desk)
    stored = {one for one in fields.get("stored", "").split(",") if one}
    shown = {key.removeprefix("shown.") for key in fields if key.startswith("shown.")} & stored
    patient_id = fields.get("patient_id", "")
    try:
        at = datetime.fromisoformat(fields.get("at", ""))
    except ValueError:
        at = None
    if receiver is None or manifest is None or at is None or at.tzinfo is None:
        return _page(request, desk, problem="malformed", status=HTTPStatus.UNPROCESSABLE_ENTITY)
    if not stored or not _PATIENT_ID.fullmatch(patient_id):
        return _page(request, desk, problem="malformed", status=HTTPStatus.UNPROCESSABLE_ENTITY)
    desk.witness.record(request, Audited.SETTINGS_CHANGED, detail=f"profile of {name}")
    found, back = _judge(desk, receiver, manifest, at, patient_id, stored, shown)
    try:
        write_profile(desk.settings.storage.data_dir, name, found)
    except OSError:
        return _page(request, desk, problem="disk", status=HTTPStatus.INSUFFICIENT_STORAGE)
    return _page(request, desk, done=DoneOut(name=name, lines=profile_lines(found), taken_back=back))


def _send(
    desk: Desk, receiver: AnyDestination, manifest: ModelManifest, now: datetime, patient_id: str
) -> Iterator[TriedOut]:
    from service.trial import trial  # noqa: PLC0415  highdicom takes a second
    from service.trial_messages import MessageTrial  # noqa: PLC0415

    if isinstance(receiver, DicomDestination | DicomwebDestination):
        tried = trial(desk.settings, receiver, manifest, now=now, patient_id=patient_id)
    elif isinstance(receiver, FhirDestination | Hl7Destination):
        tried = MessageTrial(desk.settings, receiver, manifest, now=now).send(patient_id)
    else:
        return
    for one in tried:
        yield TriedOut(form=one.form, stored=one.stored, detail=one.detail)


def _judge(
    desk: Desk,
    receiver: AnyDestination,
    manifest: ModelManifest,
    at: datetime,
    patient_id: str,
    stored: set[str],
    shown: set[str],
) -> tuple[dict[str, object], list[TriedOut]]:
    from service.trial import profile  # noqa: PLC0415  highdicom takes a second
    from service.trial_messages import MessageTrial, message_profile  # noqa: PLC0415

    if isinstance(receiver, FhirDestination | Hl7Destination):
        run = MessageTrial(desk.settings, receiver, manifest, now=at)
        run.sent_before(patient_id, stored)
        back = [TriedOut(form=one.form, stored=one.stored, detail=one.detail) for one in run.take_back()]
        return message_profile(receiver, shown), back
    return profile(stored, shown, took_back="kos" in shown), []


def _receiver(desk: Desk, name: str) -> AnyDestination | None:
    return next((one for one in _receivers(desk) if one.name == name), None)


def _receivers(desk: Desk) -> Sequence[AnyDestination]:
    return [one for one in desk.settings.destinations if not isinstance(one, FolderDestination)]


def _manifest(desk: Desk) -> ModelManifest | None:
    return next(iter(discover(shelf_roots(desk.settings.storage.data_dir)).manifests), None)


def _profile(desk: Desk, name: str) -> list[str]:
    try:
        text = profile_file(desk.settings.storage.data_dir, name).read_text(encoding="utf-8")
    except OSError:
        return []
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _page(
    request: Request,
    desk: Desk,
    *,
    run: RunOut | None = None,
    done: DoneOut | None = None,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    receivers = [
        ReceiverOut(name=one.name, kind=one.kind, profile=_profile(desk, one.name))
        for one in _receivers(desk)
    ]
    answer = show(
        request,
        desk,
        "trial.html",
        receivers=receivers,
        run=run,
        done=done,
        problem=problem,
        patient_id=PATIENT_ID,
    )
    answer.status_code = status
    return answer
