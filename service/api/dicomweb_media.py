"""What a client takes, and how many parts become one body (PS3.18 8.7 and 8.6.1.2, RFC 9110 12.5.1)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPHL,
    MPEG2MPML,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from hoichan.multipart import media_type

DICOM = "application/dicom"
OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"
ANY_SYNTAX = "*"  # as it is kept
_ONE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_IMAGE_TYPES: dict[str, str] = {  # PS3.18 table 8.7.3-5
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), "image/jpeg"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "image/jls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), "image/jp2"),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "image/jphc"),
    RLELossless: "image/dicom-rle",
    **dict.fromkeys((MPEG2MPML, MPEG2MPHL), "video/mpeg"),
}
_VIDEO_MP4 = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[2-8](\.1)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One media type that a client takes."""

    kind: str  # application/dicom, image/jpeg, …; "" or with a star: any
    is_multipart: bool
    transfer_syntax: str | None  # a UID, ANY_SYNTAX, or None where nothing was said
    weight: float  # 0..1

    def takes(self, kind: str) -> bool:
        """Whether a part may be of this kind."""
        if self.kind in ("", "*/*"):
            return True
        family, _, rest = self.kind.partition("/")
        return kind.startswith(f"{family}/") if rest == "*" else kind == self.kind


def taken(accept: str) -> list[Taken]:
    """The members of an Accept header, the most wanted first; of `*/*` where there is none."""
    found = []
    for one in _ONE.findall(accept or "*/*"):
        kind, parameters = media_type(one.strip())
        if not kind:
            continue
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 1.0
        if not weight > 0:
            continue
        multipart = kind in (MULTIPART, "multipart/*", "*/*")
        inner = parameters.get("type", "").lower() if kind != "*/*" else "*/*"
        found.append(
            Taken(
                kind=inner if multipart else kind,
                is_multipart=multipart,
                transfer_syntax=parameters.get("transfer-syntax"),
                weight=min(weight, 1.0),
            )
        )
    return sorted(found, key=lambda one: -one.weight)


def kind_of_frames(transfer_syntax_uid: str) -> str:
    """The media type of one frame as it is kept in this transfer syntax."""
    if _VIDEO_MP4.fullmatch(transfer_syntax_uid):
        return "video/mp4"
    return _IMAGE_TYPES.get(transfer_syntax_uid, OCTETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a body: its headers and its bytes, which are read as they are sent."""

    kind: str  # with its parameters
    location: str
    content: Iterable[bytes]


class Body:
    """Parts between delimiters; nothing is held but the piece that travels."""

    def __init__(self, kind: str, parts: Iterable[Part]) -> None:
        """`kind`: the media type of every part, as Content-Type tells it."""
        self._boundary = secrets.token_hex(16)
        self._parts = parts
        self.media_type = f'{MULTIPART}; type="{kind}"; boundary={self._boundary}'

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            head = f"--{self._boundary}\r\nContent-Type: {part.kind}\r\n"
            if part.location:
                head += f"Content-Location: {part.location}\r\n"
            yield f"{head}\r\n".encode("latin-1")
            yield from part.content
            yield b"\r\n"
        yield f"--{self._boundary}--\r\n".encode()


def begun(body: Iterable[bytes]) -> Iterable[bytes]:
    """The body, its first pieces made already: what cannot begin fails before a status is sent."""
    pieces = iter(body)
    return chain([next(pieces, b""), next(pieces, b"")], pieces)
