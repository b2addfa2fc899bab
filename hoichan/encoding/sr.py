"""The report as a structured report: TID 1500 (PS3.16, IHE AIR), in each SOP class that receivers take.

Positives are measurement groups: a planar ROI group (TID 1410) where there is geometry, else TID 1501.
Negatives never stand in a group, because a viewer would show "Finding: ..."; they are qualitative
evaluations with the value Absent. The object is UNVERIFIED and PRELIMINARY: no person has read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence

from hoichan import codes
from hoichan.encoding import signature
from hoichan.encoding.equipment import devices, equipment, manifest_of, stamp
from hoichan.encoding.images import SC_IMAGE_STORAGE, picture_series_uid, pictures
from hoichan.encoding.source import DocumentContext as Context
from hoichan.encoding.source import KeyImage, body_part
from hoichan.encoding.sr_tree import give_tree, trunk
from hoichan.encoding.sr_volumes import measurement_groups, segmentation_headers
from hoichan.reporting.signed import is_added
from hoichan.types import Code, Evidence, Finding, GraphicType, Outcome, Presence
from hoichan.uids import derived_uid

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
FORMS = {  # the same tree in each; it has neither 3-D coordinates nor references between items
    COMPREHENSIVE_3D_SR: hd.sr.Comprehensive3DSR,
    COMPREHENSIVE_SR: hd.sr.ComprehensiveSR,
    ENHANCED_SR: hd.sr.EnhancedSR,
}
SERIES_NUMBER = 9001
LANGUAGES = {"vi": "Vietnamese", "en": "English"}  # RFC 5646
Group = hd.sr.MeasurementsAndQualitativeEvaluations | hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
PARTIAL = (Outcome.PARTIAL_WITH_FINDINGS, Outcome.PARTIAL_WITHOUT_FINDINGS)

CHEST_FILM = CodedConcept("399208008", "SCT", "Plain chest X-ray")
IMAGING_PROCEDURE = CodedConcept("363679005", "SCT", "Imaging procedure")  # CID 100
BOUNDED_BY = CodedConcept("75958009", "SCT", "Bounded by")  # CID 219
CENTER = CodedConcept("111010", "DCM", "Center")  # CID 219
CLINICAL_FINDING = CodedConcept("404684003", "SCT", "Clinical finding")
CERTAINTY = CodedConcept("111012", "DCM", "Certainty of Finding")
PERCENT = CodedConcept("%", "UCUM", "Percent")
PIXELS = CodedConcept("{pixels}", "UCUM", "Pixels")
PRIORITY = CodedConcept("260870009", "SCT", "Priority")
VISUAL_EXPLANATION = CodedConcept("130401", "DCM", "Visual explanation")
QUALITATIVE_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
IMAGING_MEASUREMENTS = "126010"
SUMMARY = CodedConcept("111017", "DCM", "CAD Processing and Findings Summary")
COMMENT = CodedConcept("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")  # CID 7162
SOURCE = CodedConcept("260753009", "SCT", "Source")
MODALITIES = {  # CID 29
    "CR": "Computed Radiography", "DX": "Digital Radiography", "CT": "Computed Tomography",
    "MR": "Magnetic Resonance", "MG": "Mammography", "US": "Ultrasound", "RF": "Radiofluoroscopy",
    "XA": "X-Ray Angiography", "PT": "Positron emission tomography", "NM": "Nuclear Medicine"}  # fmt: skip


def series_uid(report_uid: str) -> str:
    """The series of a report's SR; derivable, so that a successor can point to it."""
    return derived_uid(report_uid, "sr-series")


def sr_uid(report_uid: str, sop_class_uid: str) -> str:
    """SOP Instance UID of a report's SR in one SOP class; the report's own in the first of them."""
    return report_uid if sop_class_uid == COMPREHENSIVE_3D_SR else derived_uid(report_uid, sop_class_uid)


