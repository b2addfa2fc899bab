"""A film that nobody can take for a person's: for trying out what a receiver does with our results."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from hoichan.uids import derived_uid

ROWS, COLUMNS = 1024, 896
COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
NAME = "THỬ NGHIỆM^KHÔNG PHẢI NGƯỜI BỆNH"
LINES = ("THỬ NGHIỆM", "KHÔNG PHẢI NGƯỜI BỆNH", "TEST – NOT A PATIENT")


def specimen(now: datetime, *, patient_id: str) -> Dataset:
    """A Computed Radiography object with a test pattern and words in it. `now` is aware."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seed = now.isoformat()
    film.SOPClassUID, film.SOPInstanceUID = COMPUTED_RADIOGRAPHY, derived_uid("specimen", seed)
    film.StudyInstanceUID = derived_uid("specimen-study", seed)
    film.SeriesInstanceUID = derived_uid("specimen-series", seed)
    film.SpecificCharacterSet = "ISO_IR 192"
    film.PatientName, film.PatientID = NAME, patient_id
    film.PatientBirthDate, film.PatientSex = "19700101", "O"
    film.StudyDate = film.ContentDate = now.strftime("%Y%m%d")
    film.StudyTime = film.ContentTime = now.strftime("%H%M%S")
    film.TimezoneOffsetFromUTC = now.strftime("%z")[:5]
    film.AccessionNumber, film.StudyID = "", "TEST"
    film.ReferringPhysicianName = ""
    film.StudyDescription = "Test, not a patient"
    film.SeriesDescription = "Test, not a patient"
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "PA"
    film.Manufacturer = "Hội Chẩn"
    film.SeriesNumber = film.InstanceNumber = 1
    film.PatientOrientation = ["L", "F"]
    film.ImagerPixelSpacing = [0.4, 0.4]
    film.Rows, film.Columns = ROWS, COLUMNS
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.WindowCenter, film.WindowWidth = 2048, 4096
    film.BurnedInAnnotation = "YES"
    film.PixelData = _pattern().astype("<u2").tobytes()
    return film


def _pattern() -> NDArray[np.uint16]:
    """A ramp, a grid and the words; (ROWS, COLUMNS), 0..4095."""
    down = np.linspace(300, 2600, ROWS)[:, None]
    canvas = np.repeat(down, COLUMNS, axis=1)
    canvas[::64, :] += 250
    canvas[:, ::64] += 250
    image = Image.fromarray((canvas / 16).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    data = files("hoichan.encoding").joinpath("fonts", "DejaVuSansCondensed-Bold.ttf").read_bytes()
    font = ImageFont.truetype(BytesIO(data), 58, layout_engine=ImageFont.Layout.BASIC)
    for number, line in enumerate(LINES):
        left, _, right, _ = font.getbbox(line)
        at = ((COLUMNS - (right - left)) / 2, ROWS / 4 + number * 84)
        draw.text(at, line, fill=255, font=font)
    return (np.asarray(image, dtype=np.uint16) * 16).clip(0, 4095).astype(np.uint16)
