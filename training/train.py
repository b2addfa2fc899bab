"""Train a chest-film model. Read from top to bottom: settings, data, trunk once, tail, gate, files.

    python -m training.train training/recipes/cxr-demo.toml --data ../shared/data --run runs/cxr-demo

The trunk keeps its ImageNet weights, so its features of every film (and of a few altered copies) are computed
once and kept; only the tail is trained, which is about eight times as fast on a processor without a graphics
card.

A guard against a shortcut: the films come from several collections with different shares of disease, and the
collection can be told from the pixels. While training, each collection has an intercept of its own per
finding, so the network earns nothing by recognising where a film came from; the intercepts are thrown away
afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandAffine,
    RandFlip,
    RandGaussianNoise,
    RandGaussianSmooth,
)
from rich.progress import track
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hoichan.analysis.gate import GATE_CLASSES
from training.dataset import FINDINGS, FRONTAL, Array, Samples, gate_negatives, load_films, load_split
from training.evaluate import auroc, within_group_auroc
from training.networks import FilmNet, build


# --------------------------------------------------------------------------------------------------- settings
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One recipe. Every published model has its own file in `recipes/`."""

    name: str  # folder of the package
    version: str  # new weights = new version
    seed: int = 0
    size: int = 256  # pixels, side of the square input: 256, or a multiple of 80 from 160 on
    copies: int = 5  # altered copies of each training film besides the plain one
    epochs: int = 22  # passes; each takes one of the copies of every film
    batch_size: int = 32
    head_learning_rate: float = 1e-3  # of the maps, which start from nothing
    tail_learning_rate: float = 1e-4  # of the last five blocks, which start from ImageNet
    weight_decay: float = 0.02
    dropout: float = 0.3  # share of feature channels hidden while training
    average_decay: float = 0.99  # of the running average of weights, which is what is kept
    collection_intercepts: bool = True  # the guard described above
    gate_count: int = 700  # pictures a class that the gate learns to refuse
    gate_epochs: int = 30
    gate_learning_rate: float = 1e-3
    films: int | None = None  # only so many films a split: for tests


def read_recipe(path: Path, **changes: object) -> Settings:
    """A recipe file, with settings changed by name. Unknown keys are a TypeError."""
    return Settings(**{**tomllib.loads(path.read_text(encoding="utf-8")), **changes})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- data
