"""A heat map comes back as it was kept, and lies over the film in its own proportions."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from hoichan.adapters.heatmaps import LARGEST_SIDE, LONGEST_SIDE, packed, png, unpacked

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)


@given(arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)))
def test_a_map_comes_back_to_half_a_step(heat):
    again = unpacked(packed(heat))
    assert again.shape == heat.shape
    assert float(np.abs(again - heat).max()) <= 0.5 / 255 + 1e-6


def test_a_fine_map_is_made_coarser_and_nonsense_is_nothing():
    heat = np.full((300, 150), np.nan, dtype=np.float32)
    heat[:150] = 7.0
    again = unpacked(packed(heat))
    assert again.shape == (LARGEST_SIDE, LARGEST_SIDE // 2)
    assert (again[:30].min(), again[-30:].max()) == (1.0, 0.0)


@pytest.mark.parametrize(("rows", "columns"), [(3000, 2400), (640, 560), (100, 400), (1, 1)])
def test_the_picture_has_the_proportions_of_the_film(rows, columns):
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[0, 0] = 1.0
    picture = Image.open(BytesIO(png(heat, rows=rows, columns=columns)))
    assert picture.mode == "RGBA"
    assert max(picture.size) == min(LONGEST_SIDE, max(rows, columns))
    assert picture.size[0] / picture.size[1] == pytest.approx(columns / rows, rel=0.01)


def test_where_nothing_is_nothing_is_drawn():
    picture = Image.open(BytesIO(png(np.zeros((8, 8), dtype=np.float32), rows=64, columns=64)))
    assert picture.getchannel("A").getextrema() == (0, 0)
