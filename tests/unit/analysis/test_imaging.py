"""The grey-scale pipeline, step by step, on pictures whose answer is known."""

from functools import partial

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import RLELossless

from hoichan.analysis.films import Film
from hoichan.analysis.imaging import (
    balance,
    film_map,
    place_in_square,
    read_film,
    read_picture,
    stretch,
    to_model_input,
)
from hoichan.errors import InputOutOfDomain
from hoichan.types import RefusalCode
from tests.unit.analysis import images

ROWS, COLUMNS = 96, 80
image = partial(images.image, bits=12)


def ramp(bits: int = 12) -> np.ndarray:
    """(96, 80) integers that rise from left to right over the whole range of the bits."""
    return np.tile(np.linspace(0, 2**bits - 1, COLUMNS), (ROWS, 1)).astype(
        np.uint16 if bits > 8 else np.uint8
    )


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
def test_every_bit_depth_fills_the_scale(bits):
    film = read_film(image(ramp(bits), bits=bits))
    assert film.pixels.shape == (ROWS, COLUMNS)
    assert film.pixels.dtype == np.float32
    assert film.pixels.min() == 0.0 and film.pixels.max() == 1.0
    assert np.all(np.diff(film.pixels[0]) >= 0)


def test_monochrome1_is_turned_so_that_bright_is_dense():
    plain = read_film(image(ramp()))
    turned = read_film(image(ramp(), PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(turned.pixels, 1 - plain.pixels, atol=1e-6)


def test_a_window_is_obeyed():
    film = read_film(image(ramp(), WindowCenter=2048, WindowWidth=2048))
    assert film.pixels[0, 0] == 0.0 and film.pixels[0, -1] == 1.0
    middle = np.abs(ramp()[0].astype(int) - 2048).argmin()
    assert film.pixels[0, middle] == pytest.approx(0.5, abs=0.02)
    assert film.warnings == ()


def test_the_first_of_several_windows_is_taken():
    one = read_film(image(ramp(), WindowCenter=1000, WindowWidth=1500))
    many = read_film(image(ramp(), WindowCenter=[1000, 3000], WindowWidth=[1500, 10]))
    np.testing.assert_array_equal(one.pixels, many.pixels)


@pytest.mark.parametrize(
    ("center", "width"), [(0, 1), (2048, 0), (-50_000, 10), (900_000, 4096), (2048, 10_000_000), (2048, -5)]
)
def test_a_window_that_shows_nothing_is_not_obeyed_but_reported(center, width):
    film = read_film(image(ramp(), WindowCenter=center, WindowWidth=width))
    assert film.pixels.max() - film.pixels.min() > 0.9
    assert film.warnings in (("voi_unusable",), ())
    np.testing.assert_allclose(film.pixels, read_film(image(ramp())).pixels)


@pytest.mark.parametrize("function", ["SIGMOID", "LINEAR_EXACT", "LINEAR"])
def test_voi_lut_functions_put_the_centre_at_one_half(function):
    film = read_film(image(ramp(), WindowCenter=2048, WindowWidth=3000, VOILUTFunction=function))
    middle = np.abs(ramp()[0].astype(int) - 2048).argmin()
    assert film.pixels[0, middle] == pytest.approx(0.5, abs=0.02)


def test_a_voi_lut_is_applied():
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = list(range(0, 65536, 256))[::-1]
    table["LUTDescriptor"].VR = "US"
    table["LUTData"].VR = "US"
    film = read_film(image(ramp(8), bits=8, VOILUTSequence=Sequence([table])))
    assert np.all(np.diff(film.pixels[0]) <= 0)
    assert film.pixels.max() > 0.99


def test_rescale_comes_before_the_window():
    film = read_film(
        image(ramp(), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=4000)
    )
    middle = np.abs(ramp()[0].astype(int) - 2000).argmin()
    assert film.pixels[0, middle] == pytest.approx(0.5, abs=0.02)


def test_a_slope_of_zero_is_not_obeyed_but_reported():
    film = read_film(image(ramp(), RescaleSlope=0, RescaleIntercept=0))
    assert film.pixels.max() == 1.0
    assert "rescale_unusable" in film.warnings


def test_signed_pixels_are_read():
    film = read_film(image((ramp().astype(np.int32) - 2048).astype(np.int16), bits=16))
    assert np.all(np.diff(film.pixels[0]) >= 0)
    assert film.pixels.max() == 1.0


def test_bits_above_the_stored_ones_are_cut_off():
    film = read_film(image(ramp() | np.uint16(0x8000)))
    np.testing.assert_allclose(film.pixels, read_film(image(ramp())).pixels)


def test_padding_is_black_and_does_not_shift_the_scale():
    pixels = ramp()
    pixels[:, :20] = 0
    film = read_film(image(pixels, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1"))
    assert np.all(film.pixels[:, :20] == 0.0)
    assert film.pixels[:, 20:].max() == 1.0


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.15, 0.15]}, (0.15, 0.15)),
        ({"PixelSpacing": [0, 0]}, None),
        ({}, None),
    ],
)
def test_spacing_is_read_or_unknown(attributes, expected):
    film = read_film(image(ramp(), **attributes))
    assert film.spacing_mm == expected
    assert ("spacing_unusable" in film.warnings) == (attributes.get("PixelSpacing") == [0, 0])


