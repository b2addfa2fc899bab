"""A photographed or scanned film as a DICOM object that says that it is one.

Secondary Capture Image Storage, because pixels of unknown origin must not pose as a detector's (PS3.3 A.8.1):
Conversion Type DF (digitized film), Image Type DERIVED\\PRIMARY. PRIMARY, because the picture shows the
exposure itself and no result of it; Modality is that of the film. So selection judges it by its own rules,
like any other film: models that take this modality, body part and view may score it, and the gate on its
pixels comes after that. Burned In Annotation is YES: paper marks and name plates are photographed too, and
nobody looked. A PNG file may have been a JPEG file before, so nothing is said about its compression.

Everything is derived from the pixels and from what was typed: the same film entered twice is one object.
"""

from __future__ import annotations

import hashlib
import re
import struct
import unicodedata
import warnings
import zlib
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

import hoichan
from hoichan.analysis.imaging import MAXIMUM_PIXELS, MINIMUM_SIDE
from hoichan.encoding.equipment import SERVICE_NAME
from hoichan.errors import IncompleteObject, PictureRefused
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.privacy import Phi
from hoichan.types import StudyInstanceUID
from hoichan.uids import derived_uid

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UNPAIRED = frozenset({"CHEST", "ABDOMEN", "SKULL", "PELVIS"})  # no laterality to be told
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_BROKEN = (
    OSError, ValueError, SyntaxError, KeyError, IndexError, TypeError, EOFError, OverflowError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmEntry:
    """What a person types beside a film."""

    patient_id: Phi[str]  # (0010,0020), 1 to 64 characters
    patient_name: Phi[str]  # "Nguyễn Văn An", or family^given^middle
    patient_birth_date: Phi[date] | None
    patient_sex: Literal["M", "F", "O"] | None
    study_date: date  # of the exposure
    accession_number: Phi[str] | None = None  # (0008,0050), up to 16 characters
    modality: str = "CR"  # of the film: what a model must accept
    body_part_examined: str = "CHEST"
    view_position: str | None = None  # PA, AP, LL, ...; None: a model decides without it
    study_instance_uid: StudyInstanceUID | None = None  # another film of the same study; None: a new one
    inverted: bool = False  # bright is air, as on a negative


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: NDArray[Any]  # (rows, columns) uint8 or uint16, as in the file
    lossy: bool  # a JPEG file
    size_bytes: int


def digitised_film(picture: bytes, entry: FilmEntry) -> bytes:
    """A Part 10 file of the film in a PNG or JPEG file; colours become grey, EXIF orientation is applied.

    Raises PictureRefused (not PNG or JPEG, damaged, below 64 pixels or beyond 64 million) and
    IncompleteObject (a typed value that DICOM cannot hold). Source: PS3.3 A.8.1, C.8.6.1, C.8.6.2, C.7.6.1.
    """
    read = _read(picture)
    typed = _typed(entry)
    seed = hashlib.sha256(read.pixels.tobytes() + repr(sorted(typed.items())).encode()).hexdigest()
    study = entry.study_instance_uid or derived_uid("film study", seed)
    document = Dataset()
    document.SpecificCharacterSet = "ISO_IR 192"
    document.SOPClassUID = SECONDARY_CAPTURE
    document.SOPInstanceUID = derived_uid("film", study, seed)
    document.StudyInstanceUID = study
    document.SeriesInstanceUID = derived_uid("film series", study, seed)
    for keyword, value in typed.items():
        setattr(document, keyword, value)
    document.update(_constants())
    if entry.body_part_examined not in UNPAIRED:
        document.Laterality = ""
    _set_pixels(document, read, inverted=entry.inverted)
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    buffer = BytesIO()
    with warnings.catch_warnings():  # pydicom's warnings quote the data set
        warnings.simplefilter("ignore")
        dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()


def person_name(text: str) -> str:
    """A name as people write it, family first, as family^given^middle; one with "^" is left as it is.

    "Nguyễn Văn An" becomes "Nguyễn^An^Văn" (PS3.5 6.2.1, in the order of Vietnamese names).
    """
    if "^" in text:
        return text.strip()
    family, *others = text.split() or [""]
    return "^".join(part for part in (family, *others[-1:], " ".join(others[:-1])) if part)


def _typed(entry: FilmEntry) -> dict[str, str]:
    """What was typed, by keyword, NFC. Raises IncompleteObject without a word of the value."""
    born = entry.patient_birth_date
    values = {
        "PatientID": (entry.patient_id.reveal().strip(), 64),
        "PatientName": (person_name(entry.patient_name.reveal()), 64),
        "PatientBirthDate": (f"{born.reveal():%Y%m%d}" if born else "", 8),
        "PatientSex": (entry.patient_sex or "", 16),
        "StudyDate": (f"{entry.study_date:%Y%m%d}", 8),
        "ContentDate": (f"{entry.study_date:%Y%m%d}", 8),
        "AccessionNumber": (entry.accession_number.reveal().strip() if entry.accession_number else "", 16),
        "Modality": (entry.modality.strip().upper(), 16),
        "BodyPartExamined": (entry.body_part_examined.strip().upper(), 16),
        "ViewPosition": ((entry.view_position or "").strip().upper(), 16),
    }
    typed = {}
    for keyword, (value, longest) in values.items():
        text = unicodedata.normalize("NFC", value)
        if len(text) > longest or _ODD.search(text) or "=" in text * (keyword == "PatientName"):
            raise IncompleteObject(
                f"{keyword} is too long, or has a character that DICOM does not take there."
            )
        typed[keyword] = text
    for keyword in ("PatientID", "PatientName", "Modality", "BodyPartExamined"):
        if not typed[keyword]:
            raise IncompleteObject(f"{keyword} is missing.")
    return typed


def _constants() -> Dataset:
    values = Dataset()
    values.StudyTime = values.ContentTime = values.ReferringPhysicianName = values.StudyID = ""
    values.SeriesNumber = values.InstanceNumber = 1
    values.SeriesDescription = "Digitized film"
    values.ConversionType = "DF"  # (0008,0064), digitized film
    values.ImageType = ["DERIVED", "PRIMARY"]
    values.DerivationDescription = "Picture of a film, entered by hand; grey levels are not calibrated"
    values.BurnedInAnnotation = "YES"
    values.PatientOrientation = ""
    values.Manufacturer = values.SecondaryCaptureDeviceManufacturer = SERVICE_NAME
    values.SecondaryCaptureDeviceSoftwareVersions = f"hoichan {hoichan.__version__}"
    return values


def _set_pixels(document: Dataset, picture: _Picture, *, inverted: bool) -> None:
    bits = picture.pixels.dtype.itemsize * 8
    document.SamplesPerPixel = 1
    document.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    document.Rows, document.Columns = picture.pixels.shape
    document.BitsAllocated = document.BitsStored = bits
    document.HighBit, document.PixelRepresentation = bits - 1, 0
    if picture.lossy:
        document.LossyImageCompression = "01"
        document.LossyImageCompressionRatio = f"{max(1.0, picture.pixels.nbytes / picture.size_bytes):.2f}"
        document.LossyImageCompressionMethod = "ISO_10918_1"
    content = picture.pixels.astype("<u2" if bits == 16 else "u1").tobytes()
    document.add_new(0x7FE00010, "OW" if bits == 16 else "OB", content + b"\0" * (len(content) % 2))


def _read(content: bytes) -> _Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as opened:
                _check_size(opened.width, opened.height)
                lossy = opened.format != "PNG"
                upright = ImageOps.exif_transpose(opened)
                deep = upright.mode.startswith("I")
                pixels = np.asarray(upright if deep else upright.convert("L"))
        except _BROKEN as error:
            raise PictureRefused("The picture is no PNG or JPEG file, or is damaged.") from error
    if deep and (pixels.min() < 0 or pixels.max() > 0xFFFF):
        raise PictureRefused("The picture has more than 16 bits a pixel.")
    return _Picture(pixels.astype(np.uint16 if deep else np.uint8), lossy, len(content))


def _check_size(columns: int, rows: int) -> None:
    if min(columns, rows) < MINIMUM_SIDE or columns * rows > MAXIMUM_PIXELS or max(columns, rows) > 0xFFFF:
        raise PictureRefused("The picture is too small or too large for a film.")