def encode_sr(context: Context, sop_class_uid: str = COMPREHENSIVE_3D_SR) -> Dataset:
    """The SR object in one of FORMS, ready to be written; the same report gives the same bytes."""
    report, review = context.report, context.report.review
    signer = (
        {"verifying_observer_name": "Reader", "verifying_organization": context.institution_name}
        if review is not None
        else {}
    )  # the name follows in `signature.verify`: highdicom quotes what it finds odd
    content, evidence = _content(context), _evidence(context)
    document: Dataset = FORMS[sop_class_uid](
        evidence=evidence,
        content=trunk(content),
        series_instance_uid=series_uid(report.report_uid),
        series_number=signature.SERIES_NUMBER if review else SERIES_NUMBER,
        sop_instance_uid=sr_uid(report.report_uid, sop_class_uid),
        instance_number=1,
        series_description=signature.SERIES_DESCRIPTION if review else "AI Results (unverified)",
        is_complete=review is not None or report.outcome not in PARTIAL,
        is_final=review is not None,
        is_verified=review is not None,
        institution_name=context.institution_name,
        performed_procedure_codes=[_procedure(context)],
        requested_procedures=_requests(context),
        specific_character_set="ISO_IR 192",
        **signer,
        **equipment(context),
    )
    give_tree(document, content, evidence)
    if report.outcome in PARTIAL and review is None:
        document.CompletionFlagDescription = codes.OUTCOMES[report.outcome].code_meaning
    former = signature.replaced(review) if review else (report.predecessor,)
    items = [_predecessor(context, uid, sop_class_uid) for uid in former if uid is not None]
    if items:
        document.PredecessorDocumentsSequence = items
    stamp(document, context)
    if review is not None:
        signature.verify(document, context, review)
    return document


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.code_value, code.coding_scheme_designator, code.code_meaning)


def _procedure(context: Context) -> CodedConcept:
    """The imaging procedure that was analysed, not the algorithm (IHE AIR)."""
    key = context.key
    if key is not None and key.series.modality in ("CR", "DX") and body_part(context.source) == "CHEST":
        return CHEST_FILM
    return IMAGING_PROCEDURE


def _images(context: Context) -> list[KeyImage]:
    """The images the report speaks of: every analysed one, or the key image of what was not analysed."""
    analysed = {result.sop_instance_uid for result in context.report.results}
    analysed |= {finding.sop_instance_uid for finding in context.report.findings}
    analysed |= {one.sop_instance_uid for one in context.report.measurements}
    images = [
        KeyImage(series=series, instance=instance)
        for series in context.study.series
        for instance in series.instances
        if instance.sop_instance_uid in analysed
    ]
    return images or ([context.key] if context.key is not None else [])


def _evidence(context: Context) -> list[Dataset]:
    """Headers of every instance that the tree refers to; highdicom files them by series.

    A picture is the first: highdicom copies the patient from there, and of a private SOP class it cannot.
    """
    evidence = []
    for uid in pictures(context.study, context.report).values():
        picture = context.nameless_header
        picture.SeriesInstanceUID = picture_series_uid(context.report)
        picture.SOPInstanceUID, picture.SOPClassUID = uid, SC_IMAGE_STORAGE
        picture.Modality = "OT"
        evidence.append(picture)
    for image in _images(context):
        header = context.nameless_header
        header.SeriesInstanceUID = image.series.series_instance_uid
        header.SOPInstanceUID = image.instance.sop_instance_uid
        header.SOPClassUID = image.instance.sop_class_uid
        header.Modality = image.series.modality
        evidence.append(header)
    return evidence + segmentation_headers(context)


def _content(context: Context) -> Dataset:
    """The tree: observer, procedure, image library, groups of positives, qualitative evaluations."""
    images = {image.instance.sop_instance_uid: image for image in _images(context)}
    review = context.report.review
    groups: list[Any] = [
        _group(context, finding, number, images[finding.sop_instance_uid])
        for number, finding in enumerate(context.report.positives, start=1)
        if finding.sop_instance_uid in images
    ] + measurement_groups(context, images)
    language = LANGUAGES[context.language]
    root = hd.sr.MeasurementReport(
        observation_context=signature.observer(context, review) if review else _observer(context),
        procedure_reported=_procedure(context),
        imaging_measurements=groups or [_placeholder()],
        title=CodedConcept("126000", "DCM", "Imaging Measurement Report"),
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            CodedConcept(context.language, "RFC5646", language)
        ),
    )[0]
    if not groups:  # highdicom insists on a group; a report without positives has none
        _drop(root, IMAGING_MEASUREMENTS)
    if images:
        _insert_before_measurements(root, _image_library(images.values()))
    root.ContentSequence.append(_qualitative_evaluations(context))
    return root


def _observer(context: Context) -> hd.sr.ObservationContext:
    device = devices(context)[0]
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=device.uid,
        name=device.label,
        manufacturer_name=device.manufacturer,
        model_name=device.name,
        serial_number=context.facility_code,
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=attributes,
        )
    )