def test_a_frame_is_chosen():
    pixels = np.stack([ramp(), ramp()[:, ::-1]])
    first, second = (read_film(image(pixels, NumberOfFrames=2), frame_number=n) for n in (1, 2))
    np.testing.assert_allclose(first.pixels, second.pixels[:, ::-1])


def no_pixels(dataset: Dataset) -> None:
    del dataset.PixelData


def short_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:1001]


def garbage_frame(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00\x01\x02\x03\x04"
    dataset["PixelData"].is_undefined_length = True


def no_rows(dataset: Dataset) -> None:
    del dataset.Rows


def colour(dataset: Dataset) -> None:
    dataset.SamplesPerPixel = 3


def palette(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"


def unknown_syntax(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = "1.2.3.4"


def no_bits(dataset: Dataset) -> None:
    dataset.BitsAllocated = 0


@pytest.mark.parametrize(
    "damage", [no_pixels, short_pixels, garbage_frame, no_rows, colour, palette, unknown_syntax, no_bits]
)
def test_damaged_pixels_are_refused_in_one_way_without_quoting_the_object(damage):
    dataset = image(ramp(), PatientName="MARKER^MARKER", ImageComments="MARKER")
    damage(dataset)
    with pytest.raises(InputOutOfDomain) as caught:
        read_film(dataset)
    assert caught.value.reason == RefusalCode.UNDECODABLE_PIXELS
    assert "MARKER" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "keyword", ["Rows", "BitsStored", "RescaleSlope", "PixelPaddingValue", "WindowCenter", "PixelSpacing"]
)
def test_a_value_of_the_wrong_length_is_no_crash(keyword):
    """pydicom raises an error of its own for it, which is no ValueError."""
    dataset = image(ramp())
    tag = tag_for_keyword(keyword)
    dataset._dict[BaseTag(tag)] = RawDataElement(BaseTag(tag), "US", 3, b"\1\2\3", 0, False, True)
    if keyword in ("Rows", "BitsStored"):
        with pytest.raises(InputOutOfDomain):
            read_film(dataset)
    else:
        assert read_film(dataset).pixels.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (60, 4000), (40_000, 40_000)])
