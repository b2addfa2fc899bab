"""What may still name a person in the pixels: a risk that is told, never cleaned and never passed over.

Nothing here looks at the picture. A header can only say where burned-in text is usual: captures, scans,
ultrasound, films of a printer console, and wherever Burned In Annotation (0028,0301) is not a plain NO.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from hoichan.guard.reading import UNREADABLE, element_of, texts_of

NATIVE_SYNTAXES = frozenset(
    (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
)  # pixels are not encapsulated

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


class PixelRisk(StrEnum):
    """Why a person must look before the pixels leave the house. Stable codes."""

    ANNOTATION_YES = "burned_in_annotation_yes"  # (0028,0301) says so
    ANNOTATION_UNKNOWN = "burned_in_annotation_unknown"  # absent, where text is often drawn into the image
    MODALITY = "burned_in_modality"  # text is usual there, whatever (0028,0301) says
    SECONDARY_CAPTURE = "burned_in_secondary_capture"  # SOP class or Conversion Type (0008,0064)
    SCREEN_CAPTURE = "burned_in_screen_capture"  # Image Type (0008,0008)
    VISIBLE_FEATURES = "recognizable_visual_features"  # (0028,0302) YES
    EMBEDDED_OVERLAY = "overlay_in_pixel_bits"  # (60xx,0102), a retired way to hide a plane in unused bits
    STREAM_COMMENT = "comment_in_compressed_pixels"  # text of an encoder, or of anybody else
    SURPLUS = "bytes_after_pixels"  # more in Pixel Data than the picture has room for
    VIDEO = "video_stream"  # may carry sound and titles


_CAPTURED = "1.2.840.10008.5.1.4.1.1.7"  # and the multi-frame classes below it
_TEXT_IS_USUAL = _set("SC OT US IVUS XC ES GM SM DG DOC BI LS ECG OPT OP")
_TEXT_IS_RARE = _set("CT MR PT NM")  # when original; there absence means no text
_COMPUTED = frozenset(("SEG", "RTDOSE"))  # numbers, not pictures
_SCREEN = re.compile(r"SCREEN|CAPTURE|PHOTO|REPORT|DOSE_?INFO|DISPLAY")
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.(4\.1(0[0-8])(\.1)?|7\.[123])")
_ENCODER = re.compile(
    rb"(Kakadu|(Created by )?(GDCM/)?OpenJPEG|LEAD Technologies Inc|IJG|libjpeg|Lavc)[ .a-z-]{0,9}[0-9.]*\0?"
)
_STARTS = (b"\xff\xd8", b"\xff\x4f")  # of JPEG and JPEG-LS, and of JPEG 2000
_END = b"\xff\xd9"  # of all three; their samples never hold it
_HEADER_BYTES = 65_536  # of a fragment that are searched for the markers in front of the samples
_JFIF_BYTES = 14  # without a thumbnail


def pixel_risks(data_set: Dataset, transfer_syntax_uid: str) -> tuple[PixelRisk, ...]:
    """Every reason for distrust, in a fixed order; empty where there are no pixels or no reason."""
    if not any(keyword in data_set for keyword in PIXELS):
        return ()
    found = set(_of_the_header(data_set))
    if _VIDEO.fullmatch(transfer_syntax_uid):
        found.add(PixelRisk.VIDEO)
    elif has_stream_comment(data_set, transfer_syntax_uid):
        found.add(PixelRisk.STREAM_COMMENT)
    if transfer_syntax_uid in NATIVE_SYNTAXES and _has_surplus(data_set):
        found.add(PixelRisk.SURPLUS)
    return tuple(risk for risk in PixelRisk if risk in found)


def _of_the_header(data_set: Dataset) -> Iterator[PixelRisk]:
    modality = _text(data_set, "Modality")
    annotation = _text(data_set, "BurnedInAnnotation")
    image_type = _text(data_set, "ImageType")
    if annotation == "YES":
        yield PixelRisk.ANNOTATION_YES
    elif annotation != "NO" and not (
        modality in _COMPUTED or (modality in _TEXT_IS_RARE and image_type.startswith("ORIGINAL"))
    ):
        yield PixelRisk.ANNOTATION_UNKNOWN
    if modality in _TEXT_IS_USUAL or not modality:
        yield PixelRisk.MODALITY
    sop_class = _text(data_set, "SOPClassUID")
    if sop_class == _CAPTURED or sop_class.startswith(_CAPTURED + ".") or _text(data_set, "ConversionType"):
        yield PixelRisk.SECONDARY_CAPTURE
    if _SCREEN.search(image_type):
        yield PixelRisk.SCREEN_CAPTURE
    if _text(data_set, "RecognizableVisualFeatures") == "YES":
        yield PixelRisk.VISIBLE_FEATURES
    if any(_is_embedded_overlay(data_set, tag) for tag in data_set.keys()):  # noqa: SIM118  items are elements
        yield PixelRisk.EMBEDDED_OVERLAY


def _is_embedded_overlay(data_set: Dataset, tag: BaseTag) -> bool:
    """A bit position (60xx,0102) without overlay data of its own (60xx,3000)."""
    if not (0x6000 <= tag.group <= 0x60FF and tag.element == 0x0102):
        return False
    return Tag(tag.group, 0x3000) not in data_set


def has_stream_comment(data_set: Dataset, transfer_syntax_uid: str) -> bool:
    """Whether compressed frames carry more than pictures and the name of a known encoder."""
    if transfer_syntax_uid in NATIVE_SYNTAXES or transfer_syntax_uid == RLELossless:
        return False
    element = element_of(data_set, Tag("PixelData"))
    if element is None or not isinstance(element.value, bytes):
        return False
    try:
        begun = ended = False  # streams of other kinds may hold the marks by chance
        for fragment in generate_fragments(element.value):
            if _has_comment(fragment[:_HEADER_BYTES]) or _has_late_comment(fragment):
                return True
            if ended and fragment[:2] not in _STARTS and fragment.strip(b"\0"):
                return True  # the frame was complete before it
            begun = begun or fragment[:2] in _STARTS
            end = fragment.rfind(_END) if begun else -1
            if end >= 0 and fragment[end + 2 :].strip(b"\0\xff"):
                return True
            ended = end >= 0
    except UNREADABLE:
        return True  # what cannot be read is not trusted
    return False


def _has_late_comment(fragment: bytes) -> bool:
    """A JPEG comment behind the first scan's header: in a scan no 0xFF stands before 0xFE (B.1.1.5)."""
    scan = fragment.find(b"\xff\xda")
    return fragment[:2] == _STARTS[0] and scan >= 0 and fragment.find(b"\xff\xfe", scan) >= 0


