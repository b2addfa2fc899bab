"""What a package for volumes says of itself: a network that outlines parts in a series of slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from hoichan.types.words import Code, Sha256


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

    @property
    def digest(self) -> str:
        """What makes two versions different. Seeds the Device UID."""
        return f"{self.algorithm_name}|{self.algorithm_version}|{self.weights_sha256}"
