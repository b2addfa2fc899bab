"""Outlined parts of a volume as a DICOM segmentation over its slices (PS3.3 A.51): binary, or probabilities.

It lies in the Frame of Reference of its source, so that a viewer overlays it without any registration. An
object with nothing in it is not made: viewers show it as a broken series.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence as Slices
from copy import deepcopy
from datetime import datetime, timezone
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset

from hoichan.encoding.equipment import Device, coding_schemes, contributions, long_string
from hoichan.encoding.images import segment_tracking_uid, segmentation_series_uid
from hoichan.encoding.source import offset_text
from hoichan.types import Code, Segment, VolumeManifest
from hoichan.uids import derived_uid, device_uid, segmentation_uid

SERIES_NUMBER = 9003
ANATOMICAL_STRUCTURE = CodedConcept("91723000", "SCT", "Anatomical Structure")  # CID 7150
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")  # CID 7162
LARGEST_FRACTION = 255  # (0062,000E)
# By Segment Number, again from the first after the last: the same in every viewer, and told apart by people
# who do not see red and green alike (Okabe and Ito 2008). Without one OHIF warns its reader at each opening.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
_GEOMETRY = (  # what places a slice; nothing else of it is copied
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "Rows",
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
)


def encode_seg(
    header: Dataset,
    slices: Slices[Dataset],
    values: NDArray[np.uint8] | NDArray[np.float32],
    manifest: VolumeManifest,
    *,
    created_at: datetime,
    zone: timezone,
    software_version: str,
    facility_code: str = "",
    institution_name: str = "",
    sop_instance_uid: str = "",
) -> Dataset | None:
    """The segmentation of one series; None where nothing is outlined.

    `header`: patient and study attributes as `shared_header` gives them. `slices`: (n) headers in the order
    of `values`, along one line. `values`: (n, rows, columns) uint8 labels (the channel of each segment, 0 for
    none) for a BINARY object; (n, rows, columns, segments) float32 probabilities, 0..1, for a FRACTIONAL one.
    The same inputs give the same object, UIDs included; `sop_instance_uid` in the place of a derived one.

    Raises ValueError where the slices have not one common Frame of Reference, or `values` another shape.
    """
    _check(slices, values, manifest)
    if not values.any():
        return None
    seed = sop_instance_uid or _seed(slices, values, manifest)
    device = _device(manifest)
    fractional, distance = values.ndim == 4, _distance(slices)
    named = {segment.channel: number for number, segment in enumerate(manifest.segments, start=1)}
    document = hd.seg.Segmentation(
        source_images=[_reference(header, one, distance) for one in slices],
        pixel_array=values if fractional else _numbered(values, named),
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        fractional_type="PROBABILITY",
        max_fractional_value=LARGEST_FRACTION,
        segment_descriptions=[
            _description(segment, number, manifest, seed)
            for number, segment in enumerate(manifest.segments, start=1)
        ],
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=[float(v) for v in slices[0].PixelSpacing],
            slice_thickness=distance,
            spacing_between_slices=distance,
        ),
        series_instance_uid=segmentation_series_uid(seed),
        series_number=SERIES_NUMBER,
        series_description="AI segments (unverified)",
        sop_instance_uid=seed,
        instance_number=1,
        content_label="AI",
        content_description="AI segments (unverified)",
        institution_name=institution_name or None,
        **_equipment(device, software_version, facility_code),
        specific_character_set="ISO_IR 192",
    )
    _stamp(document, header, device, created_at.astimezone(zone), zone)
    _settle_dimensions(document, derived_uid(seed, "dimensions"))
    return document


def _check(slices: Slices[Dataset], values: NDArray[Any], manifest: VolumeManifest) -> None:
    frames = {str(one.get("FrameOfReferenceUID", "") or "") for one in slices}
    if len(frames) != 1 or "" in frames:
        raise ValueError("the slices have not one common Frame of Reference")
    grid = (len(slices), int(slices[0].Rows), int(slices[0].Columns))
    if values.shape not in (grid, (*grid, len(manifest.segments))):
        raise ValueError("the labels have not the shape of the slices")
    if values.ndim == 3:
        unknown = set(np.unique(values).tolist()) - {0, *(segment.channel for segment in manifest.segments)}
        if values.dtype != np.uint8 or unknown:
            raise ValueError("a label stands for no segment")
    elif not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise ValueError("a probability lies outside 0..1")


def _device(manifest: VolumeManifest) -> Device:
    return Device(
        uid=device_uid(manifest.digest),
        name=manifest.algorithm_name,
        version=manifest.algorithm_version,
        manufacturer=manifest.algorithm_source,
        manifest=None,
    )


def _equipment(device: Device, software_version: str, facility_code: str) -> dict[str, Any]:
    """Enhanced General Equipment: none of it may be empty (PS3.3 C.7.5.2)."""
    return {
        "manufacturer": long_string(device.manufacturer),
        "manufacturer_model_name": long_string(device.name),
        "software_versions": [long_string(device.version), long_string(f"hoichan {software_version}")],
        "device_serial_number": long_string(facility_code) or device.uid,
    }


def _seed(slices: Slices[Dataset], values: NDArray[Any], manifest: VolumeManifest) -> str:
    """SOP Instance UID; of probabilities by their 256 steps."""
    kept = values if values.ndim == 3 else np.rint(values * LARGEST_FRACTION).astype(np.uint8)
    sha256 = hashlib.sha256(np.ascontiguousarray(kept).tobytes()).hexdigest()
    return segmentation_uid(manifest.digest, (one.SOPInstanceUID for one in slices), sha256)


def _numbered(labels: NDArray[Any], numbers: dict[int, int]) -> NDArray[np.uint8]:
    """Channels to Segment Numbers, which run from 1 without a gap (PS3.3 C.8.20.2)."""
    table = np.zeros(256, dtype=np.uint8)
    for channel, number in numbers.items():
        table[channel] = number
    return np.asarray(table[labels], dtype=np.uint8)


def _reference(header: Dataset, one: Dataset, distance: float) -> Dataset:
    """What highdicom needs of a slice; it never sees a name, which it would quote in a warning."""
    image = deepcopy(header)  # an element that is shared would lose its value in both
    image.PatientName = image.ReferringPhysicianName = ""
    for keyword in _GEOMETRY:
        if keyword in one:
            image[keyword] = one[keyword]
    image.SliceThickness = distance
    return image


def _distance(slices: Slices[Dataset]) -> float:
    """Of neighbours, mm, by their places: (0018,0050) and (0018,0088) of the source are often wrong."""
    first, last = (np.array(slices[i].ImagePositionPatient, dtype=float) for i in (0, -1))
    return round(float(np.linalg.norm(last - first)) / max(1, len(slices) - 1), 6)


def _description(
    segment: Segment, number: int, manifest: VolumeManifest, seed: str
) -> hd.seg.SegmentDescription:
    label = segment.display["en"]
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=long_string(f"{label} (AI)"),
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=_concept(segment.code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=long_string(manifest.algorithm_name),
            family=ARTIFICIAL_INTELLIGENCE,
            version=long_string(manifest.algorithm_version),
            source=long_string(manifest.algorithm_source),
            parameters={"model_sha256": manifest.weights_sha256, "status": manifest.status},
        ),
        tracking_uid=segment_tracking_uid(seed, number),
        tracking_id=long_string(f"S-{segment.code.code_value}"),
        anatomic_regions=[_concept(segment.region)] if segment.region is not None else None,
        display_color=CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
    )


def _stamp(document: Dataset, header: Dataset, device: Device, moment: datetime, zone: timezone) -> None:
    day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    document.ContentDate = document.InstanceCreationDate = document.SeriesDate = day
    document.ContentTime = document.InstanceCreationTime = document.SeriesTime = time
    document.TimezoneOffsetFromUTC = offset_text(zone)
    document.ContributingEquipmentSequence = contributions([device], day + time + offset_text(zone))
    document.CodingSchemeIdentificationSequence = coding_schemes(private=True)
    for keyword in ("PatientName", "ReferringPhysicianName", "IssuerOfPatientID", "StudyDescription"):
        if keyword in header:
            setattr(document, keyword, header.get(keyword))


def _settle_dimensions(document: Dataset, uid: str) -> None:
    """highdicom draws this UID by chance: the same inputs would not give the same object."""
    for item in (*document.DimensionOrganizationSequence, *document.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.code_value, code.coding_scheme_designator, code.code_meaning)
