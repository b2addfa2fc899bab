"""What all WADO-RS handlers share: finding the object, reading Accept, addresses, streamed bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response, StreamingResponse

from hoichan.adapters import frames
from hoichan.adapters.held_sql import Held
from hoichan.errors import NotAcceptable, NotConvertible, NotDicom, NotHeld
from service.api import dicomweb_media as media
from service.api.desk import Desk
from service.api.dicomweb_media import Body
from service.api.dicomweb_place import base_url

STUDY = "/studies/{study_uid}"
SERIES = STUDY + "/series/{series_uid}"
INSTANCE = SERIES + "/instances/{instance_uid}"
Frames = Annotated[str, Path(pattern=r"^[0-9]{1,6}(,[0-9]{1,6})*$", max_length=8000)]
FrameNumber = Annotated[int, Path(ge=1, le=999_999)]
BulkTag = Annotated[str, Path(pattern=r"^[0-9A-Fa-f]{8}$")]


def image(desk: Desk, study: str, of_series: str, instance: str) -> tuple[Held, frames.Pixels]:
    """An object and where its pixels lie. Raises NotHeld, NotConvertible or NotAcceptable."""
    held = held_one(desk, study, of_series, instance)
    try:
        pixels = frames.locate(held.path)
    except (NotDicom, OSError) as error:
        raise NotConvertible("The kept file cannot be read.") from error
    if pixels is None:
        raise NotAcceptable("The object has no pixels.")
    return held, pixels


def held_one(desk: Desk, study: str, of_series: str, instance: str) -> Held:
    """One object. Raises NotHeld."""
    held = desk.held.one(study, of_series, instance)
    if held is None:
        raise NotHeld
    return held


def check_held(held: Sequence[Held]) -> None:
    """Raises NotHeld where there is nothing to give."""
    if not held:
        raise NotHeld


def accept(request: Request) -> str:
    """What the client takes; the parameter of the address comes first (PS3.18 8.3.3.1)."""
    return request.query_params.get("accept") or request.headers.get("accept", "*/*")


def address(request: Request, held: Held) -> str:
    """Where an object is retrieved."""
    return (
        f"{base_url(request)}/studies/{held.study_instance_uid}"
        f"/series/{held.series_instance_uid}/instances/{held.sop_instance_uid}"
    )


def streamed(body: Body) -> Response:
    """The body, sent as it is made."""
    return StreamingResponse(
        media.begun(body), media_type=body.media_type, headers={"Cache-Control": "no-store"}
    )
