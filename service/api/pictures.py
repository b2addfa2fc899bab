"""The picture of a report, for a browser: the kept Secondary Capture's pixels as PNG or JPEG.

A baseline JPEG frame is handed over as it is; anything else is decoded and written as PNG, so the
picture on the page is never a second lossy generation.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGBaseline8Bit

from hoichan.errors import RecordsError

LARGEST = 64 * 1024 * 1024  # pixels; a picture beyond this is not one of ours
_COLOUR = 3  # samples per pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a browser can show."""

    media_type: str
    content: bytes


def render(secondary_capture: bytes) -> Picture:
    """The first frame of a DICOM object. Raises RecordsError when it cannot be decoded."""
    try:
        data_set = pydicom.dcmread(io.BytesIO(secondary_capture))
        if int(data_set.Rows) * int(data_set.Columns) > LARGEST:
            raise RecordsError("The picture is larger than any of ours.")
        if data_set.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
            frame = next(generate_frames(data_set.PixelData, number_of_frames=1))
            return Picture(media_type="image/jpeg", content=frame.rstrip(b"\0"))
        return Picture(media_type="image/png", content=_png(_pixels(data_set)))
    except (InvalidDicomError, AttributeError, KeyError, ValueError, RuntimeError, StopIteration) as error:
        raise RecordsError(f"The picture cannot be decoded ({type(error).__name__}).") from error


def _pixels(data_set: pydicom.Dataset) -> NDArray[np.uint8]:
    """(rows, columns, 3) RGB or (rows, columns) grey, uint8, white is high."""
    pixels = pixel_array(data_set, index=0)  # YBR comes out as RGB
    if int(data_set.SamplesPerPixel) == _COLOUR:
        return np.asarray(pixels, dtype=np.uint8)
    grey = np.asarray(apply_voi_lut(pixels, data_set), dtype=np.float64)
    low, high = float(grey.min()), float(grey.max())
    if data_set.BitsStored > 8 or high > 255 or low < 0:
        grey = (grey - low) * (255 / (high - low)) if high > low else np.zeros_like(grey)
    if data_set.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return grey.round().astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=4)
    return file.getvalue()


class PictureShelf:
    """The pictures of late, by digest, so that a refreshed page does not decode again."""

    def __init__(self, places: int = 16) -> None:
        self._places = places
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._lock = Lock()

    def picture(self, digest: str, read: Callable[[], bytes]) -> Picture:
        """The picture of the object with this digest; `read` gives its bytes where they are needed."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        made = render(read())
        with self._lock:
            self._kept[digest] = made
            while len(self._kept) > self._places:
                self._kept.popitem(last=False)
        return made
