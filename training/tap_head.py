"""The linear head on the frozen trunk's taps: features of a film, a regression in closed form, and folding.

The regression works on films, not on numbers of the network: with a thousand films and some thousands of
features the kernel is a thousand by a thousand, so a fit takes seconds, and so does each fold of a
cross-validation (training/EXPERIMENTS.md has what was tried).

Every collection of films is centred on its own means, of features and of labels (fixed effects): recognising
where a film came from earns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from training.dataset import FINDINGS, Array
from training.networks import REGIONS, TAP_CHANNELS, FilmNet, device, region_of, tap_grid

Wide = NDArray[np.float64]
PLAIN = TAP_CHANNELS // 2  # channels of the taps as they are; as many squares follow
LAST = slice(PLAIN - 112, PLAIN)  # the channels whose place on the film counts
GROUPS = (
    ("atelectasis", "consolidation", "infiltration", "pneumonia", "edema", "pleural_effusion"),
    ("mass", "nodule"),
    ("fibrosis", "pleural_thickening"),
    ("emphysema", "pneumothorax"),
)
FEWEST = 6  # films; a smaller collection is centred on the mean of all


@torch.inference_mode()
def tap_features(net: FilmNet, films: Array, keep: Path | None = None) -> Array:
    """(n, 464, 4, 4) float32: each region's share of the mean over a film, so that their sum is that mean."""
    if keep is not None and keep.exists():
        kept: Array = np.load(keep)
        return kept
    found = np.empty((len(films), TAP_CHANNELS, REGIONS, REGIONS), dtype=np.float32)
    place_of = device()
    net = net.to(place_of)
    for start in track(range(0, len(films), 16), description="taps", transient=True):
        batch = torch.from_numpy(films[start : start + 16]).to(place_of)
        seen = tap_grid(net.taps(batch)).cpu()  # (16, 464, S/32, S/32)
        side = seen.shape[-1]
        where = torch.nn.functional.one_hot(region_of(side), REGIONS).to(seen.dtype)  # (S/32, 4)
        shares = torch.einsum("nchw,hr,ws->ncrs", seen, where, where) / side**2
        found[start : start + 16] = shares.numpy()
    net.cpu()
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        np.save(keep, found)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the regression sees of a film, and the way back to weights on the network's own numbers.

    Two groups, each scaled to the same total variance: means and mean squared deviations over the whole film
    of all channels, and the means of the last tap in each region.
    """

    centre: Wide  # (464, ) of the plain channels' means, twice: squares are taken about it
    whole_scale: Wide  # (464,)
    placed_scale: Wide  # (112 * 16,)

    @classmethod
    def of(cls, features: Array) -> Basis:
        """The scales of these films (n, 464, 4, 4)."""
        means = features.sum((2, 3), dtype=np.float64)
        centre = np.tile(means[:, :PLAIN].mean(0), 2)
        whole, placed = _groups(features, centre)
        return cls(
            centre=centre,
            whole_scale=(whole.std(0) + 1e-9) * np.sqrt(whole.shape[1]),
            placed_scale=(placed.std(0) + 1e-9) * np.sqrt(placed.shape[1]),
        )

    def table(self, features: Array) -> Wide:
        """(n, 464 + 1792) of films (n, 464, 4, 4)."""
        whole, placed = _groups(features, self.centre)
        return np.concatenate([whole / self.whole_scale, placed / self.placed_scale], axis=1)

    def folded(self, weights: Wide) -> tuple[Wide, Wide]:
        """Weights (findings, 464 + 1792) on `table` as (findings, 464, 4, 4) on features, and a bias."""
        whole = weights[:, :TAP_CHANNELS] / self.whole_scale
        placed = (weights[:, TAP_CHANNELS:] / self.placed_scale).reshape(len(weights), -1, REGIONS, REGIONS)
        plain, squared = whole[:, :PLAIN].copy(), whole[:, PLAIN:]
        centre = self.centre[:PLAIN]
        plain -= 2 * squared * centre  # (x - m)^2 = x^2 - 2 m x + m^2
        folded = np.repeat(
            np.concatenate([plain, squared], axis=1)[:, :, None], REGIONS * REGIONS, axis=2
        ).reshape(len(weights), TAP_CHANNELS, REGIONS, REGIONS)
        folded[:, LAST] += placed * REGIONS**2
        return folded, (squared * centre**2).sum(1)


def _groups(features: Array, centre: Wide) -> tuple[Wide, Wide]:
    means = features.sum((2, 3), dtype=np.float64)
    plain, squared, middle = means[:, :PLAIN], means[:, PLAIN:], centre[:PLAIN]
    deviation = squared - 2 * middle * plain + middle**2
    placed = features[:, LAST].astype(np.float64).reshape(len(features), -1) * REGIONS**2
    return np.concatenate([plain, deviation], axis=1), placed


def shared(labels: Array, share: float) -> Wide:
    """Labels (n, findings) that lean towards those of their group.

    A film with any finding of the group counts `share` for each of them.

    Findings of a group look alike on a film and are mixed up in reports; a rare one learns from the others.
    """
    own = np.asarray(labels, dtype=np.float64)
    out = own.copy()
    names = list(FINDINGS.values())
    for group in GROUPS:
        columns = [names.index(name) for name in group]
        any_of_them = own[:, columns].max(axis=1, keepdims=True)
        out[:, columns] = (1 - share) * own[:, columns] + share * any_of_them
    return out


def centred(values: Wide, collections: NDArray[np.str_]) -> Wide:
    """Rows less the mean of their collection; a very small one less the mean of all."""
    out = values - values.mean(0)
    for name in np.unique(collections):
        rows = collections == name
        if rows.sum() >= FEWEST:
            out[rows] = values[rows] - values[rows].mean(0)
    return out


def ridge(table: Wide, labels: Array | Wide, collections: NDArray[np.str_], strength: float) -> Wide:
    """Weights (findings, features) of a ridge regression with fixed effects of the collections.

    Solved on films (the dual form), since they are fewer than the features. `strength` is relative to the
    mean variance of a film, so it means the same for any number of films.
    """
    x, y = centred(table, collections), centred(np.asarray(labels, dtype=np.float64), collections)
    kernel = x @ x.T
    penalty = strength * np.trace(kernel) / len(kernel)
    dual = np.linalg.solve(kernel + penalty * np.eye(len(kernel)), y)
    return np.asarray((x.T @ dual).T)
