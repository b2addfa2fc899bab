"""The picture we wrote, for the page, for a folder, and for who takes no JPEG. Light: no highdicom."""

from __future__ import annotations

import warnings
from io import BytesIO

from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGBaseline8Bit


def picture_png(content: bytes) -> bytes:
    """The pixels of a Secondary Capture that we wrote, as PNG."""
    stream = BytesIO()
    Image.fromarray(pixel_array(_read(content))).save(stream, "PNG", compress_level=4)
    return stream.getvalue()


def is_compressed(data_set: Dataset) -> bool:
    """Whether it is one of our pictures as JPEG."""
    return bool(data_set.file_meta.TransferSyntaxUID == JPEGBaseline8Bit)


def decompress(data_set: Dataset) -> None:
    """The same object with its pixels laid open; that they were compressed stays said (PS3.3 C.7.6.1.1.5)."""
    data_set.decompress(generate_instance_uid=False)


def uncompressed(content: bytes) -> bytes:
    """A picture of ours as a file with its pixels laid open; any other document as it is."""
    data_set = _read(content)
    if not is_compressed(data_set):
        return content
    decompress(data_set)
    stream = BytesIO()
    data_set.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _read(content: bytes) -> Dataset:
    with warnings.catch_warnings():  # pydicom's warnings quote the data set
        warnings.simplefilter("ignore")
        return dcmread(BytesIO(content))
