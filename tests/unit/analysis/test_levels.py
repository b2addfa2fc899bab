"""What is worked out once for each grey level must be, to the last bit, what every pixel would give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from hoichan.analysis.imaging import read_film, stretch
from hoichan.analysis.levels import AT_A_TIME, Levels, percentiles
from tests.unit.analysis.images import image

ROWS, COLUMNS = 300, 257  # more pixels than are counted at a time, and no round number of them


def grain(dtype: str = "u2", low: int = 300, high: int = 3900) -> np.ndarray:
    """A bell of grey levels with a border of nothing."""
    rng = np.random.default_rng(0)
    pixels = rng.normal((low + high) / 2, (high - low) / 6, (ROWS, COLUMNS)).clip(low, high).astype(dtype)
    pixels[:20] = low
    return pixels


def a_table(first: int, entries: list[int]) -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, 16]
    table.LUTData = entries
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    return table


HEADERS = {
    "nothing": {},
    "window": {"WindowCenter": 2100, "WindowWidth": 2500},
    "window that clips much": {"WindowCenter": 1500, "WindowWidth": 900},
    "window that shows nothing": {"WindowCenter": 60_000, "WindowWidth": 50},
    "sigmoid": {"WindowCenter": 2100, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"},
    "exact": {"WindowCenter": 2100, "WindowWidth": 2500, "VOILUTFunction": "LINEAR_EXACT"},
    "slope": {"RescaleSlope": -0.37, "RescaleIntercept": 11.3, "WindowCenter": -700, "WindowWidth": 900},
    "slope alone": {"RescaleSlope": 1.7, "RescaleIntercept": -1000},
    "turned": {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2100, "WindowWidth": 2500},
    "padding": {"PixelPaddingValue": 300, "PhotometricInterpretation": "MONOCHROME1"},
    "padding, a range": {
        "PixelPaddingValue": 0,
        "PixelPaddingRangeLimit": 700,
        "WindowCenter": 2100,
        "WindowWidth": 2500,
    },
    "padding everywhere": {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3800},
    "table that rises and falls": {
        "VOILUTSequence": Sequence([a_table(200, [*range(0, 60_000, 30), *range(60_000, 0, -30)])])
    },
    "table too short": {"VOILUTSequence": Sequence([a_table(200, [1, 2, 3])])},
    "modality table": {"ModalityLUTSequence": Sequence([a_table(0, [v * 7 % 5000 for v in range(4096)])])},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("kinds", ["u2 u4", "i2 i4"])
def test_counted_levels_give_the_film_that_every_pixel_gives(header, kinds):
    """Pixels of four bytes are not counted: they go the long way."""
    counted, plain = (read_film(image(grain(kind), **header)) for kind in kinds.split())
    np.testing.assert_array_equal(counted.pixels, plain.pixels)
    assert counted.pixels.dtype == plain.pixels.dtype == np.float32
    assert counted.warnings == plain.warnings


def test_bytes_and_negative_values_are_counted_too():
    small, wide = (read_film(image(grain(kind, 3, 250))) for kind in ("u1", "u4"))
    np.testing.assert_array_equal(small.pixels, wide.pixels)
    below, plain = (read_film(image(grain(kind, -2000, 2000))) for kind in ("i2", "i4"))
    np.testing.assert_array_equal(below.pixels, plain.pixels)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", ">u2"])
def test_levels_are_the_values_with_their_counts(dtype):
    pixels = grain(dtype, 3, 120)
    assert pixels.size > AT_A_TIME
    found = Levels(pixels)
    values, counts = np.unique(pixels, return_counts=True)
    order = np.argsort(found.values)
    there = found.counts[order] > 0
    np.testing.assert_array_equal(found.values[order][there], values)
    np.testing.assert_array_equal(found.counts[order][there], counts)
    shown = found.shown_as(found.values.astype(np.float32))
    np.testing.assert_array_equal(shown.whole(), pixels)
    np.testing.assert_array_equal(shown.part(slice(3, 90, 7), slice(None, None, 5)), pixels[3:90:7, ::5])
    assert found.share(found.values > 60) == (pixels > 60).mean()


@pytest.mark.parametrize("dtype", ["u4", "f4"])
def test_what_cannot_be_counted_is_every_pixel(dtype):
    pixels = grain(dtype)
    found = Levels(pixels)
    assert found.counts is None and found.values is pixels
    assert found.share(pixels > 2000) == (pixels > 2000).mean()


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32), st.integers(1, 40)), min_size=1, max_size=30
    ),
    st.sampled_from(["f4", "f8", "i2", "u2"]),
    st.tuples(st.floats(0, 100), st.floats(0, 100)),
)  # fmt: skip
def test_percentiles_of_counts_are_those_of_numpy(pairs, dtype, wanted):
    values = np.array([value for value, _ in pairs])
    if dtype[0] in "iu":
        limits = np.iinfo(dtype)
        values = values.clip(limits.min, limits.max)
    values = values.astype(dtype)
    counts = np.array([count for _, count in pairs], dtype=np.int64)
    expected = np.percentile(np.repeat(values, counts), wanted)
    np.testing.assert_array_equal(percentiles(values, counts, wanted), expected)


def test_percentiles_of_what_is_no_number_are_none():
    values = np.array([1.0, np.nan, 2.0])
    assert np.isnan(percentiles(values, np.array([3, 1, 3]), (5, 95))).all()


def test_stretch_takes_values_with_their_counts():
    pixels = grain()
    values, counts = np.unique(pixels, return_counts=True)
    ignored = values == 300
    expected = stretch(pixels, pixels == 300)
    found = stretch(values, ignored, counts)
    np.testing.assert_array_equal(found[np.searchsorted(values, pixels)], expected)