def _has_surplus(data_set: Dataset) -> bool:
    """Bytes other than zero behind the last sample of plain pixels (PS3.5 8.1.1)."""
    element = element_of(data_set, Tag("PixelData"))
    if element is None or not isinstance(element.value, bytes):
        return False
    bits = 1
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames"):
        text = _text(data_set, keyword) or ("1" if keyword == "NumberOfFrames" else "0")
        bits *= int(text) if text.isdecimal() else 0
    return bool(element.value[(bits + 15) // 16 * 2 :].strip(b"\0"))  # a value has an even length


def _has_comment(fragment: bytes) -> bool:
    """Walks the marker segments of JPEG, JPEG-LS (ISO 10918-1 B.1.1) and JPEG 2000 (ISO 15444-1 A.1)."""
    start = fragment[:2]
    if start not in _STARTS:
        return start == b"\0\0" and b"jP  " in fragment[:12]  # boxes of a JP2 file; DICOM wants a bare stream
    last = 0xDA if start == b"\xff\xd8" else 0x90
    position = 2
    while position + 4 <= len(fragment) and fragment[position] == 0xFF:
        marker = fragment[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == last:
            return False
        end = position + 2 + int.from_bytes(fragment[position + 2 : position + 4], "big")
        if _is_text(start, marker, fragment[position + 4 : end]):
            return True
        position = end
    return False


def _is_text(start: bytes, marker: int, payload: bytes) -> bool:
    if start == b"\xff\x4f":
        return marker == 0x64 and not _ENCODER.fullmatch(payload[2:])  # CME, after its registration value
    if marker == 0xFE:
        return not _ENCODER.fullmatch(payload)
    if 0xE0 <= marker <= 0xEF:  # application data: JFIF, Adobe and JPEG-LS parameters are known to be numbers
        if payload.startswith(b"JFIF\0"):
            return len(payload) > _JFIF_BYTES  # a small picture of its own
        return len(payload) > 6 and not payload.startswith((b"Adobe", b"mrfx", b"SPIFF\0"))
    return False


def _text(data_set: Dataset, keyword: str) -> str:
    """The value in upper case, several joined by a backslash; "" when absent or unreadable."""
    return "\\".join(texts_of(data_set, keyword)).upper()