def alterations(seed: int) -> Compose:
    """What another technician, patient or machine would change: stance, distance, grey scale, noise, side."""
    alter = Compose(
        [
            RandAffine(prob=1.0, rotate_range=0.12, translate_range=14, scale_range=(0.12, 0.12),
                       shear_range=0.05, padding_mode="zeros", mode="bilinear"),
            RandFlip(prob=0.5, spatial_axis=1),  # left-right, as CheXNet does; not for the gate
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
    parts = []
    for start in track(range(0, len(films), 16), description=f"trunk: {what}"):
        batch = torch.from_numpy(films[start : start + 16]).to(memory_format=torch.channels_last)
        parts.append(net.trunk(batch).to(torch.float16).contiguous())  # (16, 112, S/16, S/16)
    features = torch.cat(parts)
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, features.numpy())
    return features


def altered_copies(films: Array, seed: int) -> Array:
    """One altered copy of every film, clipped to 0..1."""
    alter = alterations(seed)
    return np.stack([np.clip(np.asarray(alter(film), dtype=np.float32), 0, 1) for film in films])


# ------------------------------------------------------------------------------------------------------- loop
def train_findings(
    net: FilmNet,
    settings: Settings,
    train: Samples,
    features: list[Tensor],
    val: Samples,
    val_features: Tensor,
) -> tuple[FilmNet, list[dict[str, float]]]:
    """The one loop.

    `features` holds the plain trunk features of the films first, then those of each altered copy.
    """
    labels = torch.from_numpy(train.labels)  # (n, 14)
    names, collection = np.unique(train.collections, return_inverse=True)
    group = torch.from_numpy(collection)  # (n,)
    share = labels.mean(0).clamp(1e-3, 1 - 1e-3)
    with torch.no_grad():
        net.bias.copy_(torch.logit(share))
    intercepts = nn.Parameter(torch.zeros(len(names), labels.shape[1]))  # (collections, 14)
    heads = [net.findings.weight, net.bias]
    tail = [p for p in net.tail_parameters() if not any(p is h for h in heads)]
    optimizer = torch.optim.AdamW(
        [
            {"params": tail, "lr": settings.tail_learning_rate},
            {"params": heads, "lr": settings.head_learning_rate},
            {
                "params": [intercepts],
                "lr": 0.03 if settings.collection_intercepts else 0.0,
                "weight_decay": 0.0,
            },
        ],
        weight_decay=settings.weight_decay,
    )
    steps = settings.epochs * ((len(train) + settings.batch_size - 1) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [g["lr"] or 1e-9 for g in optimizer.param_groups], total_steps=steps, pct_start=0.15
    )
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay))
    rng = np.random.default_rng(settings.seed)
    history: list[dict[str, float]] = []

    for epoch in track(range(settings.epochs), description="findings"):
        net.eval()  # batch statistics stay those of ImageNet: batches are small and films all alike
        net.dropout.train()
        order = rng.permutation(len(train))
        copy = rng.integers(0, len(features), len(train))  # which copy of each film this time
        total = 0.0
        for start in range(0, len(train), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            x = torch.stack([features[copy[i]][i] for i in rows]).float()  # (B, 112, S/16, S/16)
            x = x.contiguous(memory_format=torch.channels_last)
            cam = net.maps(x)  # (B, 14, S/32, S/32)
            logits = cam.mean((2, 3)) + net.bias + intercepts[group[rows]]  # (B, 14)
            loss = F.binary_cross_entropy_with_logits(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(tail + heads, 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total += float(loss.detach()) * len(rows)
        scores = tail_logits(average.module, val_features)
        history.append(
            {
                "epoch": epoch,
                "loss": total / len(train),
                "val_mean_auroc": float(
                    np.nanmean([auroc(val.labels[:, k], scores[:, k]) for k in range(14)])
                ),
                "val_within_collection_auroc": float(
                    np.nanmean(
                        [
                            within_group_auroc(val.labels[:, k], scores[:, k], val.collections)
                            for k in range(14)
                        ]
                    )
                ),
            }
        )
    return average.module.eval(), history


@torch.inference_mode()
def tail_logits(net: FilmNet, features: Tensor) -> Array:
    """(n, 14) logits of trunk features."""
    net.eval()
    return np.concatenate([net.tail(part.float()).logits.numpy() for part in features.split(64)])


def train_gate(net: FilmNet, settings: Settings, features: Tensor, classes: Tensor) -> float:
    """Fit the gate on trunk features (m, 112, S/16, S/16) and classes (m,), each class weighing the same."""
    counts = torch.bincount(classes, minlength=len(GATE_CLASSES)).clamp(min=1)
    weight = (len(classes) / (len(GATE_CLASSES) * counts)).float()
    optimizer = torch.optim.AdamW(net.gate_parameters(), lr=settings.gate_learning_rate, weight_decay=0.05)
    rng = np.random.default_rng(settings.seed)
    loss = torch.zeros(())
    for _ in track(range(settings.gate_epochs), description="gate"):
        order = rng.permutation(len(classes))
        for start in range(0, len(order), 64):
            rows = torch.from_numpy(order[start : start + 64])
            loss = F.cross_entropy(
                net.gate(features[rows].float()), classes[rows], weight, label_smoothing=0.01
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return float(loss.detach())


# ------------------------------------------------------------------------------------------------------- main
def train(settings: Settings, data: Path, run: Path, keep: Path | None = None) -> FilmNet:
    """Train as the recipe says and leave `settings.json`, `history.json` and `weights.pt` (a state_dict) in
    the run folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    started = time.monotonic()
    net = build(len(FINDINGS), len(GATE_CLASSES), dropout=settings.dropout).to(
        memory_format=torch.channels_last
    )

    samples, val = (
        load_split(data, "train").head(settings.films),
        load_split(data, "val").head(settings.films),
    )
    films, val_films = load_films(samples.paths, settings.size), load_films(val.paths, settings.size)
    features = [trunk_features(net, films, keep, "plain")]
    features += [
        trunk_features(net, altered_copies(films, settings.seed + c), keep, f"copy{c}")
        for c in range(settings.copies)
    ]
    val_features = trunk_features(net, val_films, keep, "val")
    negatives, classes = gate_negatives(films, data, count=settings.gate_count, seed=settings.seed)
    refused = trunk_features(net, negatives, keep, "refused")

    net, history = train_findings(net, settings, samples, features, val, val_features)
    positives = upright_features(features)
    loss = train_gate(
        net,
        settings,
        torch.cat([positives, refused]),
        torch.cat([torch.full((len(positives),), FRONTAL), torch.from_numpy(classes)]),
    )

    took = {"seconds": round(time.monotonic() - started), "gate_loss": loss, "torch": torch.__version__}
    (run / "settings.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    (run / "history.json").write_text(json.dumps({"epochs": history, **took}, indent=1) + "\n")
    torch.save(net.state_dict(), run / "weights.pt")
    return net


def upright_features(features: list[Tensor]) -> Tensor:
    """What the gate must let in: every film plain and in up to two altered copies."""
    return torch.cat(features[:3])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a chest-film model from a recipe.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, required=True, help="folder for settings, history and weights")
    parser.add_argument(
        "--keep", type=Path, default=None, help="folder that keeps trunk features between runs"
    )
    arguments = parser.parse_args()
    settings = read_recipe(arguments.recipe)
    train(settings, arguments.data, arguments.run, arguments.keep)
    last = json.loads((arguments.run / "history.json").read_text())
    print(json.dumps({**last["epochs"][-1], "seconds": last["seconds"]}))


if __name__ == "__main__":
    main()
