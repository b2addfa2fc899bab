"""WADO-RS: frames, pictures and bulk data of what is held (PS3.18 10.4.1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus

from fastapi import APIRouter, Request
from pydicom.uid import ExplicitVRLittleEndian
from starlette.responses import Response, StreamingResponse

from hoichan.adapters import frames
from hoichan.errors import NotAcceptable, NotHeld
from hoichan.guard.audit import Audited
from hoichan.intake.headers import PIXEL_DATA
from service.api import dicomweb_media as media
from service.api.desk import AtDesk, Desk
from service.api.dicomweb_media import ANY_SYNTAX, OCTETS, Body, Part, Taken
from service.api.dicomweb_rendered import SHOWN, THUMBNAIL_SIDE, RenderedShelf, Rendering, RenderingMalformed
from service.api.dicomweb_shared import (
    INSTANCE,
    BulkTag,
    FrameNumber,
    Frames,
    accept,
    address,
    held_one,
    image,
    streamed,
)
from service.api.problems import problem_json
from service.api.studies import StudyUid

MOST_FRAMES = 1000  # of one request
router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"])
_shelf = RenderedShelf()


# ---------------------------------------------------------------------- frames
@router.get(INSTANCE + "/frames/{numbers}", response_class=Response)
def retrieve_frames(
    request: Request,
    desk: AtDesk,
    study_uid: StudyUid,
    series_uid: StudyUid,
    instance_uid: StudyUid,
    numbers: Frames,
) -> Response:
    """Frames, counted from one, as they are kept or unpacked (WADO-RS)."""
    held, pixels = image(desk, study_uid, series_uid, instance_uid)
    indices = [int(number) - 1 for number in numbers.split(",")]
    if len(indices) > MOST_FRAMES or not all(0 <= index < pixels.number_of_frames for index in indices):
        raise NotHeld("The image has no such frame.")
    kind, inner, as_kept, single = _form_of_frames(media.taken(accept(request)), pixels, len(indices))
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="wado frames")
    place = address(request, held)

    def content(index: int) -> Iterable[bytes]:
        if as_kept:
            return frames.frame_as_kept(held.path, pixels, index)
        return [frames.frame_unpacked(held.path, index)]

    if single:
        return StreamingResponse(media.begun(content(indices[0])), media_type=kind)
    parts = (
        Part(kind=kind, location=f"{place}/frames/{index + 1}", content=content(index)) for index in indices
    )
    return streamed(Body(inner, parts))


def _form_of_frames(
    wanted: Sequence[Taken], pixels: frames.Pixels, count: int
) -> tuple[str, str, bool, bool]:
    """Content-Type of a part, its bare type, whether frames go as kept, and whether one goes bare."""
    kept, syntax = media.kind_of_frames(pixels.transfer_syntax_uid), pixels.transfer_syntax_uid
    is_native = syntax in frames.NATIVE
    unpacked = f"{OCTETS}; transfer-syntax={ExplicitVRLittleEndian}"
    for one in wanted:
        single = not one.is_multipart
        if single and count != 1:
            continue
        asked = one.transfer_syntax
        if not is_native and asked in (ANY_SYNTAX, syntax) and (one.takes(kept) or one.takes(OCTETS)):
            inner = kept if one.takes(kept) else OCTETS
            return f"{inner}; transfer-syntax={syntax}", inner, True, single
        named = one.kind not in ("", "*/*") and not one.kind.endswith("/*")
        if not is_native and asked is None and named and one.takes(kept):
            return f"{kept}; transfer-syntax={syntax}", kept, True, single
        plain = one.takes(OCTETS) and asked in (None, ANY_SYNTAX, ExplicitVRLittleEndian)
        if plain and (is_native or frames.is_decodable(syntax)):
            return unpacked, OCTETS, is_native, single
    raise NotAcceptable(f'Take multipart/related; type="{OCTETS}", or type="{kept}".')


# ---------------------------------------------------------------------- pictures
@router.get(INSTANCE + "/rendered", response_class=Response)
def rendered_instance(
    request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid, instance_uid: StudyUid
) -> Response:
    """The first frame as a picture (WADO-RS)."""
    return _picture(request, desk, (study_uid, series_uid, instance_uid), 1)


@router.get(INSTANCE + "/frames/{number}/rendered", response_class=Response)
def rendered_frame(
    request: Request,
    desk: AtDesk,
    study_uid: StudyUid,
    series_uid: StudyUid,
    instance_uid: StudyUid,
    number: FrameNumber,
) -> Response:
    """A frame as a picture (WADO-RS)."""
    return _picture(request, desk, (study_uid, series_uid, instance_uid), number)


@router.get(INSTANCE + "/thumbnail", response_class=Response)
def thumbnail(
    request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid, instance_uid: StudyUid
) -> Response:
    """The first frame as a small picture (WADO-RS)."""
    viewport = {"viewport": f"{THUMBNAIL_SIDE},{THUMBNAIL_SIDE}"}
    return _picture(request, desk, (study_uid, series_uid, instance_uid), 1, viewport)


def _picture(
    request: Request,
    desk: Desk,
    uids: tuple[str, str, str],
    number: int,
    parameters: dict[str, str] | None = None,
) -> Response:
    held, pixels = image(desk, *uids)
    if number > pixels.number_of_frames:
        raise NotHeld("The image has no such frame.")
    kind = next((kind for one in media.taken(accept(request)) for kind in SHOWN if one.takes(kind)), None)
    if kind is None:
        raise NotAcceptable("The picture is image/jpeg or image/png.")
    try:
        asked = Rendering.of(kind, {**request.query_params, **(parameters or {})})
    except RenderingMalformed as error:
        return problem_json(HTTPStatus.BAD_REQUEST, "dicomweb.malformed", str(error))
    desk.witness.record(request, Audited.VIEWED, uids[0], detail="wado rendered")
    return Response(_shelf.picture(held.path, number - 1, asked), media_type=kind)


# ---------------------------------------------------------------------- bulk data
@router.get(INSTANCE + "/bulkdata/{tag}", response_class=Response)
def retrieve_bulk_data(
    request: Request,
    desk: AtDesk,
    study_uid: StudyUid,
    series_uid: StudyUid,
    instance_uid: StudyUid,
    tag: BulkTag,
) -> Response:
    """One long value: pixels frame by frame, a document, a waveform (WADO-RS)."""
    held = held_one(desk, study_uid, series_uid, instance_uid)
    wanted = media.taken(accept(request))
    place = address(request, held)
    if int(tag, 16) == PIXEL_DATA and held.transfer_syntax_uid not in frames.NATIVE:
        _, pixels = image(desk, study_uid, series_uid, instance_uid)
        kind = media.kind_of_frames(pixels.transfer_syntax_uid)
        if not any(one.is_multipart and (one.takes(kind) or one.takes(OCTETS)) for one in wanted):
            raise NotAcceptable("Take multipart/related.")
        desk.witness.record(request, Audited.VIEWED, study_uid, detail="wado bulkdata")
        parts = (
            Part(
                kind=f"{kind}; transfer-syntax={pixels.transfer_syntax_uid}",
                location=f"{place}/frames/{index + 1}",
                content=frames.frame_as_kept(held.path, pixels, index),
            )
            for index in range(pixels.number_of_frames)
        )
        return streamed(Body(kind, parts))
    value = frames.value(held.path, int(tag, 16))
    if value is None:
        raise NotHeld("The object has no such value.")
    one = next((one for one in wanted if one.takes(OCTETS)), None)
    if one is None:
        raise NotAcceptable(f"The value is {OCTETS}.")
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="wado bulkdata")
    if not one.is_multipart:
        return StreamingResponse(media.begun(value), media_type=OCTETS)
    return streamed(
        Body(OCTETS, [Part(kind=OCTETS, location=f"{place}/bulkdata/{tag.upper()}", content=value)])
    )
