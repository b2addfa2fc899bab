"""From the slices of a series to a volume for a 3-D network, and back.

DICOM counts in LPS (x to the patient's left, y to the back), networks are trained in RAS (PS3.3 C.7.6.2.1.1).
Every turn of the axes is kept, so that a label comes back to the voxel of the slice it was found in. Nothing
is resampled and nothing is cropped: what fits is `volume_selection`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from hoichan.analysis.imaging import DECODING_ERRORS
from hoichan.errors import InputOutOfDomain
from hoichan.types import RefusalCode

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LARGEST_STEP_ERROR = 0.01  # mm, of the places of slices from an even row
Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (x, y, z) -> (C, x, y, z)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Voxels in RAS+, and where they came from."""

    voxels: NDArray[np.float32]  # (x, y, z), stored values after the modality rescale
    affine: NDArray[np.float64]  # (4, 4) voxel index (i, j, k, 1) -> RAS mm of the patient, voxel centres
    sop_instance_uids: tuple[str, ...]  # of the slices, in the order of `to_slices`
    axes: tuple[int, int, int]  # which of (column, row, slice) each of x, y, z is
    flipped: tuple[bool, bool, bool]  # whether x, y, z run against it

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def to_slices(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(x, y, z) labels -> (slices, rows, columns), slice by slice as in `sop_instance_uids`."""
        turned = np.flip(labels, tuple(axis for axis, flip in enumerate(self.flipped) if flip))
        stored = np.transpose(turned, np.argsort(self.axes))  # (columns, rows, slices)
        return np.ascontiguousarray(stored.transpose(2, 1, 0))


def read_volume(slices: Sequence[Dataset]) -> Volume:
    """The volume of the single-frame slices of one series, in any order.

    Raises InputOutOfDomain: `wrong_view` where the slices make no even grid, with what is wrong;
    `undecodable_pixels`.
    """
    ordered, affine = grid(slices)
    try:
        pixels = np.stack(
            [
                one.pixel_array.astype(np.float32) * float(one.get("RescaleSlope", 1) or 1)
                + float(one.get("RescaleIntercept", 0) or 0)
                for one in ordered
            ]
        )
    except DECODING_ERRORS:
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "A slice cannot be decoded") from None
    stored = pixels.transpose(2, 1, 0)  # (columns, rows, slices)
    turned, axes, flipped = to_ras(affine)
    voxels = np.flip(np.transpose(stored, axes), tuple(axis for axis, flip in enumerate(flipped) if flip))
    for axis, flip in enumerate(flipped):
        if flip:
            turned[:, 3] += turned[:, axis] * (voxels.shape[axis] - 1)
            turned[:, axis] *= -1
    return Volume(
        voxels=np.ascontiguousarray(voxels),
        affine=turned,
        sop_instance_uids=tuple(str(one.SOPInstanceUID) for one in ordered),
        axes=axes,
        flipped=flipped,
    )


def millilitres(labels: NDArray[np.uint8], volume: Volume, channels: Sequence[int]) -> dict[int, float]:
    """Channel -> volume in ml of the voxels that bear it."""
    return {channel: int((labels == channel).sum()) * volume.voxel_ml for channel in channels}


def normalise(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Percentiles 1 and 99 of the volume become 0 and 1, clipped; as in training."""
    low, high = np.percentile(voxels, [1.0, 99.0])
    scaled: NDArray[np.float32] = np.clip((voxels - low) / max(float(high - low), 1e-6), 0, 1)
    return scaled.astype(np.float32)


def slide(voxels: NDArray[np.float32], window: tuple[int, int, int], run: Logits) -> NDArray[np.float32]:
    """(C, x, y, z) logits of a volume of any size, by windows that overlap by half, weighted by a Gaussian
    (deviation an eighth of the window); a volume smaller than the window is padded with zeros.
    """
    padding = [(0, max(0, w - n)) for n, w in zip(voxels.shape, window, strict=True)]
    padded = np.pad(voxels, padding)
    weight = _gaussian(window)
    total: NDArray[np.float32] | None = None
    shares = np.zeros(padded.shape, dtype=np.float32)
    starts = [_starts(n, w) for n, w in zip(padded.shape, window, strict=True)]
    for corner in ((x, y, z) for x in starts[0] for y in starts[1] for z in starts[2]):
        place = tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
        logits = run(np.ascontiguousarray(padded[place]))
        if total is None:
            total = np.zeros((len(logits), *padded.shape), dtype=np.float32)
        total[(slice(None), *place)] += logits * weight
        shares[place] += weight
    assert total is not None  # there is always one window
    x, y, z = voxels.shape
    return (total / shares)[:, :x, :y, :z]


def _starts(length: int, window: int) -> list[int]:
    step = max(1, window // 2)
    return sorted({*range(0, length - window, step), length - window})


def _gaussian(window: tuple[int, int, int]) -> NDArray[np.float32]:
    sides = [np.exp(-0.5 * ((np.arange(w) - (w - 1) / 2) / (0.125 * w)) ** 2) for w in window]
    weight = np.einsum("i,j,k->ijk", *sides)
    return np.asarray(np.maximum(weight, 1e-3), dtype=np.float32)


def grid(slices: Sequence[Dataset]) -> tuple[list[Dataset], NDArray[np.float64]]:
    """The slices in order, and (column, row, slice, 1) -> LPS mm. Raises InputOutOfDomain `wrong_view`."""
    if len(slices) < 2:
        raise _uneven("one slice makes no volume")
    try:
        directions = np.array([[float(v) for v in one.ImageOrientationPatient] for one in slices])
        places = np.array([[float(v) for v in one.ImagePositionPatient] for one in slices])
        steps = np.array([[float(v) for v in one.PixelSpacing] for one in slices])
        sizes = {(int(one.Rows), int(one.Columns)) for one in slices}
    except (AttributeError, TypeError, ValueError):
        raise _uneven("a slice does not say where it lies") from None
    if directions.shape != (len(slices), 6) or places.shape != (len(slices), 3):
        raise _uneven("a slice does not say where it lies")
    if len(sizes) != 1 or np.ptp(directions, axis=0).max() > 1e-3 or np.ptp(steps, axis=0).max() > 1e-3:
        raise _uneven("the slices differ in size, spacing or direction")
    row, column = directions[0, :3], directions[0, 3:]
    order = np.argsort(places @ np.cross(row, column))
    ordered, places = [slices[i] for i in order], places[order]
    step = (places[-1] - places[0]) / (len(places) - 1)
    even = places[0] + np.arange(len(places))[:, None] * step
    if np.linalg.norm(step) < LARGEST_STEP_ERROR or np.abs(places - even).max() > LARGEST_STEP_ERROR:
        raise _uneven("the slices do not lie at even distances: one is missing or twice there")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * steps[0, 1], column * steps[0, 0]
    affine[:3, 2], affine[:3, 3] = step, places[0]
    return ordered, affine


def to_ras(
    affine: NDArray[np.float64],
) -> tuple[NDArray[np.float64], tuple[int, int, int], tuple[bool, bool, bool]]:
    """The affine in RAS with its columns put into the order x, y, z; not flipped yet."""
    ras = LPS_TO_RAS @ affine
    axes: list[int] = []
    for axis in range(3):
        strength = np.abs(ras[axis, :3] / np.linalg.norm(ras[:3, :3], axis=0))
        strength[axes] = -1
        axes.append(int(np.argmax(strength)))
    ordered = ras[:, [*axes, 3]]
    flipped = [bool(ordered[axis, axis] < 0) for axis in range(3)]
    return ordered, (axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2])


def _uneven(detail: str) -> InputOutOfDomain:
    return InputOutOfDomain(RefusalCode.WRONG_VIEW, detail)
