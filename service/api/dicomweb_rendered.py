"""A frame as a picture for people: PNG or JPEG, 8 bits, with a window and a size (PS3.18 8.3.5, 10.4.1.1.3).

Nothing of the patient is written into the picture. What the pixels themselves show stays in them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from hoichan.adapters.frames import decoded
from hoichan.adapters.frames_small import decoded_small
from hoichan.errors import NotConvertible

LARGEST_SIDE = 16384  # pixels
THUMBNAIL_SIDE = 128  # pixels
_COLOUR = 3  # samples per pixel
_FAR = 60.0  # in exp(): beyond it the curve is black or white
_BYTES_OF_A_TABLE = 2  # a value of so many bytes at most has a table of all that occur
_WINDOW = re.compile(
    r"(?P<center>-?[0-9]+(\.[0-9]+)?),(?P<width>[0-9]+(\.[0-9]+)?)(,(?P<function>linear|linear-exact|sigmoid))?"
)
_VIEWPORT = re.compile(r"([0-9]{1,5}),([0-9]{1,5})((,-?[0-9]*){4})?")
SHOWN = ("image/jpeg", "image/png")


class RenderingMalformed(ValueError):
    """A parameter that cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How stored values become grey."""

    center: float
    width: float
    function: str = "LINEAR"  # LINEAR | LINEAR_EXACT | SIGMOID (PS3.3 C.11.2.1.2, C.11.2.1.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How a picture is asked for."""

    media_type: str = "image/jpeg"
    window: Window | None = None  # None: the image's own
    largest: tuple[int, int] | None = None  # columns and rows it has to fit in
    quality: int = 90  # of JPEG, 1..100

    @classmethod
    def of(cls, media_type: str, parameters: Mapping[str, str]) -> Rendering:
        """From the parameters of an address. Raises RenderingMalformed."""
        window = None
        if "window" in parameters:
            match = _WINDOW.fullmatch(parameters["window"].lower())
            if match is None or float(match["width"]) <= 0:
                raise RenderingMalformed("window is center,width[,linear|linear-exact|sigmoid].")
            function = (match["function"] or "linear").upper().replace("-", "_")
            window = Window(center=float(match["center"]), width=float(match["width"]), function=function)
        largest = None
        if "viewport" in parameters:
            match = _VIEWPORT.fullmatch(parameters["viewport"])
            if match is None or not (0 < int(match[1]) <= LARGEST_SIDE and 0 < int(match[2]) <= LARGEST_SIDE):
                raise RenderingMalformed("viewport is columns,rows.")
            largest = (int(match[1]), int(match[2]))
        quality = parameters.get("quality", "90")
        if not re.fullmatch(r"[0-9]{1,3}", quality) or not 1 <= int(quality) <= 100:
            raise RenderingMalformed("quality is 1 to 100.")
        return cls(media_type=media_type, window=window, largest=largest, quality=int(quality))


class RenderedShelf:
    """Pictures of late, so that what is looked at again is not decoded again.

    A file is known by its place, size and time: one that was written anew is another file. Thread-safe.
    """

    def __init__(self, largest: int = 32 * 1024 * 1024) -> None:
        """`largest`: bytes of all pictures together."""
        self._largest = largest
        self._bytes = 0
        self._kept: OrderedDict[tuple[Path, int, int, int, Rendering], bytes] = OrderedDict()
        self._lock = Lock()

    def picture(self, path: Path, index: int, asked: Rendering) -> bytes:
        """As `rendered`. Raises NotConvertible or OSError."""
        told = path.stat()
        key = (path, told.st_mtime_ns, told.st_size, index, asked)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = rendered(path, index, asked)
        with self._lock:
            if key not in self._kept and len(made) <= self._largest:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > self._largest:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest)
        return made


