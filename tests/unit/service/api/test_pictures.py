"""The picture of a report for a browser."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, SecondaryCaptureImageStorage

from hoichan.errors import RecordsError
from service.api.pictures import PictureShelf, render

COLOURS = np.zeros((6, 8, 3), np.uint8)
COLOURS[:, :4] = (200, 30, 60)
COLOURS[:, 4:] = (10, 90, 220)


def a_capture(pixels=COLOURS, photometric="RGB", **changes):
    capture = Dataset()
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    capture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    capture.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    capture.SOPClassUID, capture.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    if capture.SamplesPerPixel == 3:
        capture.PlanarConfiguration = 0
    capture.PhotometricInterpretation = photometric
    bits = pixels.dtype.itemsize * 8
    capture.BitsAllocated = capture.BitsStored = bits
    capture.HighBit, capture.PixelRepresentation = bits - 1, 0
    capture.PixelData = pixels.tobytes()
    for name, value in changes.items():
        setattr(capture, name, value)
    return capture


def file_of(capture):
    stream = io.BytesIO()
    capture.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def seen(picture):
    return np.asarray(Image.open(io.BytesIO(picture.content)))


def test_colours_arrive_unchanged():
    picture = render(file_of(a_capture()))
    assert picture.media_type == "image/png"
    assert np.array_equal(seen(picture), COLOURS)


def test_run_length_encoded_colours_arrive_unchanged():
    capture = a_capture()
    capture.compress(RLELossless)
    assert np.array_equal(seen(render(file_of(capture))), COLOURS)


def test_a_jpeg_frame_is_handed_over_as_it_is():
    stream = io.BytesIO()
    Image.fromarray(COLOURS).save(stream, "JPEG", quality=90)
    frame = stream.getvalue()
    capture = a_capture(photometric="YBR_FULL_422")
    capture.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    capture.PixelData = encapsulate([frame])
    picture = render(file_of(capture))
    assert picture.media_type == "image/jpeg"
    assert picture.content == frame


def test_dark_is_high_in_monochrome1():
    grey = np.array([[0, 255]], np.uint8)
    assert seen(render(file_of(a_capture(grey, "MONOCHROME1")))).tolist() == [[255, 0]]
    assert seen(render(file_of(a_capture(grey, "MONOCHROME2")))).tolist() == [[0, 255]]


def test_sixteen_bits_are_spread_over_eight():
    grey = np.array([[1000, 3000, 5000]], np.uint16)
    assert seen(render(file_of(a_capture(grey, "MONOCHROME2")))).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not dicom at all",
        file_of(a_capture(Rows=60000, Columns=60000)),
        file_of(a_capture(PixelData=b"12")),
    ],
    ids=["empty", "text", "huge", "short"],
)
def test_what_cannot_be_decoded_is_one_of_our_errors(content):
    with pytest.raises(RecordsError):
        render(content)


def test_the_shelf_reads_once_and_forgets_the_oldest():
    shelf, reads = PictureShelf(places=2), []

    def read():
        reads.append(1)
        return file_of(a_capture())

    for digest in ("a", "a", "b", "a", "c", "a", "b"):
        shelf.picture(digest, read)
    assert len(reads) == 4
