"""From stored pixels to the array a model reads. The one place where this is done: training imports it too.

Three steps, each a function: `read_film` or `read_picture` gives a `Film` (0..1, bright = dense, the stored
grid), `to_model_input` gives the network's square, and `place` says where the film lies in that square, so
that a map of the network can be laid back over exactly the stored image (`film_map`).

The order of the grey-scale pipeline is PS3.3 C.7.6.3.1.2 and PS3.4 N.2.1: stored bits, modality LUT or
rescale, VOI LUT or window, and only then the photometric inversion of MONOCHROME1. Header values that make no
sense are not obeyed but reported as a warning; pixels that cannot be read raise `InputOutOfDomain`.
"""

from __future__ import annotations

import struct
import warnings as python_warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from hoichan.analysis.films import Film
from hoichan.analysis.levels import Counts, Levels, percentiles, share
from hoichan.errors import InputOutOfDomain
from hoichan.types import RefusalCode

Array = NDArray[np.float32]
Stored = NDArray[Any]  # integers of any width; float after a rescale

MAXIMUM_PIXELS = 64_000_000  # a detector of 8,000 x 8,000; more is a damaged header
MINIMUM_SIDE = 64  # pixels; less is a thumbnail, not a film
STRETCH_PERCENTILES = (0.5, 99.5)  # of the grey levels that become 0 and 1
USABLE_SPREAD = 0.05  # a window that leaves the middle 90 % of a film within 5 % of the scale shows nothing
USABLE_UNCLIPPED = 0.25  # and one that clips three quarters of the film does not either
GLANCED_SPREAD, GLANCED_UNCLIPPED = 2 * USABLE_SPREAD, 0.4  # at a glance; what has less is counted in full

