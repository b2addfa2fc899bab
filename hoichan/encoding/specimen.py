"""A film and slices that nobody can take for a person's: to try out what receivers do with results."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from io import BytesIO
from typing import Any

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
SLICES, SIDE = 6, 128  # of the volume
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
LINES = ("THỬ NGHIỆM", "KHÔNG PHẢI NGƯỜI BỆNH", "TEST – NOT A PATIENT")


def specimen(now: datetime, *, patient_id: str) -> Dataset:
    """A Computed Radiography object with a test pattern and words in it. `now` is aware."""
    film = _of_nobody(now, patient_id)
    seed = now.isoformat()
    film.SOPClassUID, film.SOPInstanceUID = COMPUTED_RADIOGRAPHY, derived_uid("specimen", seed)
    film.SeriesInstanceUID = derived_uid("specimen-series", seed)
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "PA"
    film.SeriesNumber = film.InstanceNumber = 1
    film.PatientOrientation = ["L", "F"]
    film.ImagerPixelSpacing = [0.4, 0.4]
    film.Rows, film.Columns = ROWS, COLUMNS
    film.PixelData = _pattern().astype("<u2").tobytes()
    return film


def specimen_slices(now: datetime, *, patient_id: str) -> list[Dataset]:
    """A volume of the same study as MR Image objects, feet first, a word in each; `outlined` fits it."""
    made = []
    grey = _slice_pattern().astype("<u2").tobytes()
    for number in range(SLICES):
        one = _of_nobody(now, patient_id)
        seed = now.isoformat()
        one.SOPClassUID, one.SOPInstanceUID = MR_IMAGE, derived_uid("specimen-slice", seed, str(number))
        one.SeriesInstanceUID = derived_uid("specimen-volume", seed)
        one.FrameOfReferenceUID = derived_uid("specimen-frame", seed)
        one.PositionReferenceIndicator = ""
        one.Modality, one.BodyPartExamined = "MR", "HEAD"
        one.SeriesNumber, one.InstanceNumber = 2, number + 1
        one.PatientPosition = "HFS"
        one.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        one.ScanningSequence, one.SequenceVariant, one.ScanOptions = "RM", "NONE", ""
        one.MRAcquisitionType, one.EchoTime, one.EchoTrainLength = "2D", None, None
        one.RepetitionTime = None
        one.PixelSpacing, one.SliceThickness = [1.0, 1.0], 3.0
        one.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        one.ImagePositionPatient = [-SIDE / 2, -SIDE / 2, 3.0 * number]
        one.Rows = one.Columns = SIDE
        one.PixelData = grey
        made.append(one)
    return made


def outlined() -> NDArray[np.uint8]:
    """A block in the middle of `specimen_slices`: (SLICES, SIDE, SIDE), 1 inside and 0 outside."""
    labels = np.zeros((SLICES, SIDE, SIDE), dtype=np.uint8)
    labels[1:-1, SIDE // 2 : SIDE * 3 // 4, SIDE // 4 : SIDE * 3 // 4] = 1
    return labels


def _of_nobody(now: datetime, patient_id: str) -> Dataset:
    """What the film and the slices share."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.StudyInstanceUID = derived_uid("specimen-study", now.isoformat())
    image.SpecificCharacterSet = "ISO_IR 192"
    image.PatientName, image.PatientID = NAME, patient_id
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyDate = image.ContentDate = now.strftime("%Y%m%d")
    image.StudyTime = image.ContentTime = now.strftime("%H%M%S")
    image.TimezoneOffsetFromUTC = now.strftime("%z")[:5]
    image.AccessionNumber, image.StudyID = "", "TEST"
    image.ReferringPhysicianName = ""
    image.StudyDescription = "Test, not a patient"
    image.SeriesDescription = "Test, not a patient"
    image.Manufacturer = "Hội Chẩn"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.BurnedInAnnotation = "YES"
    return image


def _pattern() -> NDArray[np.uint16]:
    """A ramp, a grid and the words; (ROWS, COLUMNS), 0..4095."""
    down = np.linspace(300, 2600, ROWS)[:, None]
    canvas = np.repeat(down, COLUMNS, axis=1)
    canvas[::64, :] += 250
    canvas[:, ::64] += 250
    return _written(canvas, LINES, size=58, top=ROWS / 4)


def _slice_pattern() -> NDArray[np.uint16]:
    """A ramp and a word; (SIDE, SIDE), 0..4095."""
    canvas = np.repeat(np.linspace(300, 2200, SIDE)[:, None], SIDE, axis=1)
    return _written(canvas, ("TEST",), size=26, top=SIDE / 8)


def _written(
    canvas: NDArray[np.floating[Any]], lines: tuple[str, ...], *, size: int, top: float
) -> NDArray[np.uint16]:
    image = Image.fromarray((canvas / 16).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    data = files("hoichan.encoding").joinpath("fonts", "DejaVuSansCondensed-Bold.ttf").read_bytes()
    font = ImageFont.truetype(BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)
    for number, line in enumerate(lines):
        left, _, right, _ = font.getbbox(line)
        at = ((canvas.shape[1] - (right - left)) / 2, top + number * size * 1.45)
        draw.text(at, line, fill=255, font=font)
    return (np.asarray(image, dtype=np.uint16) * 16).clip(0, 4095).astype(np.uint16)
