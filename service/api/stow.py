"""STOW-RS: DICOM over HTTP comes in here and goes where C-STORE goes (PS3.18 10.5).

`POST /dicom-web/studies` and `/dicom-web/studies/{uid}`, multipart/related of application/dicom. The body is
taken apart as it arrives; one part at a time waits in a nameless file until it is whole, and is in the spool
before the next begins. It is an application of its own below the page's: machines that store have no session.
The door is open by setting only; who may come in is for `service.api.stow_access` to say.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hoichan.errors import HoichanError, IntakeError, NotDicom, SpoolFull
from hoichan.intake.door import is_uid
from hoichan.intake.files import Counted, names_of, take_in
from hoichan.intake.part10 import split
from hoichan.multipart import Event, Multipart, MultipartBroken, PartBegins, PartData, media_type
from hoichan.ports import Spool
from service.api.batches import HEADER, Batches, batch_of
from service.api.doorkeeper import is_same_origin
from service.api.problems import RETRY_AFTER_SECONDS, challenge, problem_json
from service.api.problems import status_of as problem_status
from service.api.stow_answers import CHANGED_CONTENT, Outcome, document, reason_of, status_of

log = structlog.get_logger()

MAXIMUM_REQUESTS = 4  # at a time; each holds one object in memory while it is filed
MAXIMUM_PARTS = 20_000  # of one request
_IN_MEMORY = 8 * 1024**2  # bytes of a part that wait in memory; more waits on the disk
_ANSWER = "application/dicom+json"
_ACCEPTABLE = ("application/dicom+json", "application/json", "application/*", "*/*")


class Refusal(Exception):
    """Nothing of this request can be answered part by part."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


Admit = Callable[[Request], str]  # the sender's name, which stands for a calling AE title; or a HoichanError


class StowDoor:
    """What every request shares: where objects go, and how much is let in."""

    def __init__(
        self,
        spool: Spool,
        folder: Path,
        *,
        admit: Admit,
        maximum_bytes: int,
        reserve_bytes: int,
        counted: Counted | None = None,
        batches: Batches | None = None,
    ) -> None:
        """`folder`: where parts wait that are too large for memory; `maximum_bytes`: of one request.

        `batches`: where a sender may say which of its requests belong together.
        """
        self.spool = spool
        self.batches = batches
        self.counted = counted
        self.admit = admit
        self.folder = folder
        self.maximum_bytes = maximum_bytes
        self._reserve_bytes = reserve_bytes
        self._requests = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the few places. Raises Refusal when all are taken."""
        if self._requests >= MAXIMUM_REQUESTS:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stow.busy", "Too many at a time; send again.")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    def check_size(self, content_length: str | None) -> None:
        """Refuses what is announced as too large, or has no room, before it travels."""
        size = int(content_length) if content_length and content_length.isdecimal() else 0
        if size > self.maximum_bytes:
            raise too_large()
        try:
            free = self.spool.free_bytes()
        except OSError:
            free = 0
        if free - size < self._reserve_bytes:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stow.no_room", "No room; send again later.")


def too_large() -> Refusal:
    """For a body beyond `web.stow_maximum_bytes`."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "stow.too_large",
        "The request is larger than web.stow_maximum_bytes: send fewer instances at a time.",
    )


def stow_app(door: StowDoor) -> Starlette:
    """What is mounted at /dicom-web."""

    async def store(request: Request) -> Response:
        return await _answer(door, request)

    return Starlette(
        routes=[
            Route("/studies", store, methods=["POST"]),
            Route("/studies/{study_instance_uid}", store, methods=["POST"]),
        ]
    )


async def _answer(door: StowDoor, request: Request) -> Response:
    study = request.path_params.get("study_instance_uid")
    try:
        sender = await run_in_threadpool(door.admit, request)
        boundary = _checked(request.headers, study)
        door.check_size(request.headers.get("content-length"))
        batch = batch_of(request.headers.get(HEADER)) if door.batches is not None else None
        with door.place():
            reception = Reception(door, study, sender, batch)
            outcomes = await _receive(reception, request.stream(), boundary)
    except Refusal as refusal:
        log.warning("stow_refused", code=refusal.code, status=int(refusal.status))
        return problem_json(refusal.status, refusal.code, str(refusal))
    except HoichanError as error:
        log.warning("stow_refused", code=error.code, status=int(problem_status(error)))
        answer = problem_json(problem_status(error), error.code, str(error))
        answer.headers.update(challenge(request, error))
        return answer
    status = status_of(outcomes)
    failed = sum(1 for one in outcomes if one.failure_reason is not None)
    log.info("stow_answered", status=int(status), instances=len(outcomes), failed=failed)
    headers = {"Cache-Control": "no-store"}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return JSONResponse(document(outcomes), status_code=status, media_type=_ANSWER, headers=headers)