# What pydicom and its decoders raise on damaged headers and pixels (seen on fuzzed and truncated objects).
DECODING_ERRORS = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, LookupError, MemoryError,
    NotImplementedError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a film lies in the network's square: whole pixels, the film's own proportions."""

    top: int
    left: int
    height: int
    width: int


def read_film(dataset: Dataset, frame_number: int = 1) -> Film:
    """One frame of a DICOM image in any transfer syntax that an installed decoder knows.

    Raises InputOutOfDomain `undecodable_pixels` (damaged, colour, no decoder) or `pixels_out_of_range` (too
    small, too large); trying again does not help. Source: PS3.3 C.7.6.3.1.2, PS3.3 C.11.1 and C.11.2.
    """
    warnings: list[str] = []
    with _quiet():
        levels = Levels(_stored_pixels(dataset, frame_number))
        values = _modality_values(levels.values, dataset, warnings)
        padding = _padding_mask(levels, dataset)
        shown = _presentation_values(values, dataset, padding, levels, warnings)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # lowest value is white
        shown = 1.0 - shown
    shown[padding] = 0.0
    return Film(
        grey=levels.shown_as(shown),
        spacing_mm=_spacing(dataset, warnings),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def read_picture(path: Path) -> Film:
    """A film saved as PNG or JPEG (8 or 16 bits, grey; colour pictures become grey), bright = dense.

    Raises InputOutOfDomain `undecodable_pixels` or `pixels_out_of_range`. Such a file has no tags: only its
    pixels can tell whether it is a chest film.
    """
    try:
        with Image.open(path) as picture:
            _check_size(picture.height, picture.width)
            if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
                stored = np.asarray(picture, dtype=np.float32)
                pixels = stretch(stored)
            else:
                pixels = np.asarray(picture.convert("L"), dtype=np.float32) / 255.0
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS) from error
    return Film(grey=np.ascontiguousarray(pixels), spacing_mm=None, warnings=("no_tags",))


def to_model_input(film: Film, size: int) -> Array:
    """The film in the middle of a black square: (1, 1, size, size) float32, 0..1.

    Proportions are kept; the grey levels between the 0.5 and 99.5 percentiles fill the scale and their mean
    becomes one half, so two systems' windows give nearly the same input. Mean and deviation of the network
    are inside its graph, not here.
    """
    place = place_in_square(film.rows, film.columns, size)
    small = film.resized(place.width, place.height)
    square = np.zeros((1, 1, size, size), dtype=np.float32)
    square[0, 0, place.top : place.top + place.height, place.left : place.left + place.width] = balance(
        stretch(small)
    )
    return square


def place_in_square(rows: int, columns: int, size: int) -> Place:
    """Where `to_model_input` puts a film of this shape; pixels of the square."""
    scale = size / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return Place(top=(size - height) // 2, left=(size - width) // 2, height=height, width=width)


def film_map(cam: Array, rows: int, columns: int, size: int) -> Array:
    """A network map (h, w) over the whole square, cut to a map (h', w') over exactly the stored image.

    The cut is made on a grid eight times as fine, so that a border of padding narrower than one map cell is
    cut too; values are interpolated between cell centres. Units stay those of the network: a contribution to
    the logit.
    """
    place = place_in_square(rows, columns, size)
    fine = 8 * cam.shape[0]
    smooth = np.asarray(
        Image.fromarray(np.ascontiguousarray(cam, dtype=np.float32)).resize(
            (fine, fine), Image.Resampling.BICUBIC
        ),
        dtype=np.float32,
    )
    top, left = round(place.top * fine / size), round(place.left * fine / size)
    bottom = max(top + 1, round((place.top + place.height) * fine / size))
    right = max(left + 1, round((place.left + place.width) * fine / size))
    return np.ascontiguousarray(smooth[top:bottom, left:right])


def stretch(values: Stored, ignore: NDArray[np.bool_] | None = None, counts: Counts | None = None) -> Array:
    """Grey levels so that the 0.5 percentile is 0 and the 99.5 percentile is 1; a flat image is all 0.

    `counts`: how many pixels have each of the values, where each is given once.
    """
    seen, of_seen = values, counts
    if ignore is not None and not ignore.all():
        seen, of_seen = values[~ignore], None if counts is None else counts[~ignore]
    low, high = percentiles(seen, of_seen, STRETCH_PERCENTILES)
    if not high > low:
        return np.zeros(values.shape, dtype=np.float32)
    scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)


def balance(pixels: Array) -> Array:
    """Grey levels 0..1 raised to the power that brings their mean to about one half (the power kept within
    1/3 and 3).

    Systems differ most in the bend of their grey scale: the same chest has a mean of 0.7 from one and 0.45
    from another.
    """
    mean = float(pixels.mean())
    if not 0.01 < mean < 0.99:
        return pixels
    for _ in range(2):  # the mean of a power is not the power of the mean: one correction is enough
        power = float(np.clip(np.log(0.5) / np.log(mean), 1 / 3, 3))
        pixels = np.asarray(np.power(pixels, power), dtype=np.float32)
        mean = float(np.clip(pixels.mean(), 0.01, 0.99))
    return pixels


def _check_size(rows: int, columns: int) -> None:
    if min(rows, columns) < MINIMUM_SIDE or rows * columns > MAXIMUM_PIXELS:
        raise InputOutOfDomain(RefusalCode.PIXELS_OUT_OF_RANGE, f"Image of {rows} x {columns} pixels")


@contextmanager
def _quiet() -> Iterator[None]:
    """No Python warnings of pydicom: their text may quote the data set.

    They are ignored, not recorded: the filters belong to the whole process, and if two threads leave this in
    a bad order the worst that stays behind is silence.
    """
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        yield


def _stored_pixels(dataset: Dataset, frame_number: int) -> Stored:
    """(rows, columns) integers as stored. Nothing of the data set gets into the error's text."""
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        _check_size(rows, columns)
        if int(dataset.get("SamplesPerPixel", 1)) != 1:
            raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "A colour image, not a grey film")
        if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
            raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "Photometric interpretation is not grey")
        stored = pixel_array(
            dataset,
            index=frame_number - 1,
            view_only=int(dataset.get("NumberOfFrames") or 1) == 1,  # a view holds all frames in memory
            correct_unused_bits=int(dataset.PixelRepresentation) != 0,  # others: `_stored_bits`, where needed
        )
        if stored.shape != (rows, columns):
            raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "Pixel data is not rows x columns")
        return _stored_bits(stored, dataset)
    except DECODING_ERRORS as error:
        raise InputOutOfDomain(
            RefusalCode.UNDECODABLE_PIXELS, f"Pixel data could not be decoded ({type(error).__name__})"
        ) from None  # the cause may quote the data set


def _stored_bits(stored: Stored, dataset: Dataset) -> Stored:
    """Old objects keep an overlay above the high bit: 0000 1vvv vvvv vvvv -> 0000 0vvv vvvv vvvv (PS3.5
    8.1.2).
    """
    bits = int(dataset.get("BitsStored", 16))
    if stored.dtype.kind == "u" and bits < 8 * stored.dtype.itemsize and int(stored.max()) >> bits:
        return np.asarray(stored & stored.dtype.type((1 << bits) - 1))
    return stored