def rendered(path: Path, index: int, asked: Rendering) -> bytes:
    """One frame, counted from zero, as a picture. Raises NotConvertible or OSError."""
    small = decoded_small(path, index, asked.largest) if asked.largest is not None else None
    header, stored = small if small is not None else decoded(path, index)
    if max(stored.shape[:2]) > LARGEST_SIDE:
        raise NotConvertible("The image is too large to be shown.")
    try:
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            picture = Image.fromarray(eight_bits(header, stored, index, asked.window))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        raise NotConvertible(f"The image cannot be shown ({type(error).__name__}).") from error
    if asked.largest is not None:
        picture.thumbnail(asked.largest, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if asked.media_type == "image/png":
        picture.save(file, "PNG", compress_level=4)
    else:
        picture.save(file, "JPEG", quality=asked.quality, subsampling=0)
    return file.getvalue()


def eight_bits(header: Dataset, stored: NDArray[Any], index: int, window: Window | None) -> NDArray[np.uint8]:
    """(rows, columns) grey or (rows, columns, 3) RGB, white is high.

    `stored` as it was decoded; grey of up to 16 bits is worked out once a value, not once a pixel: a film has
    millions of pixels and some thousand values.
    """
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        colours = np.asarray(apply_color_lut(stored, header))
        return (colours >> 8 if colours.dtype.itemsize > 1 else colours).astype(np.uint8)
    if stored.ndim == _COLOUR:
        bits = int(header.BitsStored)
        return (stored >> (bits - 8) if bits > 8 else stored).astype(np.uint8)
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > _BYTES_OF_A_TABLE:
        return _shades(header, stored, index, window)
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    places = native.view(f"u{native.dtype.itemsize}")
    occurs = np.zeros(1 << (8 * native.dtype.itemsize), dtype=bool)
    occurs[places] = True
    present = np.flatnonzero(occurs)
    table = np.zeros(occurs.size, dtype=np.uint8)
    table[present] = _shades(header, present.astype(places.dtype).view(native.dtype), index, window)
    shown: NDArray[np.uint8] = table[places]
    return shown


def _shades(header: Dataset, stored: NDArray[Any], index: int, window: Window | None) -> NDArray[np.uint8]:
    """The grey of stored values, whatever their shape."""
    values = _modality_values(header, stored, index)
    grey = _grey(header, values, window or _own_window(header, index), asked_for=window is not None)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        grey = 1.0 - grey
    return np.asarray((grey * 255).round(), dtype=np.uint8)


def _modality_values(header: Dataset, stored: NDArray[Any], index: int) -> NDArray[np.float64]:
    group = _functional_group(header, "PixelValueTransformationSequence", index)
    if group is not None:
        slope, intercept = float(group.RescaleSlope), float(group.RescaleIntercept)
        return np.asarray(stored * slope + intercept, dtype=np.float64)
    return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)


def _own_window(header: Dataset, index: int) -> Window | None:
    source = _functional_group(header, "FrameVOILUTSequence", index) or header
    center, width = source.get("WindowCenter"), source.get("WindowWidth")
    if center in (None, "") or width in (None, ""):
        return None
    first = [float(one[0] if isinstance(one, MultiValue) else one) for one in (center, width)]
    function = str(source.get("VOILUTFunction") or "LINEAR")
    return Window(center=first[0], width=first[1], function=function) if first[1] > 0 else None


def _functional_group(header: Dataset, keyword: str, index: int) -> Dataset | None:
    """The item of an enhanced image that speaks of this frame (PS3.3 C.7.6.16)."""
    for groups, place in (
        (header.get("PerFrameFunctionalGroupsSequence"), index),
        (header.get("SharedFunctionalGroupsSequence"), 0),
    ):
        if groups and place < len(groups) and groups[place].get(keyword):
            found: Dataset = groups[place][keyword].value[0]
            return found
    return None


def _grey(
    header: Dataset, values: NDArray[np.float64], window: Window | None, *, asked_for: bool
) -> NDArray[np.float64]:
    """0..1"""
    if not asked_for and header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        shown = apply_voi(values.astype(np.int64), header)
        return np.asarray(shown / float((1 << bits) - 1), dtype=np.float64).clip(0, 1)
    if window is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / (high - low) if high > low else np.zeros_like(values)
    if window.function == "SIGMOID":
        away = (-4 * (values - window.center) / window.width).clip(-_FAR, _FAR)
        return np.asarray(1 / (1 + np.exp(away)))
    if window.function == "LINEAR_EXACT" or window.width <= 1:
        return np.asarray((values - window.center) / window.width + 0.5).clip(0, 1)
    return np.asarray((values - (window.center - 0.5)) / (window.width - 1) + 0.5).clip(0, 1)
