"""Synthetic data sets, and their bytes in any native transfer syntax."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from hoichan.intake.dataset import describe
from hoichan.intake.headers import EXPLICIT_LITTLE, PIXEL_DATA, is_deflated, syntax_of
from hoichan.types import Sha256, Study
from hoichan.uids import derived_uid

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"  # a maker's own SOP class
MARKER = "MARKER"


def film(
    *,
    study: str = "study",
    series: str = "series",
    instance: str = "instance",
    pixels: bytes | None = b"\0\1" * 64,
) -> Dataset:
    """A small CR of a made-up patient; the names seed its UIDs. `pixels`: 8 x 8, 16 bits."""
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY"]
    data_set.SOPClassUID = COMPUTED_RADIOGRAPHY
    data_set.SOPInstanceUID = derived_uid("test", study, series, instance)
    data_set.StudyDate, data_set.StudyTime = "20261120", "081530"
    data_set.Modality = "CR"
    data_set.PatientName, data_set.PatientID = "Nguyễn^An^Văn", "BN0001"
    data_set.PatientBirthDate, data_set.PatientSex = "19700131", "M"
    data_set.BodyPartExamined, data_set.ViewPosition = "CHEST", "PA"
    data_set.StudyInstanceUID = derived_uid("test", study)
    data_set.SeriesInstanceUID = derived_uid("test", study, series)
    data_set.SeriesNumber, data_set.InstanceNumber = 1, 1
    if pixels is not None:
        data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
        data_set.Rows = data_set.Columns = 8
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 16, 15
        data_set.PixelRepresentation = 0
        data_set.add_new(PIXEL_DATA, "OW", pixels)
    return data_set


def encode(data_set: Dataset, transfer_syntax_uid: str = EXPLICIT_LITTLE) -> bytes:
    """The data set as it travels, without file meta."""
    syntax = syntax_of(transfer_syntax_uid)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.little, syntax.implicit
    write_dataset(buffer, data_set)
    plain = buffer.getvalue()
    if not is_deflated(transfer_syntax_uid):
        return plain
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = stream.compress(plain) + stream.flush()
    return packed + b"\0" * (len(packed) % 2)


def rejection_note(*rejected: Dataset, title: str = "113001") -> Dataset:
    """A key object selection that takes films of one study back; `title`: the code value in DCM."""
    note = film(study="note", instance=title, pixels=None)
    note.SOPClassUID, note.Modality = KEY_OBJECT_SELECTION, "KO"
    note.StudyInstanceUID = rejected[0].StudyInstanceUID
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = title, "DCM", "Rejected"
    note.ConceptNameCodeSequence = [concept]
    references = []
    for data_set in rejected:
        reference = Dataset()
        reference.ReferencedSOPClassUID = data_set.SOPClassUID
        reference.ReferencedSOPInstanceUID = data_set.SOPInstanceUID
        references.append(reference)
    of_series = Dataset()
    of_series.SeriesInstanceUID = rejected[0].SeriesInstanceUID
    of_series.ReferencedSOPSequence = references
    of_study = Dataset()
    of_study.StudyInstanceUID = rejected[0].StudyInstanceUID
    of_study.ReferencedSeriesSequence = [of_series]
    note.CurrentRequestedProcedureEvidenceSequence = [of_study]
    return note


def described(
    data_set: Dataset, *, received_at: datetime | None = None, calling_ae_title: str = "CR1"
) -> Study:
    """The study of one data set, as the spool's reader would give it."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    return describe(
        data_set,
        path=PurePosixPath("studies") / f"{data_set.SOPInstanceUID}.dcm",
        sha256=Sha256("0" * 64),
        received_at=received_at or datetime(2026, 11, 20, 1, 16, tzinfo=UTC),
        calling_ae_title=calling_ae_title,
        zone=ZoneInfo("Asia/Ho_Chi_Minh"),
    )


def marked_film() -> Dataset:
    """A film whose every text says MARKER, to be looked for where no patient may appear."""
    data_set = film(study="marked")
    for keyword in (
        "PatientID",
        "StudyDescription",
        "SeriesDescription",
        "AccessionNumber",
        "InstitutionName",
        "StudyID",
        "StationName",
        "Manufacturer",
        "ImageComments",
        "BodyPartExamined",
        "IssuerOfPatientID",
    ):
        setattr(data_set, keyword, MARKER)
    data_set.PatientName = data_set.ReferringPhysicianName = f"{MARKER}^{MARKER}"
    return data_set
