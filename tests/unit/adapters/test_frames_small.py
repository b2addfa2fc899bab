"""JPEG 2000 at a part of its size: the same film, and whatever it is not for is left to the whole way."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless

from hoichan.adapters.frames import decoded
from hoichan.adapters.frames_small import decoded_small
from hoichan.testing.reports import a_film, as_bytes
from service.api.dicomweb_rendered import Rendering, rendered

FIRST = (880, 880)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A synthetic film of 12 bits in JPEG 2000."""
    made = a_film("small", rows=1200, columns=1000)
    grey = np.add.outer(np.arange(1200), np.arange(1000)).astype(np.uint16)
    grey[300:500, 200:700] += 1500
    made.PixelData = grey.tobytes()
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made["PixelData"].VR = "OW"
    made.compress(JPEG2000Lossless, generate_instance_uid=False)
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    path.write_bytes(as_bytes(made))
    return path


def shrunk(values, shape):
    rows, columns = (whole // part for whole, part in zip(values.shape, shape, strict=True))
    cut = values[: shape[0] * rows, : shape[1] * columns].astype(float)
    return cut.reshape(shape[0], rows, shape[1], columns).mean(axis=(1, 3))


@pytest.mark.parametrize(("largest", "size"), [((500, 500), (600, 500)), ((130, 300), (300, 250))])
def test_it_is_the_same_film_in_the_same_values(film, largest, size):
    _, whole = decoded(film, 0)
    found = decoded_small(film, 0, largest)
    assert found is not None
    header, small = found
    assert header.BitsStored == 12 and small.shape == size and whole.max() == 2698
    assert np.abs(shrunk(whole, small.shape) - small).mean() < 8  # of 4,095; edges ring a little


def test_no_smaller_than_it_is_shown(film):
    assert decoded_small(film, 0, (501, 601)) is None
    assert decoded_small(film, 0, (4000, 4000)) is None


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "MR_small_jp2klossless.dcm", "US1_J2KR.dcm"])
def test_other_kinds_are_left_to_the_whole_way(name):
    """Not packed; signed values; colour."""
    path = Path(get_testdata_file(name, download=False))
    assert decoded_small(path, 0, (8, 8)) is None


def test_a_broken_codestream_is_left_to_the_whole_way(film, tmp_path):
    content = bytearray(film.read_bytes())
    start = content.index(b"\xff\x4f\xff\x51")
    content[start + 60 : start + 400] = bytes(340)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(bytes(content))
    assert decoded_small(broken, 0, (200, 200)) is None


def test_the_first_picture_of_a_real_film_is_that_of_the_whole_film():
    path = Path(get_testdata_file("RG1_J2KR.dcm", download=False))
    plain = Path(get_testdata_file("RG1_UNCR.dcm", download=False))
    asked = Rendering(largest=FIRST, quality=70)
    small, whole = (np.asarray(Image.open(BytesIO(rendered(one, 0, asked)))) for one in (path, plain))
    assert small.shape == whole.shape == (880, 829)
    assert np.abs(small.astype(int) - whole.astype(int)).mean() < 2  # of 256
    assert pydicom.dcmread(path, stop_before_pixels=True).BitsStored == 15
