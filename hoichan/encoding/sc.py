"""The picture as a DICOM Secondary Capture in the study it speaks of (PS3.3 A.8.1)."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DA, TM, format_number_as_ds

from hoichan.encoding.equipment import devices, equipment, stamp
from hoichan.encoding.images import key_picture_uid, picture_series_uid
from hoichan.encoding.source import (
    UNPAIRED_BODY_PARTS,
    DocumentContext,
    body_part,
    laterality,
    patient_orientation,
)
from hoichan.types import Outcome

SERIES_NUMBER = 9002


def encode_sc(context: DocumentContext, picture: NDArray[np.uint8], number: int = 1) -> Dataset:
    """The Secondary Capture of a picture (rows, columns, 3) uint8 RGB; same input, same bytes.

    It is of the context's key image; `number`: its place among the pictures of the report. Baseline JPEG: a
    twentieth of what it would be without (ADR-0023); `hoichan.encoding.picture.uncompressed` undoes it.
    """
    header = context.nameless_header
    answered = context.report.outcome is not Outcome.NOT_ANALYSED
    orientation = patient_orientation(context.source)
    document = hd.sc.SCImage(
        pixel_array=np.ascontiguousarray(picture),
        transfer_syntax_uid=JPEGBaseline8Bit,
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=(
            "L",
            "F",
        ),  # set below: highdicom insists on one, and an unknown one is left empty
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=picture_series_uid(context.report),
        series_number=SERIES_NUMBER,
        sop_instance_uid=key_picture_uid(context),
        instance_number=number,
        patient_id=header.PatientID,
        patient_birth_date=header.PatientBirthDate or None,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate or None,
        study_time=header.StudyTime or None,
        specific_character_set="ISO_IR 192",
        series_description="AI picture (unverified)" if answered else "AI NOT ANALYSED (unverified)",
        institution_name=context.institution_name,
        **equipment(context),
    )
    document.PatientOrientation = list(orientation or ())
    document.ImageType = ["DERIVED", "SECONDARY"]
    document.ConversionType = "WSD"
    document.DateOfSecondaryCapture, document.TimeOfSecondaryCapture = (
        DA(context.created[0]),
        TM(context.created[1]),
    )
    document.BurnedInAnnotation = "YES"  # the findings and the banner; no text about the patient
    document.RecognizableVisualFeatures = "NO"
    _set_compression(document, picture.nbytes)
    _set_body_part(document, context)
    _set_derivation(document, context)
    stamp(document, context)
    return document


def _set_compression(document: Dataset, size_bytes: int) -> None:
    """That it was compressed with loss, and how (PS3.3 C.7.6.1.1.5): for ever, even when it is laid open."""
    (frame,) = generate_frames(document.PixelData, number_of_frames=1)
    document.LossyImageCompression = "01"
    document.LossyImageCompressionRatio = format_number_as_ds(round(size_bytes / len(frame), 2))
    document.LossyImageCompressionMethod = "ISO_10918_1"


def _set_body_part(document: Dataset, context: DocumentContext) -> None:
    """Laterality is there, at least empty, unless the body part is known not to be paired (PS3.3 C.7.3.1)."""
    part = body_part(context.source)
    if part:
        document.BodyPartExamined = part
    if part not in UNPAIRED_BODY_PARTS:
        document.Laterality = laterality(context.source)


def _set_derivation(document: Dataset, context: DocumentContext) -> None:
    models = ", ".join(device.label for device in devices(context))
    document.DerivationDescription = f"Film with class activation map and finding list by {models}"
    if context.key is None:
        return
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    source = Dataset()
    source.ReferencedSOPClassUID = context.key.instance.sop_class_uid
    source.ReferencedSOPInstanceUID = context.key.instance.sop_instance_uid
    source.PurposeOfReferenceCodeSequence = Sequence([purpose])
    document.SourceImageSequence = Sequence([source])