def test_sizes_that_are_no_film_are_refused(rows, columns):
    dataset = image(ramp())
    dataset.Rows, dataset.Columns = rows, columns
    with pytest.raises(InputOutOfDomain) as caught:
        read_film(dataset)
    assert caught.value.reason == RefusalCode.PIXELS_OUT_OF_RANGE


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("RGB", "jpg"), ("I;16", "png")])
def test_pictures_are_read(tmp_path, mode, suffix):
    pixels = ramp(16 if mode == "I;16" else 8)
    picture = Image.fromarray(pixels) if mode != "RGB" else Image.fromarray(np.stack([pixels] * 3, axis=-1))
    picture.save(tmp_path / f"film.{suffix}")
    film = read_picture(tmp_path / f"film.{suffix}")
    assert film.pixels.shape == (ROWS, COLUMNS)
    assert film.pixels.max() > 0.97 and film.pixels.min() < 0.03
    assert film.warnings == ("no_tags",)


def test_a_picture_that_is_none_is_refused(tmp_path):
    (tmp_path / "film.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(InputOutOfDomain) as caught:
        read_picture(tmp_path / "film.png")
    assert caught.value.reason == RefusalCode.UNDECODABLE_PIXELS


def film_of(pixels: np.ndarray) -> Film:
    return Film(grey=pixels.astype(np.float32), spacing_mm=None)


@pytest.mark.parametrize(("rows", "columns"), [(200, 200), (300, 150), (150, 300), (64, 1000), (1955, 1841)])
def test_the_input_keeps_proportions_and_is_padded_with_black(rows, columns):
    square = to_model_input(film_of(np.tile(np.linspace(0.2, 0.8, columns), (rows, 1))), 128)
    assert square.shape == (1, 1, 128, 128) and square.dtype == np.float32
    assert square.min() == 0.0 and square.max() == pytest.approx(1.0, abs=0.02)
    place = place_in_square(rows, columns, 128)
    assert max(place.height, place.width) == 128
    outside = np.ones((128, 128), dtype=bool)
    outside[place.top : place.top + place.height, place.left : place.left + place.width] = False
    assert np.all(square[0, 0][outside] == 0)


def test_the_input_does_not_depend_on_the_window_or_on_the_bend_of_the_grey_scale():
    rng = np.random.default_rng(0)
    grid = rng.random((12, 12)).astype(np.float32)
    pixels = np.asarray(Image.fromarray(grid).resize((200, 200), Image.Resampling.BICUBIC)).clip(0, 1)
    plain = to_model_input(film_of(pixels), 128)
    for other in (0.3 + 0.4 * pixels, pixels**0.6, pixels**1.8):
        assert np.abs(to_model_input(film_of(other), 128) - plain).mean() < 0.04


def test_a_flat_film_gives_a_black_input():
    assert to_model_input(film_of(np.full((100, 100), 0.7)), 64).max() == 0.0


def test_stretch_and_balance_stay_within_the_scale():
    values = np.random.default_rng(1).normal(100, 30, (50, 50)).astype(np.float32)
    stretched = stretch(values)
    assert stretched.min() == 0.0 and stretched.max() == 1.0
    assert balance(stretched**3).mean() == pytest.approx(0.5, abs=0.05)
    assert balance(np.zeros((4, 4), dtype=np.float32)).max() == 0.0


@pytest.mark.parametrize(("rows", "columns"), [(1955, 1841), (1000, 500), (500, 1000), (512, 512)])
def test_a_peak_in_the_square_lands_on_the_same_place_of_the_film(rows, columns):
    size, cells = 256, 8
    place = place_in_square(rows, columns, size)
    cam = np.zeros((cells, cells), dtype=np.float32)
    cam[3, 4] = 1.0  # the cell whose centre is at row 112, column 144 of the square
    found = film_map(cam, rows, columns, size)
    row, column = np.unravel_index(found.argmax(), found.shape)
    at = ((row + 0.5) / found.shape[0], (column + 0.5) / found.shape[1])
    assert at[0] == pytest.approx((112 - place.top) / place.height, abs=0.03)
    assert at[1] == pytest.approx((144 - place.left) / place.width, abs=0.03)
