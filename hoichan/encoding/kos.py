"""A rejection note for a former result of ours (PS3.16 TID 2010, IHE IOCM): takes back its SR and picture.

Archives that follow IOCM hide what the note names; the note says nothing about the images themselves.
"""

from __future__ import annotations

import highdicom as hd
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset

from hoichan.encoding.equipment import devices, equipment, stamp
from hoichan.encoding.images import SC_IMAGE_STORAGE
from hoichan.encoding.source import DocumentContext
from hoichan.encoding.sr import COMPREHENSIVE_3D_SR, series_uid
from hoichan.types import RefusalCode, Review, ReviewKind, Verdict
from hoichan.uids import derived_uid

SERIES_NUMBER = 9021
REJECTED_FOR_QUALITY = CodedConcept("113001", "DCM", "Rejected for Quality Reasons")
TITLE_MODIFIER = CodedConcept("113011", "DCM", "Document Title Modifier")
OTHER_FAILURE = CodedConcept("111220", "DCM", "Other failure")  # CID 7011
REASONS = {
    "vi": "Kết quả AI trước đây được rút lại: hình ảnh nguồn đã bị loại bỏ.",
    "en": "The former AI result is withdrawn: the images it was made from were rejected.",
}
REJECTED = {
    "vi": "Bác sĩ không xác nhận gợi ý nào của kết quả AI này.",
    "en": "A physician has confirmed none of the suggestions of this AI result.",
}


def withdraws(context: DocumentContext) -> bool:
    """Whether this report takes a former one back, and not only continues it."""
    report = context.report
    if report.review is not None:
        return _none_confirmed(report.review)
    rejected = any(refusal.code is RefusalCode.REJECTED_IMAGE for refusal in report.refusals)
    return report.predecessor is not None and rejected


def encode_kos(context: DocumentContext) -> Dataset | None:
    """The note, ready to be written; None where nothing is taken back."""
    review = context.report.review
    former = review.judged if review is not None else context.report.predecessor
    if former is None or not withdraws(context):
        return None
    taken_back = [
        _object(context, COMPREHENSIVE_3D_SR, former, series_uid(former), "SR"),
        _object(context, SC_IMAGE_STORAGE, derived_uid(former, "sc"), derived_uid(former, "sc-series"), "OT"),
    ]
    device = devices(context)[0]
    content = hd.ko.KeyObjectSelection(
        document_title=REJECTED_FOR_QUALITY,
        referenced_objects=taken_back,
        observer_device_context=hd.sr.ObserverContext(
            observer_type=CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=device.uid,
                name=device.label,
                manufacturer_name=device.manufacturer,
                model_name=device.name,
                serial_number=context.facility_code,
            ),
        ),
        description=(REASONS if review is None else REJECTED)[context.language],
    )
    maker = equipment(context)
    document = hd.ko.KeyObjectSelectionDocument(
        evidence=taken_back,
        content=content,
        series_instance_uid=context.uid("kos-series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=context.uid("kos"),
        instance_number=1,
        manufacturer=maker["manufacturer"],
        institution_name=context.institution_name,
        specific_character_set="ISO_IR 192",
    )
    document.ManufacturerModelName = maker["manufacturer_model_name"]
    document.SoftwareVersions = maker["software_versions"]
    document.SeriesDescription = "AI results withdrawn"
    _mend(document)
    stamp(document, context)
    return document


def _none_confirmed(review: Review) -> bool:
    """Whether a person rejected everything that the machine suggested, at the first signature."""
    said = {one.verdict for one in review.judgements if one.finding_id is not None}
    return review.kind is ReviewKind.FINAL and said == {Verdict.REJECTED}


def _mend(document: Dataset) -> None:
    """TID 2010: a rejection names its reason, and the objects it lists have no concept name."""
    modifier = hd.sr.CodeContentItem(TITLE_MODIFIER, OTHER_FAILURE, relationship_type="HAS CONCEPT MOD")
    document.ContentSequence.insert(0, modifier)
    for item in document.ContentSequence:
        if item.ValueType in ("COMPOSITE", "IMAGE") and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence


def _object(
    context: DocumentContext, sop_class_uid: str, sop_instance_uid: str, series: str, modality: str
) -> Dataset:
    """The header of an object of the former report, as highdicom wants to see it."""
    header = context.nameless_header
    header.SOPClassUID, header.SOPInstanceUID = sop_class_uid, sop_instance_uid
    header.SeriesInstanceUID, header.Modality = series, modality
    if sop_class_uid == SC_IMAGE_STORAGE:
        header.Rows = header.Columns = 1  # highdicom tells an image by them
    return header
