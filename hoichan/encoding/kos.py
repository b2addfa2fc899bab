"""A rejection note for a former result of ours (PS3.16 TID 2010, IHE IOCM): takes back all its objects.

Archives that follow IOCM hide what the note names; the note says nothing about the images themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import highdicom as hd
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset

from hoichan.encoding.equipment import devices, equipment, stamp
from hoichan.encoding.images import SC_IMAGE_STORAGE, segmentation_series_uid
from hoichan.encoding.source import DocumentContext
from hoichan.encoding.sr import COMPREHENSIVE_3D_SR
from hoichan.types import DocumentKind, RefusalCode, ReportObject, Review, ReviewKind, Verdict
from hoichan.uids import derived_uid

SERIES_NUMBER = 9021
REJECTED_FOR_QUALITY = CodedConcept("113001", "DCM", "Rejected for Quality Reasons")
TITLE_MODIFIER = CodedConcept("113011", "DCM", "Document Title Modifier")
OTHER_FAILURE = CodedConcept("111220", "DCM", "Other failure")  # CID 7011
# Modality, and what the series is derived by ("": the object itself).
SERIES: Mapping[DocumentKind, tuple[str, str]] = {
    DocumentKind.SR: ("SR", "sr-series"),
    DocumentKind.SR_COMPREHENSIVE: ("SR", "sr-series"),
    DocumentKind.SR_ENHANCED: ("SR", "sr-series"),
    DocumentKind.SC: ("OT", "sc-series"),
    DocumentKind.SEG: ("SEG", ""),
    DocumentKind.SEG_FRACTIONAL: ("SEG", ""),
    DocumentKind.GSPS: ("PR", "gsps-series"),
    DocumentKind.PDF: ("DOC", "pdf-series"),
}
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


def encode_kos(
    context: DocumentContext, former_objects: Callable[[str], Sequence[ReportObject]] | None = None
) -> Dataset | None:
    """The note, ready to be written; None where nothing is taken back.

    `former_objects`: what was written of a report, by its UID; without it its SR and first picture are named.
    """
    review = context.report.review
    former = review.judged if review is not None else context.report.predecessor
    if former is None or not withdraws(context):
        return None
    written = former_objects(former) if former_objects is not None else ()
    taken_back = [_object(context, one, former) for one in written if one.kind in SERIES] or [
        _object(context, one, former) for one in _least(former)
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
    said |= {one.verdict for one in review.volumes}
    return review.kind is ReviewKind.FINAL and said == {Verdict.REJECTED}


def _mend(document: Dataset) -> None:
    """TID 2010: a rejection names its reason, and the objects it lists have no concept name."""
    modifier = hd.sr.CodeContentItem(TITLE_MODIFIER, OTHER_FAILURE, relationship_type="HAS CONCEPT MOD")
    document.ContentSequence.insert(0, modifier)
    for item in document.ContentSequence:
        if item.ValueType in ("COMPOSITE", "IMAGE") and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence


def _least(former: str) -> Sequence[ReportObject]:
    """What every report has."""
    return (
        ReportObject(kind=DocumentKind.SR, sop_class_uid=COMPREHENSIVE_3D_SR, sop_instance_uid=former),
        ReportObject(
            kind=DocumentKind.SC,
            sop_class_uid=SC_IMAGE_STORAGE,
            sop_instance_uid=derived_uid(former, "sc"),
        ),
    )


def _object(context: DocumentContext, one: ReportObject, former: str) -> Dataset:
    """The header of an object of the former report, as highdicom wants to see it."""
    header = context.nameless_header
    header.SOPClassUID, header.SOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
    modality, series = SERIES[one.kind]
    header.Modality = modality
    header.SeriesInstanceUID = (
        derived_uid(former, series) if series else segmentation_series_uid(one.sop_instance_uid)
    )
    if modality in ("OT", "SEG"):
        header.Rows = header.Columns = 1  # highdicom tells an image by them
    return header
