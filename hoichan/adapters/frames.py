"""Objects of DICOM files in another transfer syntax, and their frames, one at a time.

What is asked for as it is kept is read straight from the file; a frame of a long series never has its
neighbours in memory.
"""

from __future__ import annotations

import io
import mmap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from hoichan.adapters.held_sql import read_header
from hoichan.errors import NotConvertible, NotDicom
from hoichan.intake.headers import PIXEL_DATA, Buffer, Element, inflated, is_deflated, syntax_of, walk
from hoichan.intake.part10 import read_meta

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
PLAIN = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
PACKED = (JPEG2000Lossless, JPEGLSLossless, RLELossless)  # what we compress to: without loss only
_PIECE = 1024**2  # bytes read at a time
_CANNOT = (
    *(InvalidDicomError, NotDicom, AttributeError, KeyError, ValueError, TypeError),
    *(RuntimeError, NotImplementedError, IndexError, MemoryError, OverflowError),
)


def pieces(path: Path, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, or of a stretch of it. Raises OSError."""
    with path.open("rb") as file:
        file.seek(start)
        left = length if length is not None else path.stat().st_size - start
        while left > 0:
            piece = file.read(min(_PIECE, left))
            if not piece:
                return
            left -= len(piece)
            yield piece


@cache
def is_decodable(transfer_syntax_uid: str) -> bool:
    """Whether pixels in this transfer syntax can be unpacked here."""
    if transfer_syntax_uid in NATIVE:
        return True
    try:
        return bool(get_decoder(UID(transfer_syntax_uid)).is_available)
    except (NotImplementedError, ValueError):
        return False


@cache
def is_encodable(transfer_syntax_uid: str) -> bool:
    """Whether objects can be written in this transfer syntax here, without loss."""
    if transfer_syntax_uid in PLAIN:
        return True
    if transfer_syntax_uid not in PACKED:
        return False
    return bool(get_encoder(UID(transfer_syntax_uid)).is_available)


def convertible(origin: str, target: str) -> bool:
    """Whether an object can travel from one transfer syntax into another, losing nothing."""
    return origin == target or (is_decodable(origin) and is_encodable(target))


def converted(path: Path, target: str) -> bytes:
    """The file's object as a Part 10 file in another transfer syntax. Raises NotConvertible or OSError."""
    try:
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            data_set = _unpacked(dcmread(path))
            data_set.file_meta.TransferSyntaxUID = UID(target)
            if target in PACKED and "PixelData" in data_set:
                data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                data_set.compress(UID(target), generate_instance_uid=False)
            file = io.BytesIO()
            data_set.save_as(
                file,
                implicit_vr=target == ImplicitVRLittleEndian,
                little_endian=True,
                enforce_file_format=True,
            )
    except _CANNOT as error:
        raise NotConvertible(f"The object cannot be written in {target} ({type(error).__name__}).") from error
    return file.getvalue()


def _unpacked(data_set: Dataset) -> Dataset:
    """The object with native, little endian pixels."""
    syntax = data_set.file_meta.TransferSyntaxUID
    if "PixelData" in data_set and syntax not in NATIVE:
        data_set.decompress(generate_instance_uid=False)
    if syntax != ExplicitVRBigEndian:
        return data_set
    turned = _turned(data_set)
    turned.file_meta = data_set.file_meta
    return turned


def _turned(data_set: Dataset) -> Dataset:
    """From big to little endian: pydicom turns numbers, but not words of two bytes in blobs (PS3.5 7.3)."""
    turned = Dataset()
    for element in data_set:
        if element.VR == "OW" and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
        elif element.VR == "SQ":
            element.value = [_turned(item) for item in element.value]
        turned.add(element)
    return turned


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Where the pixel data of a file lies."""

    transfer_syntax_uid: str
    start: int  # byte of the value in the file
    length: int
    number_of_frames: int
    frame_bytes: int | None  # of a native frame of whole bytes; None: compressed, or packed in bits


def value(path: Path, tag: int) -> Iterable[bytes] | None:
    """The bytes of an element of the outermost level; None where there is none, or no length is given.

    Raises NotDicom or OSError.
    """
    place = _element_of(path, tag)
    if place is None or place[0].undefined:
        return None
    found, syntax = place
    if not is_deflated(syntax):
        return pieces(path, found.start, found.length)
    content = path.read_bytes()
    plain = inflated(content[read_meta(content).offset :], syntax)
    return [bytes(plain[found.start : found.start + found.length])]


def _element_of(path: Path, tag: int) -> tuple[Element, str] | None:
    """Where an element lies, in the inflated data set where it is deflated, and the transfer syntax."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        meta = read_meta(mapped)
        syntax, start = meta.transfer_syntax_uid, meta.offset
        data: Buffer = mapped
        if is_deflated(syntax):
            data, start = inflated(mapped[start:], syntax), 0
        elements = walk(data, syntax_of(syntax), start=start, stop_at=tag + 1)
        found = next((one for one in elements if one.tag == tag), None)
        del elements  # it looks into the map, which is closed now
    return None if found is None else (found, syntax)


def locate(path: Path) -> Pixels | None:
    """The pixel data of a file; None where there is none. Raises NotDicom or OSError."""
    place = _element_of(path, PIXEL_DATA)
    if place is None:
        return None
    found, syntax = place
    header = read_header(path)
    bits = (
        _number(header, "Rows", 0)
        * _number(header, "Columns", 0)
        * _number(header, "SamplesPerPixel", 1)
        * _number(header, "BitsAllocated", 0)
    )
    return Pixels(
        transfer_syntax_uid=syntax,
        start=found.start,
        length=found.length,
        number_of_frames=max(1, _number(header, "NumberOfFrames", 1)),
        frame_bytes=bits // 8 if syntax in PLAIN and bits > 0 and bits % 8 == 0 else None,
    )


def has_pixels(path: Path) -> bool:
    """Whether a file has pixel data. Raises NotDicom or OSError."""
    return _element_of(path, PIXEL_DATA) is not None


def _number(header: Dataset, keyword: str, otherwise: int) -> int:
    try:
        return int(header.get(keyword) or otherwise)
    except (ValueError, TypeError):
        return otherwise


def frame_as_kept(path: Path, pixels: Pixels, index: int) -> Iterator[bytes]:
    """One frame, counted from zero, as the file has it. Raises NotConvertible or OSError."""
    if pixels.frame_bytes is not None:
        yield from pieces(path, pixels.start + index * pixels.frame_bytes, pixels.frame_bytes)
        return
    if pixels.transfer_syntax_uid in NATIVE:  # turned, inflated, or frames that begin inside of a byte
        yield frame_unpacked(path, index)
        return
    try:
        with path.open("rb") as file:
            file.seek(pixels.start)
            frame = get_frame(file, index, number_of_frames=pixels.number_of_frames)
    except _CANNOT as error:
        raise NotConvertible(f"The frame cannot be taken out ({type(error).__name__}).") from error
    yield frame


def frame_unpacked(path: Path, index: int) -> bytes:
    """One frame, counted from zero, as native little endian pixels. Raises NotConvertible or OSError.

    Colour comes as RGB, whatever it was packed in; frames of single bits come packed again.
    """
    header, pixels = decoded(path, index)
    if _number(header, "BitsAllocated", 8) == 1:
        return bytes(np.packbits(pixels.ravel().astype(bool), bitorder="little").tobytes())
    if _number(header, "PlanarConfiguration", 0) == 1 and header.file_meta.TransferSyntaxUID in NATIVE:
        pixels = pixels.transpose(2, 0, 1)
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return bytes(little.tobytes())


def decoded(path: Path, index: int) -> tuple[Dataset, np.ndarray[Any, Any]]:
    """Header and stored pixels of one frame: (rows, columns) or (rows, columns, 3) RGB.

    Raises NotConvertible or OSError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = read_header(path)
            return header, pixel_array(path, index=index)
    except _CANNOT as error:
        raise NotConvertible(f"The pixels cannot be unpacked ({type(error).__name__}).") from error
