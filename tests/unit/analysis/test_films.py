"""A film that was never laid out as a whole must be the one that was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hoichan.analysis.films import STRIP_ROWS, Film
from hoichan.analysis.imaging import read_film
from hoichan.analysis.levels import GLANCE, Levels, Shown
from tests.unit.analysis.images import image


def shown(rows: int, columns: int, dtype: str = "u2") -> Shown:
    stored = np.random.default_rng(rows * columns).integers(3, 250, (rows, columns)).astype(dtype)
    levels = Levels(stored)
    found = levels.shown_as(np.sqrt(levels.values.astype(np.float32) / 250))
    assert isinstance(found, Shown)
    return found


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 3 * STRIP_ROWS),
    columns=st.integers(1, 200),
    width=st.integers(1, 260),
    height=st.integers(1, 260),
)
def test_strips_give_what_the_whole_film_gives(rows, columns, width, height):
    film = Film(grey=shown(rows, columns), spacing_mm=None)
    whole = Image.fromarray(film.pixels).resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(film.resized(width, height), np.asarray(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_a_coarse_look_is_of_the_same_pixels(dtype):
    film = Film(grey=shown(130, 97, dtype), spacing_mm=None)
    plain = Film(grey=film.pixels, spacing_mm=None)
    assert (film.rows, film.columns) == (plain.rows, plain.columns) == (130, 97)
    np.testing.assert_array_equal(film.every(7, 5), film.pixels[::7, ::5])
    np.testing.assert_array_equal(plain.every(7, 5), film.pixels[::7, ::5])


def test_nobody_writes_on_a_film_and_its_maker_keeps_the_right_to():
    grey = np.zeros((70, 70), dtype=np.float32)
    for film in (Film(grey=grey, spacing_mm=None), Film(grey=shown(70, 70), spacing_mm=None)):
        with pytest.raises(ValueError, match="read-only"):
            film.pixels[0, 0] = 1
    grey[0, 0] = 1


def test_a_window_that_a_glance_does_not_see_through_is_counted_in_full():
    """Nearly black where a glance looks, a film everywhere else."""
    pixels = np.random.default_rng(0).integers(200, 3800, (400, 400)).astype("u2")
    pixels[::GLANCE, ::GLANCE] = 0
    film = read_film(image(pixels, bits=12, WindowCenter=2000, WindowWidth=4000))
    assert film.warnings == ()
    assert film.pixels[1, 1] == pytest.approx(pixels[1, 1] / 4000, abs=0.01)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_film_keeps_no_other_frame_in_memory(frames):
    pixels = np.random.default_rng(0).integers(0, 4000, (frames, 80, 90)).astype("u2")
    dataset = image(pixels if frames > 1 else pixels[0], bits=12)
    if frames > 1:
        dataset.NumberOfFrames = frames
    film = read_film(dataset, frames)
    bits = film.grey._bits
    kept = len(bits.base) if isinstance(bits.base, bytes) else bits.nbytes
    assert kept == 80 * 90 * 2
    np.testing.assert_array_equal(bits, pixels[-1])
