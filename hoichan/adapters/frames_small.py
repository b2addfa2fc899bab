"""A frame of JPEG 2000 at a half, a quarter, … of its size, straight from its wavelets (ISO 15444-1 B.5).

A film takes a second to unpack whole and a fraction of that at half its size: for a first picture that is
small anyway, nobody has to wait for the rest.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, Jpeg2KImagePlugin
from pydicom import Dataset
from pydicom.uid import JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000Lossless

from hoichan.adapters import frames
from hoichan.adapters.held_sql import read_header
from hoichan.errors import NotConvertible

SYNTAXES = frozenset({JPEG2000, JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL})
_MOST_HALVINGS = 5
_START = b"\xff\x4f\xff\x51"  # SOC, SIZ: a codestream without a file around it, as DICOM keeps it
_PRECISION = 42  # byte of the first component's Ssiz: bits - 1, the highest bit says "signed"
_SIGNED = 0x80
_BITS = {"L": 8, "I;16": 16}  # of Pillow's modes: it moves values up to fill them


def decoded_small(
    path: Path, index: int, largest: tuple[int, int]
) -> tuple[Dataset, NDArray[np.unsignedinteger[Any]]] | None:
    """Header and stored values of one grey frame, still at least as large as fits in `largest`.

    `largest`: columns and rows. None for a frame of another kind, or where nothing is won: unpack it whole.
    Raises NotDicom or OSError.
    """
    header = read_header(path)
    if str(header.file_meta.get("TransferSyntaxUID", "")) not in SYNTAXES:
        return None
    if header.get("SamplesPerPixel") != 1 or header.get("PixelRepresentation") != 0:
        return None
    halvings = _halvings(int(header.get("Columns") or 0), int(header.get("Rows") or 0), largest)
    pixels = frames.locate(path) if halvings else None
    if pixels is None:
        return None
    try:
        codestream = b"".join(frames.frame_as_kept(path, pixels, index))
    except NotConvertible:
        return None
    if not codestream.startswith(_START) or len(codestream) <= _PRECISION:
        return None
    if codestream[_PRECISION] & _SIGNED:
        return None
    for times in range(halvings, 0, -1):  # the encoder may have halved it less often
        small = _unpacked(codestream, times)
        if small is not None:
            return header, small
    return None


def _halvings(columns: int, rows: int, largest: tuple[int, int]) -> int:
    """How often a frame may be halved and still be no smaller than it will be shown."""
    if not columns or not rows:
        return 0
    scale = min(largest[0] / columns, largest[1] / rows)
    return next((times for times in range(_MOST_HALVINGS, 0, -1) if 2.0**-times >= scale), 0)


def _unpacked(codestream: bytes, times: int) -> NDArray[np.unsignedinteger[Any]] | None:
    try:
        with warnings.catch_warnings():  # a film is larger than what Pillow takes for a picture
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(codestream), formats=("JPEG2000",)) as picture:
                bits = _BITS.get(picture.mode)
                if bits is None or not isinstance(picture, Jpeg2KImagePlugin.Jpeg2KImageFile):
                    return None
                picture.reduce = times
                picture.load()
                values: NDArray[np.unsignedinteger[Any]] = np.array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    precision = (codestream[_PRECISION] & ~_SIGNED) + 1
    if bits > precision:
        np.right_shift(values, bits - precision, out=values)
    return values