def _checked(headers: Headers, study: str | None) -> str:
    """The boundary of a request that may be read. Raises Refusal."""
    if "sec-fetch-site" in headers and not is_same_origin(headers):
        raise Refusal(HTTPStatus.FORBIDDEN, "request.foreign_origin", "Another site's page may not store.")
    if study is not None and not is_uid(study):
        raise Refusal(HTTPStatus.BAD_REQUEST, "stow.malformed", "Not a Study Instance UID.")
    accepted = [one.partition(";")[0].strip().lower() for one in headers.get("accept", "*/*").split(",")]
    if not any(one in _ACCEPTABLE for one in accepted):
        raise Refusal(HTTPStatus.NOT_ACCEPTABLE, "stow.not_acceptable", f"The answer is {_ANSWER}.")
    kind, parameters = media_type(headers.get("content-type", ""))
    wanted = parameters.get("type", "application/dicom").lower()  # some clients leave it out
    if kind != "multipart/related" or wanted != "application/dicom":
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "stow.media_type",
            'Send multipart/related; type="application/dicom".',
        )
    return parameters.get("boundary", "")


async def _receive(reception: Reception, chunks: AsyncIterator[bytes], boundary: str) -> list[Outcome]:
    """What became of each part. Raises Refusal when not one could be read."""
    received = 0
    try:
        parser = Multipart(boundary)
        async for chunk in chunks:
            received += len(chunk)
            if received > reception.maximum_bytes:
                raise too_large()
            for event in parser.feed(chunk):
                await reception.take(event)
        parser.close()
    except (MultipartBroken, ClientDisconnect) as error:
        if not reception.outcomes:
            detail = str(error) or "The body was cut off."
            raise Refusal(HTTPStatus.BAD_REQUEST, "stow.malformed", detail) from error
        reception.failed(NotDicom())
    except (OSError, SpoolFull) as error:  # no room for a part that waits
        if not reception.outcomes:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "stow.no_room", "No room; send again later."
            ) from error
        reception.failed(error)
    finally:
        await run_in_threadpool(reception.close)
    if not reception.outcomes:
        raise Refusal(HTTPStatus.BAD_REQUEST, "stow.malformed", "The body has no part.")
    return reception.outcomes


class Reception:
    """The parts of one request, one at a time."""

    def __init__(self, door: StowDoor, study: str | None, sender: str, batch: str | None = None) -> None:
        """`batch`: keeps the studies open beyond this request."""
        self.outcomes: list[Outcome] = []
        self.maximum_bytes = door.maximum_bytes
        self._sender = sender
        self._door = door
        self._study = study
        self._batches = door.batches if batch is not None else None
        self._name = batch or uuid.uuid4().hex[:12]  # where a DIMSE sender has an association
        if self._batches is not None:
            self._batches.enter(self._name)
        self._file: Any = None  # the part that is arriving
        self._is_dicom = True

    async def take(self, event: Event) -> None:
        """One event of the body. Raises OSError when a part cannot wait on the disk."""
        match event:
            case PartBegins(headers):
                if len(self.outcomes) >= MAXIMUM_PARTS:
                    raise too_large()
                kind, _ = media_type(headers.get("content-type", "application/dicom"))
                self._is_dicom = kind == "application/dicom"
                self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._door.folder))  # noqa: SIM115
            case PartData(data):
                await run_in_threadpool(self._file.write, data)
            case _:
                self.outcomes.append(await run_in_threadpool(self._keep))

    def failed(self, error: Exception) -> None:
        """The part that was arriving, and whatever would have come behind it, is not there."""
        self.outcomes.append(
            Outcome(sop_class_uid=None, sop_instance_uid=None, failure_reason=reason_of(error))
        )

    def close(self) -> None:
        """Says that no more comes."""
        if self._file is not None:
            self._file.close()
        if self._batches is not None:
            self._batches.leave(self._name)
        else:
            self._door.spool.released(self._name)

    def _keep(self) -> Outcome:
        with self._file as file:
            file.seek(0)
            data = file.read()
        self._file = None
        try:
            if not self._is_dicom:
                raise NotDicom("The part is not application/dicom.")
            stored = take_in(
                self._door.spool,
                data,
                calling_ae_title=self._sender,
                study_instance_uid=self._study,
                counted=self._door.counted,
            )
        except (HoichanError, OSError) as error:
            return _failure(data, error, self._sender)
        if not stored.duplicate and stored.quarantined is None:
            with suppress(SpoolFull):  # without the mark the study is only closed earlier
                self._door.spool.opened(stored.study_instance_uid, self._name)
        log.info(
            "instance_stored",
            study=stored.study_instance_uid,
            instance=stored.sop_instance_uid,
            calling_ae_title=self._sender,
            duplicate=stored.duplicate,
            quarantined=stored.quarantined,
            size_bytes=len(data),
        )
        sop_class, sop_instance = names_of(split(data))
        return Outcome(
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
            failure_reason=None if stored.quarantined is None else CHANGED_CONTENT,
        )


def _failure(data: bytes, error: Exception, sender: str) -> Outcome:
    names: tuple[str, str] = ("", "")
    with suppress(IntakeError):
        names = names_of(split(data))
    known = all(is_uid(name) for name in names)
    reason = reason_of(error)
    log.warning(
        "instance_refused",
        status=f"{reason:#06x}",
        code=error.code if isinstance(error, HoichanError) else type(error).__name__,
        instance=names[1] if known else None,
        calling_ae_title=sender,
        size_bytes=len(data),
    )
    return Outcome(
        sop_class_uid=names[0] if known else None,
        sop_instance_uid=names[1] if known else None,
        failure_reason=reason,
    )
