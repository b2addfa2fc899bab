"""The pixels of a picture we wrote, for the page and for a folder. Light: no highdicom."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom import dcmread


def picture_png(content: bytes) -> bytes:
    """The pixels of a Secondary Capture that we wrote, as PNG."""
    with warnings.catch_warnings():  # pydicom's warnings quote the data set
        warnings.simplefilter("ignore")
        dataset = dcmread(BytesIO(content))
    shape = (int(dataset.Rows), int(dataset.Columns), 3)
    pixels = np.frombuffer(dataset.PixelData, dtype=np.uint8, count=shape[0] * shape[1] * 3).reshape(shape)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=4)
    return stream.getvalue()
