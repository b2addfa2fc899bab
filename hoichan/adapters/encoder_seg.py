"""The segmentations of a report, from the outlines of its networks and the slices in the spool."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from hoichan.analysis.imaging import DECODING_ERRORS
from hoichan.encoding.source import DocumentContext
from hoichan.ports import Spool
from hoichan.types import VolumeManifest, VolumeResult

log = structlog.get_logger()


def encode_segmentations(context: DocumentContext, spool: Spool, form: str) -> Iterator[Dataset]:
    """One object a series in which something was outlined. `form`: binary | fractional.

    A slice that cannot be read any more never stops a report: that object is then not made.
    """
    manifests = {
        (one.algorithm_name, one.algorithm_version): one
        for one in context.report.manifests
        if isinstance(one, VolumeManifest)
    }
    for volume in context.report.volumes:
        manifest = manifests[volume.algorithm_name, volume.algorithm_version]
        uid = next((one.segmentations.get(form) for one in volume.measurements), None)
        if uid is None:
            continue
        try:
            yield _encode(context, volume, manifest, _slices(context, volume, spool), uid, form)
        except (InvalidDicomError, *DECODING_ERRORS) as error:
            log.warning(
                "segmentation_not_made",
                series_instance_uid=volume.series_instance_uid,
                error=type(error).__name__,
            )


def _slices(context: DocumentContext, volume: VolumeResult, spool: Spool) -> list[Dataset]:
    places = {one.sop_instance_uid: one.path for one in context.study.instances}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text may quote the data set
        return [dcmread(spool.file(places[uid]), stop_before_pixels=True) for uid in volume.sop_instance_uids]


def _encode(
    context: DocumentContext,
    volume: VolumeResult,
    manifest: VolumeManifest,
    slices: list[Dataset],
    uid: str,
    form: str,
) -> Dataset:
    from hoichan.encoding.seg import LARGEST_FRACTION, encode_seg  # noqa: PLC0415  highdicom is slow to import

    values: NDArray[np.uint8] | NDArray[np.float32] = volume.labels
    if form == "fractional":
        if volume.fractions is None:
            raise ValueError("nobody asked for probabilities")
        values = (volume.fractions / LARGEST_FRACTION).astype(np.float32)
    document = encode_seg(
        context.header,
        slices,
        values,
        manifest,
        created_at=context.report.created_at,
        zone=context.zone,
        software_version=context.software_version,
        facility_code=context.facility_code,
        institution_name=context.institution_name,
        sop_instance_uid=uid,
    )
    if document is None:  # `segmentations` names none where nothing is outlined
        raise ValueError("nothing is outlined")
    return document
