"""The outlines of a test volume, for `service.trial`: what our segmentations look like, of nobody's body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from hoichan import __version__
from hoichan.encoding.bytes_of import bytes_of
from hoichan.encoding.seg import encode_seg
from hoichan.encoding.source import shared_header
from hoichan.encoding.specimen import outlined, specimen_slices
from hoichan.reporting.deliveries import SEG_FORMS
from hoichan.settings import Site
from hoichan.types import Code, Document, DocumentKind, Segment, Sha256, Study, VolumeManifest, VolumeSpec

_EDGE = 16  # pixels
_PATTERN = VolumeManifest(
    name="test-pattern",
    algorithm_name="Test pattern",
    algorithm_version="1",
    algorithm_source="Hội Chẩn",
    intended_use={},
    disclaimer={},
    weights=PurePosixPath("none"),
    weights_sha256=Sha256("0" * 64),
    accepts=VolumeSpec(
        modality="MR",
        spacing_mm=(1.0, 1.0, 3.0),
        spacing_tolerance_mm=0.1,
        smallest=(1, 1, 1),
        largest=(512, 512, 512),
    ),
    window=None,
    multiple_of=1,
    segments=(
        Segment(
            channel=1,
            display={"vi": "Khối thử", "en": "Test block"},
            code=Code(
                code_value="91723000", coding_scheme_designator="SCT", code_meaning="Anatomical Structure"
            ),
            region=None,
        ),
    ),
    license="Apache-2.0",
    status="research",
    root=PurePosixPath("."),
)


def outlines(
    study: Study, site: Site, now: datetime, *, patient_id: str
) -> dict[DocumentKind | None, Sequence[Document]]:
    """Slices of the test study with a block outlined in them, in each form. `now` is aware."""
    slices, zone = specimen_slices(now, patient_id=patient_id), timezone(now.utcoffset() or timedelta())
    header = shared_header(study, slices[0], zone)
    labels = outlined()
    soft = labels.astype(np.float32)
    for step in range(1, _EDGE):  # sidewards it fades, as probabilities do
        soft = np.maximum(soft, np.roll(labels, step, axis=2) * np.float32(1 - step / _EDGE))
    values: Mapping[DocumentKind, NDArray[np.uint8] | NDArray[np.float32]] = {
        SEG_FORMS["binary"]: labels,
        SEG_FORMS["fractional"]: soft[..., None],
    }
    images = [_document(DocumentKind.SC, one, _whole(one)) for one in slices]
    made: dict[DocumentKind | None, Sequence[Document]] = {}
    for kind, outline in values.items():
        segmentation = encode_seg(
            header,
            slices,
            outline,
            _PATTERN,
            created_at=now,
            zone=zone,
            software_version=__version__,
            facility_code=site.facility_code,
            institution_name=site.name,
        )
        assert segmentation is not None  # a block is outlined
        made[kind] = [*images, _document(kind, segmentation, bytes_of(segmentation))]
    return made


def _whole(one: Dataset) -> bytes:
    stream = BytesIO()
    one.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _document(kind: DocumentKind, data_set: Dataset, content: bytes) -> Document:
    return Document(
        kind=kind,
        uid=str(data_set.SOPInstanceUID),
        sop_class_uid=str(data_set.SOPClassUID),
        media_type="application/dicom",
        content=content,
    )
