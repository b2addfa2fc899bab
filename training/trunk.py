"""What the frozen trunk sees of films and of altered copies of them: computed once, kept in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandAffine,
    RandFlip,
    RandGaussianNoise,
    RandGaussianSmooth,
)
from rich.progress import track
from torch import Tensor

from training.dataset import Array
from training.networks import FilmNet, device


def alterations(seed: int, *, sides: bool = True) -> Compose:
    """What another technician, patient or machine would change: stance, distance, grey scale, noise.

    `sides`: left and right as well, as CheXNet does; not for the gate, which must know them apart.
    """
    change_sides = [RandFlip(prob=0.5, spatial_axis=1)] if sides else []
    alter = Compose(
        [
            RandAffine(prob=1.0, rotate_range=0.12, translate_range=14, scale_range=(0.12, 0.12),
                       shear_range=0.05, padding_mode="zeros", mode="bilinear"),
            *change_sides,
            RandAdjustContrast(prob=0.7, gamma=(0.6, 1.6)),
            RandGaussianSmooth(prob=0.2, sigma_x=(0.3, 1.0), sigma_y=(0.3, 1.0)),
            RandGaussianNoise(prob=0.4, std=0.03),
        ]
    )  # fmt: skip
    alter.set_random_state(seed)
    return alter


@torch.inference_mode()
def trunk_features(net: FilmNet, films: Array, keep: Path | None, what: str) -> Tensor:
    """(n, 112, S/16, S/16) float16 of (n, 1, S, S) films; kept in the folder `keep` under a name made of the
    pixels.
    """
    digest = hashlib.sha256(np.ascontiguousarray(films[:: max(1, len(films) // 64)]).tobytes()).hexdigest()[
        :16
    ]
    place = keep / f"{what}-{len(films)}-{digest}.npy" if keep else None
    if place is not None and place.exists():
        return torch.from_numpy(np.load(place))
    parts, place_of = [], device()
    net = net.to(place_of)
    for start in track(range(0, len(films), 16), description=f"trunk: {what}"):
        batch = torch.from_numpy(films[start : start + 16]).to(place_of, memory_format=torch.channels_last)
        parts.append(net.trunk(batch).to(torch.float16).contiguous().cpu())  # (16, 112, S/16, S/16)
    net.cpu()
    features = torch.cat(parts)
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, features.numpy())
    return features


def altered_copies(films: Array, seed: int, *, sides: bool = True) -> Array:
    """One altered copy of every film, clipped to 0..1; `sides`: in some of them left and right change."""
    alter = alterations(seed, sides=sides)
    return np.stack([np.clip(np.asarray(alter(film), dtype=np.float32), 0, 1) for film in films])
