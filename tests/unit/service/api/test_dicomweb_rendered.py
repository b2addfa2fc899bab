"""Pictures of frames: by table or pixel by pixel they are the same, and none is kept for another file."""

import io
import os

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from service.api.dicomweb_rendered import RenderedShelf, Rendering, Window, eight_bits

ASKED = Rendering(media_type="image/png")


def header(photometric="MONOCHROME2", **more):
    made = Dataset()
    made.PhotometricInterpretation = photometric
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "window", [None, Window(center=40, width=80), Window(center=40, width=80, function="SIGMOID")]
)
def test_the_table_gives_what_every_pixel_would(dtype, photometric, window):
    kind = np.dtype(dtype)
    values = np.random.default_rng(7).integers(
        np.iinfo(kind).min, np.iinfo(kind).max, size=(31, 17), endpoint=True
    )
    told = header(photometric, RescaleSlope=2, RescaleIntercept=-1024)
    by_table = eight_bits(told, values.astype(kind), 0, window)
    by_pixel = eight_bits(told, values.astype(np.int32), 0, window)
    assert by_table.dtype == np.uint8 and by_table.shape == (31, 17)
    np.testing.assert_array_equal(by_table, by_pixel)


def test_a_range_counts_values_that_occur_only():
    stored = np.array([[100, 110], [105, 110]], dtype=np.uint16)
    assert eight_bits(header(), stored, 0, None).tolist() == [[0, 255], [128, 255]]


def a_file(path, seed):
    made = film(study="shelf")
    made.PixelData = np.full((made.Rows, made.Columns), seed, np.uint16).tobytes()
    made.PixelData = b"\0\0" + made.PixelData[2:]
    path.write_bytes(as_file(made))


def middle(content):
    picture = Image.open(io.BytesIO(content))
    return picture.getpixel((picture.width // 2, picture.height // 2))


def test_a_file_that_was_written_anew_has_a_new_picture(tmp_path):
    path, shelf = tmp_path / "one.dcm", RenderedShelf()
    asked = Rendering(media_type="image/png", window=Window(center=500, width=1000))
    a_file(path, 250)
    first = shelf.picture(path, 0, asked)
    assert shelf.picture(path, 0, asked) is first
    a_file(path, 750)
    os.utime(path, ns=(1, 1))
    assert middle(shelf.picture(path, 0, asked)) > middle(first)


def test_the_shelf_holds_no_more_than_it_may(tmp_path):
    path = tmp_path / "one.dcm"
    a_file(path, 250)
    size = len(RenderedShelf().picture(path, 0, ASKED))
    shelf = RenderedShelf(largest=size + size // 2)
    first = shelf.picture(path, 0, ASKED)
    shelf.picture(path, 0, Rendering(media_type="image/png", largest=(4096, 4096)))
    assert shelf.picture(path, 0, ASKED) is not first
