"""The labelled hippocampus volumes of the Medical Segmentation Decathlon (Task04), and how they are split.

The set does not say which two volumes are the two sides of one person, so no split of it can keep people
apart: the card says so beside every figure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

FOLDER = "msd_hippocampus"
STRUCTURES = ("anterior", "posterior")  # labels 1 and 2; 0 is background
SPLITS = ("train", "val", "test")
TEST_SHARE, VAL_SHARE = 0.20, 0.08  # of the file names' hash space


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledVolume:
    """One crop around one hippocampus, in RAS+: x to the right, y forward, z up."""

    name: str
    image: NDArray[np.float32]  # (x, y, z), arbitrary MR units
    label: NDArray[np.uint8]  # (x, y, z): 0 background, 1 anterior, 2 posterior


def split_of(name: str) -> str:
    """train | val | test of a file name: by its hash, so that a new file never moves an old one."""
    place = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    if place < TEST_SHARE:
        return "test"
    return "val" if place < TEST_SHARE + VAL_SHARE else "train"


def load_volumes(data: Path, split: str, limit: int | None = None) -> list[LabelledVolume]:
    """The volumes of one split, by name; FileNotFoundError says where they were looked for."""
    folder = data / FOLDER
    if not (folder / "images").is_dir():
        raise FileNotFoundError(
            f"There is no {folder / 'images'}: give --data the folder that holds {FOLDER}"
        )
    names = [p.name for p in sorted((folder / "images").glob("*.nii.gz")) if split_of(p.name) == split]
    return [
        LabelledVolume(
            name=name.removesuffix(".nii.gz"),
            image=_read(folder / "images" / name).astype(np.float32),
            label=_read(folder / "labels" / name).astype(np.uint8),
        )
        for name in names[:limit]
    ]


def _read(path: Path) -> NDArray[np.float64]:
    """(x, y, z) with the axes turned to RAS+."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.get_fdata())
