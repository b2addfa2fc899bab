"""A network that outlines parts in a series of slices: what its package says, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hoichan.types.words import Code, SeriesInstanceUID, Sha256, SOPInstanceUID, StudyInstanceUID

if TYPE_CHECKING:  # no command that only names a study should wait for it
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """What a network was trained on; anything else is refused."""

    modality: str
    spacing_mm: tuple[float, float, float]  # x, y, z in RAS
    spacing_tolerance_mm: float
    smallest: tuple[int, int, int]  # voxels, x y z in RAS
    largest: tuple[int, int, int]
    largest_echo_time_ms: float | None = None  # None: not asked; an absent tag never refuses
    without_contrast: bool = True
    body_part_examined: tuple[str, ...] = ()  # (): not asked; an absent tag never refuses
    youngest_years: int | None = None  # None: not asked; an unknown age never refuses
    plane: str = ""  # axial | coronal | sagittal: how the slices must lie; "": any
    # One of these must stand in Series Description, in any letters; (): not asked. Absent is a no.
    series_description: tuple[str, ...] = ()
    # None of these may stand in it.
    not_in_description: tuple[str, ...] = ()
    # one: of the series that fit only the best is taken; each: all of them
    take: str = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One part that the network outlines. Its volume is given in millilitres (UCUM ml)."""

    channel: int  # of the logits; 0 is the background
    display: Mapping[str, str]  # BCP-47 language -> name
    code: Code  # Segmented Property Type (0062,000F), of CID 7151 or a private scheme
    region: Code | None  # Anatomic Region (0008,2218) that the part lies in


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeManifest:
    """One package for volumes: as `ModelManifest`, with what it outlines in the place of findings."""

    name: str
    algorithm_name: str  # (0066,0036)
    algorithm_version: str  # (0066,0031)
    algorithm_source: str  # (0024,0202)
    intended_use: Mapping[str, str]
    disclaimer: Mapping[str, str]
    weights: PurePosixPath  # inside the package
    weights_sha256: Sha256
    accepts: VolumeSpec
    window: tuple[int, int, int] | None  # voxels of the sliding window, x y z; None: the whole volume at once
    multiple_of: int  # sides that the network takes; others are padded with zeros at the end
    segments: tuple[Segment, ...]  # by channel
    license: str  # SPDX
    status: str  # research | shadow | clinical
    root: PurePosixPath
    runtime: str = "onnx"  # onnx | monai_bundle

    @property
    def digest(self) -> str:
        """What makes two versions different. Seeds the Device UID."""
        return f"{self.algorithm_name}|{self.algorithm_version}|{self.weights_sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The volume of one part: a machine's number, which says nothing about what is usual."""

    code: Code  # of the part
    region: Code | None  # where the part lies
    display: Mapping[str, str]  # BCP-47 language -> name of the part
    value: float  # in `unit`
    unit: str  # UCUM: ml
    segment_number: int  # (0062,0004) in the segmentation of the series
    segmentations: Mapping[str, str]  # binary | fractional -> SOP Instance UID; {} where nothing was outlined
    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID  # the slice that shows most of it, else the middle one
    algorithm_name: str  # "": a person gave the number
    algorithm_version: str
    judged_as: str = ""  # of a signed report: the `measurement_id` of the machine's


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeResult:
    """What one network outlined in one series. Its numbers are kept forever, its outlines as documents."""

    study_instance_uid: StudyInstanceUID
    revision: int
    series_instance_uid: SeriesInstanceUID
    sop_instance_uids: tuple[SOPInstanceUID, ...]  # the slices that were read, in order
    sop_class_uid: str
    algorithm_name: str
    algorithm_version: str
    weights_sha256: Sha256
    measurements: tuple[Measurement, ...]
    voxels: tuple[int, int, int]  # slices, rows, columns
    voxel_ml: float
    started_at: datetime
    ended_at: datetime
    provider: str  # what really ran
    # (slices, rows, columns) uint8: the channel of each voxel, 0 for none
    labels: NDArray[np.uint8] = field(compare=False, repr=False)
    # (slices, rows, columns, segments) uint8: probability times 255; None: nobody wants them
    fractions: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
