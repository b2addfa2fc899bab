"""Measured volumes in the structured report: one measurement group a part.

Where a receiver gets the segmentation, a volumetric ROI group (TID 1411) refers to the segment; else the
group (TID 1501) refers to the slice that shows most of the part. A signed report has those that a person
stands for, each with its slice; what nobody judged stays in the machine's own report, its predecessor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import highdicom as hd
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset

from hoichan import codes
from hoichan.encoding.equipment import manifest_of
from hoichan.encoding.images import (
    SEGMENTATION_STORAGE,
    segment_tracking_uid,
    segmentation_series_uid,
)
from hoichan.encoding.source import DocumentContext, KeyImage
from hoichan.types import Code, Measurement
from hoichan.uids import derived_uid

SOURCE_SERIES = ("121232", "Source series for segmentation")
ANATOMICAL_STRUCTURE = CodedConcept("91723000", "SCT", "Anatomical structure")
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")  # CID 7162


def measurement_groups(context: DocumentContext, images: Mapping[Any, KeyImage]) -> list[Any]:
    """The groups, by series and part. `images`: by SOP Instance UID."""
    return [
        _group(context, one, number, images[one.sop_instance_uid])
        for number, one in enumerate(context.report.measurements, start=1)
        if one.sop_instance_uid in images
    ]


def segmentation_headers(context: DocumentContext) -> list[Dataset]:
    """What highdicom needs of each segmentation that a group refers to, to list it as evidence."""
    if context.report.review is not None:
        return []
    headers = []
    for uid in dict.fromkeys(_drawn(context, one) for one in context.report.measurements):
        if uid:
            header = context.nameless_header
            header.SOPClassUID, header.SOPInstanceUID = SEGMENTATION_STORAGE, uid
            header.SeriesInstanceUID, header.Modality = segmentation_series_uid(uid), "SEG"
            headers.append(header)
    return headers


def _drawn(context: DocumentContext, one: Measurement) -> str:
    """SOP Instance UID of the segmentation that some receiver gets; "" where none does."""
    return one.segmentations.get(context.segmentations, "")


def _group(context: DocumentContext, one: Measurement, number: int, image: KeyImage) -> Any:  # noqa: ANN401
    drawn = _drawn(context, one)
    signed = context.report.review is not None
    last = derived_uid("volume", one.judged_as) if signed else derived_uid(context.uid("m"), number)
    identity = segment_tracking_uid(drawn, one.segment_number) if drawn else last
    common: dict[str, Any] = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=identity, identifier=f"V-{one.code.code_value}"),
        "finding_type": _concept(one.code),
        "finding_category": ANATOMICAL_STRUCTURE,
        "finding_sites": [hd.sr.FindingSite(_concept(one.region))] if one.region is not None else None,
        "measurements": [
            hd.sr.Measurement(
                _concept(codes.VOLUME),
                one.value,
                _concept(codes.MILLILITRE),
                # TID 1419 row 19; none where a person gave the number
                algorithm_id=_algorithm(context, one) if one.algorithm_name else None,
            )
        ],
    }
    if signed or not drawn:  # who gets the signed report may never have had the outlines
        instance = image.instance
        source = hd.sr.SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid)
        return hd.sr.MeasurementsAndQualitativeEvaluations(source_images=[source], **common)
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=SEGMENTATION_STORAGE,
            sop_instance_uid=drawn,
            segment_number=one.segment_number,
            source_series=hd.sr.SourceSeriesForSegmentation(one.series_instance_uid),
        ),
        **common,
    )
    for item in group[0].ContentSequence:
        name = item.ConceptNameCodeSequence[0]
        if name.CodeValue == SOURCE_SERIES[0]:  # highdicom spells it with capitals
            name.CodeMeaning = SOURCE_SERIES[1]
    return group


def _algorithm(context: DocumentContext, one: Measurement) -> hd.sr.AlgorithmIdentification:
    manifest = manifest_of(context.report, one)
    parameters = [f"reference={codes.NO_REFERENCE['en']}"]
    if manifest is not None:
        parameters += [f"model_sha256={manifest.weights_sha256}", f"status={manifest.status}"]
        if manifest.disclaimer.get("en"):
            parameters.append(f"disclaimer={manifest.disclaimer['en']}")
    return hd.sr.AlgorithmIdentification(
        name=one.algorithm_name,
        version=one.algorithm_version,
        manufacturer=manifest.algorithm_source if manifest is not None else None,
        parameters=parameters,
        family=ARTIFICIAL_INTELLIGENCE,
    )


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.code_value, code.coding_scheme_designator, code.code_meaning)