def _algorithm(context: Context, finding: Finding) -> hd.sr.AlgorithmIdentification:
    """TID 4019; threshold, checksum, calibration and standing as parameters, so that a reader can judge."""
    manifest = manifest_of(context.report, finding)
    parameters = [f"threshold={finding.operating_point:g}", f"calibration={finding.calibration}"]
    if manifest is not None:
        parameters.append(f"model_sha256={manifest.weights_sha256}")
        parameters.append(f"status={manifest.status}")
        if manifest.disclaimer.get("en"):
            parameters.append(f"disclaimer={manifest.disclaimer['en']}")
    return hd.sr.AlgorithmIdentification(
        name=finding.algorithm_name,
        version=finding.algorithm_version,
        manufacturer=manifest.algorithm_source if manifest is not None else None,
        parameters=parameters,
        family=ARTIFICIAL_INTELLIGENCE,
    )


def _group(context: Context, finding: Finding, number: int, image: KeyImage) -> Group:
    """One positive: code, site, certainty in percent, tier, algorithm, and where to look."""
    term = codes.FINDINGS[finding.key]
    instance = image.instance
    common: dict[str, Any] = {
        "tracking_identifier": hd.sr.TrackingIdentifier(
            uid=signature.tracking_uid(context, finding),
            identifier=f"F-{finding.key}-{number}",
        ),
        "finding_type": _concept(term.code),
        "finding_category": CLINICAL_FINDING,
        "finding_sites": [hd.sr.FindingSite(_concept(term.site))] if term.site is not None else None,
        "algorithm_id": _algorithm(context, finding) if not is_added(finding) else None,
        "measurements": [hd.sr.Measurement(CERTAINTY, round(finding.probability * 100, 1), PERCENT)]
        if not is_added(finding)
        else [],
        "qualitative_evaluations": [
            hd.sr.QualitativeEvaluation(PRIORITY, _concept(codes.ACTIONABLE[finding.tier]))
        ],
    }
    review = context.report.review
    if review is not None:
        common["finding_sites"] = signature.sites(finding, review)
        common["measurements"] = [*common["measurements"], *signature.size(finding, review)]
    shape = drawable(finding.evidence)
    group: Group
    if shape is None:
        source = hd.sr.SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid)
        group = hd.sr.MeasurementsAndQualitativeEvaluations(source_images=[source], **common)
    else:
        graphic_type, points = shape
        group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=hd.sr.ImageRegion(
                graphic_type=graphic_type.value,
                graphic_data=_inside(points, instance.rows, instance.columns),
                source_image=hd.sr.SourceImageForRegion(instance.sop_class_uid, instance.sop_instance_uid),
            ),
            geometric_purpose=CENTER if graphic_type is GraphicType.POINT else BOUNDED_BY,
            **common,
        )
    picture = pictures(context.study, context.report).get(finding.sop_instance_uid)
    if picture is not None and not is_added(finding):
        group[0].ContentSequence.append(
            hd.sr.ImageContentItem(
                VISUAL_EXPLANATION, SC_IMAGE_STORAGE, picture, relationship_type="CONTAINS"
            )
        )
    return group


def drawable(evidence: Iterable[Evidence]) -> tuple[GraphicType, NDArray[np.float64]] | None:
    """The first shape that can be drawn, as (n, 2) float64 (column, row); an open polyline is closed."""
    for item in evidence:
        if item.graphic_type is None or len(item.graphic_data) < 2 or len(item.graphic_data) % 2:
            continue
        points = np.asarray(item.graphic_data, dtype=np.float64).reshape(-1, 2)
        if item.graphic_type is GraphicType.POLYLINE and not np.array_equal(points[0], points[-1]):
            points = np.vstack([points, points[:1]])
        return item.graphic_type, points
    return None


def _inside(points: NDArray[np.float64], rows: int | None, columns: int | None) -> NDArray[np.float64]:
    """Clipped to the outer corners of the stored image (PS3.3 C.18.6.1.2)."""
    if not rows or not columns:
        return points
    return np.clip(points, 0.0, np.array([columns, rows], dtype=np.float64))


def _placeholder() -> hd.sr.MeasurementsAndQualitativeEvaluations:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=derived_uid("placeholder"), identifier="none")
    )


def _drop(root: Dataset, code_value: str) -> None:
    kept = [item for item in root.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue != code_value]
    root.ContentSequence = hd.sr.ContentSequence(kept)


