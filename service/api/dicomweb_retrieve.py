"""WADO-RS: objects and their metadata (PS3.18 10.4).

Objects travel as they are kept wherever the client takes that; else they are unpacked, or packed without
loss, one at a time. A body is made while it is sent: a study of gigabytes is never in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from starlette.responses import Response, StreamingResponse

from hoichan.adapters import frames
from hoichan.adapters.held_sql import Held, read_header
from hoichan.errors import NotAcceptable, NotConvertible, NotDicom, NotHeld
from hoichan.guard.audit import Audited
from service.api import dicomweb_media as media
from service.api.desk import AtDesk, Desk
from service.api.dicomweb_attributes import BINARY, LARGEST_INLINE, element_json, readable
from service.api.dicomweb_media import ANY_SYNTAX, DICOM, Body, Part, Taken
from service.api.dicomweb_search import MEDIA_TYPE as JSON_TYPE
from service.api.dicomweb_shared import INSTANCE, SERIES, STUDY, accept, address, check_held, streamed
from service.api.studies import StudyUid

log = structlog.get_logger()

router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"])


# ---------------------------------------------------------------------- objects
@router.get(STUDY, response_class=Response)
def retrieve_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Every object of a study (WADO-RS)."""
    return _objects(request, desk, desk.held.objects(study_uid), Audited.EXPORTED, "wado study", study_uid)


@router.get(SERIES, response_class=Response)
def retrieve_series(request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid) -> Response:
    """Every object of a series (WADO-RS)."""
    held = desk.held.objects(study_uid, series_uid=series_uid)
    return _objects(request, desk, held, Audited.EXPORTED, "wado series", study_uid, series_uid)


@router.get(INSTANCE, response_class=Response)
def retrieve_instance(
    request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid, instance_uid: StudyUid
) -> Response:
    """One object (WADO-RS)."""
    held = desk.held.one(study_uid, series_uid, instance_uid)
    return _objects(request, desk, [held] if held else [], Audited.VIEWED, "wado instance", study_uid)


def _objects(
    request: Request, desk: Desk, held: Sequence[Held], what: Audited, detail: str, *uids: str
) -> Response:
    check_held(held)
    wanted = media.taken(accept(request))
    for one in wanted:
        if one.is_multipart and one.takes(DICOM):
            targets = [_target(held_one, wanted) for held_one in held]
            desk.witness.record(request, what, *uids, detail=detail)
            return streamed(Body(DICOM, _dicom_parts(held, targets)))
        if not one.is_multipart and one.takes(DICOM) and len(held) == 1:
            target = _target(held[0], wanted)
            desk.witness.record(request, what, *uids, detail=detail)
            kind = f"{DICOM}; transfer-syntax={target}"
            return StreamingResponse(media.begun(_content(held[0], target)), media_type=kind)
    raise NotAcceptable(f'Take multipart/related; type="{DICOM}".')


def _target(held: Held, wanted: Sequence[Taken]) -> str:
    """The transfer syntax an object travels in. Raises NotAcceptable.

    Where nothing is said it is the default, Explicit VR Little Endian (PS3.18 8.7.3.4); what cannot be
    unpacked here, such as video, then goes as it is kept.
    """
    asked = [one.transfer_syntax for one in wanted if one.takes(DICOM)]
    if ANY_SYNTAX in asked or held.transfer_syntax_uid in asked:
        return held.transfer_syntax_uid
    for syntax in asked:
        target = syntax or ExplicitVRLittleEndian
        if frames.convertible(held.transfer_syntax_uid, target):
            return target
        if syntax is None:
            return held.transfer_syntax_uid
    raise NotAcceptable("An object cannot be given in these transfer syntaxes.")


def _dicom_parts(held: Sequence[Held], targets: Sequence[str]) -> Iterator[Part]:
    """The objects, converted one at a time; among many, one that cannot be converted goes as it is kept."""
    for one, target in zip(held, targets, strict=True):
        try:
            content, syntax = _content(one, target), target
        except NotHeld:
            if len(held) == 1:
                raise
            continue  # removed since: the others are still here
        except NotConvertible as error:
            if len(held) == 1:
                raise
            log.warning("instance_not_converted", instance=one.sop_instance_uid, code=error.code)
            content, syntax = frames.pieces(one.path), one.transfer_syntax_uid
        yield Part(kind=f"{DICOM}; transfer-syntax={syntax}", location="", content=content)


def _content(held: Held, target: str) -> Iterable[bytes]:
    if target == held.transfer_syntax_uid:
        return frames.pieces(held.path)
    return [frames.converted(held.path, target)]


# ---------------------------------------------------------------------- metadata
@router.get(STUDY + "/metadata", response_class=Response)
def study_metadata(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """The attributes of every object of a study, without bulk data (WADO-RS)."""
    return _metadata(request, desk, desk.held.objects(study_uid), study_uid)


@router.get(SERIES + "/metadata", response_class=Response)
def series_metadata(request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid) -> Response:
    """The attributes of every object of a series, without bulk data (WADO-RS)."""
    return _metadata(request, desk, desk.held.objects(study_uid, series_uid=series_uid), study_uid)


@router.get(INSTANCE + "/metadata", response_class=Response)
def instance_metadata(
    request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid, instance_uid: StudyUid
) -> Response:
    """The attributes of one object, without bulk data (WADO-RS)."""
    held = desk.held.one(study_uid, series_uid, instance_uid)
    return _metadata(request, desk, [held] if held else [], study_uid)


def _metadata(request: Request, desk: Desk, held: Sequence[Held], study_uid: str) -> Response:
    check_held(held)
    kinds = (JSON_TYPE, "application/json")
    if not any(one.takes(kind) for one in media.taken(accept(request)) for kind in kinds):
        raise NotAcceptable(f"The answer is {JSON_TYPE}.")
    desk.witness.record(request, Audited.VIEWED, study_uid, detail="wado metadata")
    return StreamingResponse(media.begun(_json_array(request, held)), media_type=JSON_TYPE)


def _json_array(request: Request, held: Sequence[Held]) -> Iterator[bytes]:
    between = b"["
    for one in held:
        try:
            document = metadata_of(one, address(request, one))
        except (NotDicom, NotHeld, OSError) as error:
            log.error("kept_file_unreadable", instance=one.sop_instance_uid, error=type(error).__name__)
            continue
        yield between + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        between = b","
    yield b"[]" if between == b"[" else b"]"


def metadata_of(held: Held, place: str) -> dict[str, Any]:
    """The attributes of an object in the JSON model; long binary values and pixels by address.

    Raises NotDicom or OSError.
    """
    header = read_header(held.path)
    document: dict[str, Any] = {}
    for tag in header.keys():  # noqa: SIM118  iteration gives elements
        name = f"{Tag(tag):08X}"
        element = readable(header, tag)
        if element is None:
            continue
        if element.VR in BINARY and len(element.value or b"") > LARGEST_INLINE:
            document[name] = {"vr": element.VR, "BulkDataURI": f"{place}/bulkdata/{name}"}
        else:
            document[name] = element_json(element)
    document["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    document["00083002"] = {"vr": "UI", "Value": [held.transfer_syntax_uid]}
    if frames.has_pixels(held.path):
        is_bytes = header.get("BitsAllocated", 16) == 8 or held.transfer_syntax_uid not in frames.NATIVE
        uri = f"{place}/bulkdata/7FE00010"
        document["7FE00010"] = {"vr": "OB" if is_bytes else "OW", "BulkDataURI": uri}
    return dict(sorted(document.items()))
