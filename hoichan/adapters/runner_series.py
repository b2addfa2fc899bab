"""The `Outliner` port: a series from the spool to a network for volumes, and to millilitres."""

from __future__ import annotations

import hashlib
import warnings as python_warnings
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from hoichan.adapters.runner_volumes import Outlines
from hoichan.analysis.imaging import DECODING_ERRORS
from hoichan.analysis.volumes import Volume, read_volume
from hoichan.errors import InputOutOfDomain
from hoichan.ports import Clock
from hoichan.types import (
    Measurement,
    RefusalCode,
    Series,
    SOPInstanceUID,
    Study,
    VolumeManifest,
    VolumeResult,
)
from hoichan.uids import segmentation_uid

log = structlog.get_logger()


class SeriesRunner:
    """Reads series where the spool keeps them. Safe to share between threads."""

    def __init__(
        self,
        locate: Callable[[PurePosixPath], Path],
        clock: Clock,
        networks: Outlines,
        *,
        fractions: bool = False,
    ) -> None:
        """`fractions`: probabilities are asked for too, since some receiver takes them."""
        self._locate = locate
        self._clock = clock
        self._networks = networks
        self._fractions = fractions

    def headers(self, series: Series) -> Sequence[Dataset]:
        """The headers of its slices. Raises InputOutOfDomain (`undecodable_pixels`)."""
        return [_read(self._locate(one.path), stop_before_pixels=True) for one in series.instances]

    def run(self, manifest: VolumeManifest, study: Study, series: Series) -> VolumeResult:
        """What is outlined in a series that was chosen.

        Raises InputOutOfDomain (never worth a retry) or RunnerFailed (worth one).
        """
        started_at = self._clock.now()
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # their text may quote the data set
            volume = read_volume([_read(self._locate(one.path)) for one in series.instances])
        found = self._networks.outline(manifest, volume.voxels, volume.affine, fractions=self._fractions)
        labels = volume.to_slices(found.labels)
        fractions = None if found.fractions is None else _to_slices(volume, found.fractions)
        result = VolumeResult(
            study_instance_uid=study.study_instance_uid,
            revision=study.revision,
            series_instance_uid=series.series_instance_uid,
            sop_instance_uids=tuple(SOPInstanceUID(uid) for uid in volume.sop_instance_uids),
            sop_class_uid=series.instances[0].sop_class_uid,
            algorithm_name=manifest.algorithm_name,
            algorithm_version=manifest.algorithm_version,
            weights_sha256=manifest.weights_sha256,
            measurements=_measured(manifest, study, series, volume, labels, fractions),
            voxels=(labels.shape[0], labels.shape[1], labels.shape[2]),
            voxel_ml=volume.voxel_ml,
            started_at=started_at,
            ended_at=self._clock.now(),
            provider=found.provider,
            labels=labels,
            fractions=fractions,
        )
        log.info(
            "volume_run",
            model=manifest.name,
            version=manifest.algorithm_version,
            study=study.study_instance_uid,
            revision=study.revision,
            slices=len(labels),
            provider=found.provider,
            seconds=round((result.ended_at - started_at).total_seconds(), 3),
        )
        return result


def _read(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # their text may quote the data set
            return dcmread(path, stop_before_pixels=stop_before_pixels)
    except (InvalidDicomError, *DECODING_ERRORS):
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "A slice cannot be read") from None


def _to_slices(volume: Volume, fractions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(x, y, z, segments) -> (slices, rows, columns, segments)."""
    return np.stack([volume.to_slices(fractions[..., n]) for n in range(fractions.shape[-1])], axis=-1)


def _measured(
    manifest: VolumeManifest,
    study: Study,
    series: Series,
    volume: Volume,
    labels: NDArray[np.uint8],
    fractions: NDArray[np.uint8] | None,
) -> tuple[Measurement, ...]:
    uids = volume.sop_instance_uids
    forms = {"binary": labels, **({} if fractions is None else {"fractional": fractions})}
    drawn = {
        form: segmentation_uid(
            manifest.digest, uids, hashlib.sha256(values.tobytes()).hexdigest(), study.revision
        )
        for form, values in forms.items()
        if values.any()
    }
    made = []
    for number, segment in enumerate(manifest.segments, start=1):
        here = (labels == segment.channel).sum(axis=(1, 2))
        shown = int(here.argmax()) if here.any() else len(here) // 2
        made.append(
            Measurement(
                code=segment.code,
                region=segment.region,
                display=segment.display,
                value=round(float(here.sum()) * volume.voxel_ml, 3),
                unit="ml",
                segment_number=number,
                segmentations=drawn,
                series_instance_uid=series.series_instance_uid,
                sop_instance_uid=SOPInstanceUID(uids[shown]),
                algorithm_name=manifest.algorithm_name,
                algorithm_version=manifest.algorithm_version,
            )
        )
    return tuple(made)