def _insert_before_measurements(root: Dataset, library: hd.sr.ContentItem) -> None:
    items = list(root.ContentSequence)
    at = next((i for i, item in enumerate(items) if item.ValueType == "CONTAINER"), len(items))
    root.ContentSequence = hd.sr.ContentSequence([*items[:at], library, *items[at:]])


def _container(name: CodedConcept, items: Iterable[hd.sr.ContentItem]) -> hd.sr.ContainerContentItem:
    container = hd.sr.ContainerContentItem(name, relationship_type="CONTAINS")
    container.ContentSequence = hd.sr.ContentSequence(list(items))
    return container


def _image_library(images: Iterable[KeyImage]) -> hd.sr.ContainerContentItem:
    """TID 1600. Built by hand: highdicom's own insists on spacing and orientation, which old films lack."""
    entries = []
    for image in images:
        instance, series = image.instance, image.series
        modality = series.modality if series.modality in MODALITIES else "OT"
        descriptors: list[hd.sr.ContentItem] = [
            hd.sr.CodeContentItem(
                CodedConcept("121139", "DCM", "Modality"),
                CodedConcept(modality, "DCM", MODALITIES.get(modality, "Other Modality")),
                relationship_type="HAS ACQ CONTEXT",
            )
        ]
        for name, value in (
            (CodedConcept("110910", "DCM", "Pixel Data Rows"), instance.rows),
            (CodedConcept("110911", "DCM", "Pixel Data Columns"), instance.columns),
        ):
            if value:
                descriptors.append(
                    hd.sr.NumContentItem(name, value, PIXELS, relationship_type="HAS ACQ CONTEXT")
                )
        entry = hd.sr.ImageContentItem(
            SOURCE, instance.sop_class_uid, instance.sop_instance_uid, relationship_type="CONTAINS"
        )
        entry.ContentSequence = hd.sr.ContentSequence(descriptors)
        entries.append(entry)
    group = _container(CodedConcept("126200", "DCM", "Image Library Group"), entries)
    return _container(CodedConcept("111028", "DCM", "Image Library"), [group])


def _qualitative_evaluations(context: Context) -> Dataset:
    """TID 1500 row 12: negatives and undetermined, the outcome, and the words a reader must see."""
    report, language = context.report, context.language
    if report.review is not None:
        said = signature.words(context, report, report.review)
        return _container(QUALITATIVE_EVALUATIONS, [*signature.doubtful(report), *said])
    items: list[hd.sr.ContentItem] = []
    for finding in report.findings:
        if finding.presence is not Presence.PRESENT:
            items.append(
                hd.sr.CodeContentItem(
                    _concept(codes.FINDINGS[finding.key].code),
                    _concept(codes.PRESENCE[finding.presence]),
                    relationship_type="CONTAINS",
                )
            )
    items.append(
        hd.sr.CodeContentItem(SUMMARY, _concept(codes.OUTCOMES[report.outcome]), relationship_type="CONTAINS")
    )
    for text in (codes.BANNER[language], report.conclusion[language], report.disclaimer[language]):
        items.append(hd.sr.TextContentItem(COMMENT, text, relationship_type="CONTAINS"))
    return _container(QUALITATIVE_EVALUATIONS, items)


def _requests(context: Context) -> list[Dataset] | None:
    """(0040,A370), with the accession number, so that a RIS can match the result to its order."""
    if not context.study.accession_number:
        return None
    request = Dataset()
    request.StudyInstanceUID = context.study.study_instance_uid
    request.ReferencedStudySequence = Sequence()
    request.AccessionNumber = context.study.accession_number
    request.PlacerOrderNumberImagingServiceRequest = ""
    request.FillerOrderNumberImagingServiceRequest = ""
    request.RequestedProcedureID = ""
    request.RequestedProcedureDescription = ""
    request.RequestedProcedureCodeSequence = Sequence()
    return [request]


def _predecessor(context: Context, report_uid: str, sop_class_uid: str) -> Dataset:
    """(0040,A360): the report of the revision before, which this one replaces."""
    instance = Dataset()
    instance.ReferencedSOPClassUID = sop_class_uid
    instance.ReferencedSOPInstanceUID = sr_uid(report_uid, sop_class_uid)
    series = Dataset()
    series.SeriesInstanceUID = series_uid(report_uid)
    series.ReferencedSOPSequence = Sequence([instance])
    study = Dataset()
    study.StudyInstanceUID = context.study.study_instance_uid
    study.ReferencedSeriesSequence = Sequence([series])
    return study