def _modality_values(stored: Stored, dataset: Dataset, warnings: list[str]) -> Stored:
    """Modality LUT, or slope and intercept, of every level; a slope of zero is not obeyed."""
    try:
        if "ModalityLUTSequence" not in dataset and float(dataset.get("RescaleSlope", 1) or 0) == 0.0:
            warnings.append("rescale_unusable")
            return stored
        return apply_modality_lut(stored, dataset)
    except DECODING_ERRORS:
        warnings.append("rescale_unusable")
        return stored


def _padding_mask(levels: Levels, dataset: Dataset) -> NDArray[np.bool_]:
    """True for the levels of pixels where the detector saw nothing (PS3.3 C.7.5.1.1.2)."""
    stored = levels.values
    none = np.zeros(stored.shape, dtype=np.bool_)
    try:
        low, high = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    except DECODING_ERRORS:
        return none
    if not isinstance(low, int):
        return none
    high = high if isinstance(high, int) else low
    mask = (stored >= min(low, high)) & (stored <= max(low, high))
    return none if not mask.any() or levels.share(mask) > 0.9 else mask


def _presentation_values(
    values: Stored,
    dataset: Dataset,
    padding: NDArray[np.bool_],
    levels: Levels,
    warnings: list[str],
) -> Array:
    """VOI LUT or window to 0..1; percentiles where the header gives none that shows the film."""
    shown: Array | None = None
    try:
        if "VOILUTSequence" in dataset and values.dtype.kind in "iu":
            table = dataset.VOILUTSequence[0]
            shown = apply_voi(values, dataset).astype(np.float32) / (
                2 ** _lut_bits(table.LUTDescriptor[2]) - 1
            )
        elif "WindowCenter" in dataset and "WindowWidth" in dataset:
            shown = _windowed(values, dataset)
    except DECODING_ERRORS:
        warnings.append("voi_unusable")
    if shown is not None and (
        _shows_film(shown, levels.glance, padding, GLANCED_SPREAD, GLANCED_UNCLIPPED)
        or _shows_film(shown, levels.counts, padding)
    ):
        return np.clip(shown, 0.0, 1.0)
    if shown is not None:
        warnings.append("voi_unusable")
    return stretch(values, padding, levels.counts)


def _lut_bits(bits: int) -> int:
    return bits if 8 <= bits <= 16 else 16


def _windowed(values: Stored, dataset: Dataset) -> Array | None:
    """The first window, by its VOI LUT function (PS3.3 C.11.2.1.2, C.11.2.1.3); None when it is none."""
    center, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    x = values.astype(np.float32)
    if not (np.isfinite(center) and np.isfinite(width)) or width <= 0:
        return None
    if function == "SIGMOID":
        return np.asarray(
            1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - center) / width, -60, 60))), dtype=np.float32
        )
    if function == "LINEAR_EXACT":
        return np.asarray((x - center) / width + 0.5, dtype=np.float32)
    if width <= 1:
        return None
    return np.asarray((x - (center - 0.5)) / (width - 1.0) + 0.5, dtype=np.float32)


def _first(value: object) -> float:
    chosen = value[0] if isinstance(value, MultiValue | list | tuple) else value
    return float(chosen)  # type: ignore[arg-type]


def _shows_film(
    shown: Array,
    counts: Counts | None,
    padding: NDArray[np.bool_],
    spread: float = USABLE_SPREAD,
    unclipped: float = USABLE_UNCLIPPED,
) -> bool:
    """Whether a window leaves something to see: spread grey levels, not nearly all black or white."""
    seen, of_seen = shown[~padding], None if counts is None else counts[~padding]
    if seen.size == 0 or not np.isfinite(seen).all() or (of_seen is not None and not of_seen.any()):
        return False
    low, high = percentiles(np.clip(seen, 0.0, 1.0), of_seen, (5, 95))
    inside = share((seen > 0.0) & (seen < 1.0), of_seen)
    return bool(high - low >= spread and inside >= unclipped)


def _spacing(dataset: Dataset, warnings: list[str]) -> tuple[float, float] | None:
    """Pixel Spacing, else Imager Pixel Spacing; some systems write zeros, which means unknown."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            value = dataset.get(keyword)
            if value is None:
                continue
            rows_mm, columns_mm = (float(v) for v in value)
        except DECODING_ERRORS:
            rows_mm = columns_mm = 0.0
        if rows_mm > 0 and columns_mm > 0:
            return rows_mm, columns_mm
        warnings.append("spacing_unusable")
    return None
