"""The page as an Encapsulated PDF in the study it speaks of (PS3.3 A.45.1)."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from hoichan.encoding.equipment import equipment, stamp
from hoichan.encoding.images import SC_IMAGE_STORAGE, key_picture_uid
from hoichan.encoding.source import DocumentContext

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER = 9007
TITLES = {"vi": "Kết quả AI (chưa xác nhận)", "en": "AI result (unverified)"}
SIGNED_SERIES_NUMBER = 9017
SIGNED_TITLES = {"vi": "Kết quả chẩn đoán hình ảnh", "en": "Imaging report"}


def encode_pdf(context: DocumentContext, page: bytes) -> Dataset:
    """The object, ready to be written; `page` is the PDF."""
    document = context.nameless_header
    document.SOPClassUID, document.SOPInstanceUID = ENCAPSULATED_PDF, context.uid("pdf")
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.Modality, document.ConversionType = "DOC", "WSD"
    document.SeriesInstanceUID = context.uid("pdf-series")
    signed = context.report.review is not None
    document.SeriesNumber, document.InstanceNumber = SIGNED_SERIES_NUMBER if signed else SERIES_NUMBER, 1
    document.SeriesDescription = "Report (verified)" if signed else "AI report (unverified)"
    maker = equipment(context)
    document.Manufacturer = maker["manufacturer"]
    document.ManufacturerModelName = maker["manufacturer_model_name"]
    document.SoftwareVersions = maker["software_versions"]
    document.DeviceSerialNumber = maker["device_serial_number"]
    document.InstitutionName = context.institution_name
    document.BurnedInAnnotation = "YES"  # the page names the patient
    document.DocumentTitle = (SIGNED_TITLES if signed else TITLES)[context.language]
    document.AcquisitionDateTime = ""
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator = "18748-4", "LN"
    title.CodeMeaning = "Diagnostic imaging study"
    document.ConceptNameCodeSequence = Sequence([title])
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    document.EncapsulatedDocumentLength = len(page)
    document.SourceInstanceSequence = Sequence([_reference(SC_IMAGE_STORAGE, key_picture_uid(context))])
    stamp(document, context)
    return document


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
