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
import json
import random
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.dataset import FINDINGS, Array, Samples, load_films, load_split
from training.evaluate import auroc, within_group_auroc
from training.gate_head import Gating, regate
from training.networks import FilmNet, build, device
from training.package_net import from_package
from training.run_folder import finish
from training.tap_head import Basis, ridge, shared, tap_features
from training.tracking import log_run
from training.trunk import altered_copies, trunk_features


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
    gate_mirrored: bool = True  # whether mirrored films are a class of their own
    start: str = ""  # a package whose network is gone on with, instead of training the last blocks anew
    also: str = ""  # an export of signed reviews whose films of split train are trained on beside the others
    tap_strength: float = 7.0  # of the ridge penalty, in units of a film's mean variance
    label_sharing: float = 0.15  # how much a film with one finding of a group counts for the others of it
    films: int | None = None  # only so many films a split: for tests


def read_recipe(path: Path, **changes: object) -> Settings:
    """A recipe file, with settings changed by name. Unknown keys are a TypeError."""
    return Settings(**{**tomllib.loads(path.read_text(encoding="utf-8")), **changes})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- loop
@dataclass(slots=True, kw_only=True)
class Loop:
    """What changes while the tail is trained; all of it is in the checkpoint."""

    net: FilmNet
    average: AveragedModel  # the running average of weights, which is what is kept
    intercepts: nn.Parameter  # (collections, findings), thrown away afterwards
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    history: list[dict[str, float]]

    def save(self, place: Path) -> None:
        """Everything that the next epoch depends on, in one step."""
        state = {
            name: getattr(self, name).state_dict() for name in ("net", "average", "optimizer", "schedule")
        }
        state |= {"intercepts": self.intercepts.detach(), "history": self.history}
        state |= {"numpy": json.dumps(self.rng.bit_generator.state), "torch": torch.get_rng_state()}
        part = place.with_suffix(".part")
        torch.save(state, part)
        part.rename(place)

    def load(self, place: Path) -> None:
        """Go on where a stopped run was saved."""
        state = torch.load(place, map_location="cpu", weights_only=True)
        for name in ("net", "average", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        with torch.no_grad():
            self.intercepts.copy_(state["intercepts"])
        self.rng.bit_generator.state = json.loads(state["numpy"])
        torch.set_rng_state(state["torch"])
        self.history = state["history"]


def begin(net: FilmNet, settings: Settings, films: int, collections: int) -> Loop:
    """The loop before its first epoch. Trunk and gate are no business of its optimizer."""
    net = net.to(device())
    intercepts = nn.Parameter(torch.zeros(collections, len(net.bias), device=device()))
    heads = [net.findings.weight, net.bias]
    tail = [p for p in net.tail_parameters() if not any(p is h for h in heads)]
    lr = 0.03 if settings.collection_intercepts else 0.0
    optimizer = torch.optim.AdamW(
        [
            {"params": tail, "lr": settings.tail_learning_rate},
            {"params": heads, "lr": settings.head_learning_rate},
            {"params": [intercepts], "lr": lr, "weight_decay": 0.0},
        ],
        weight_decay=settings.weight_decay,
    )
    steps = settings.epochs * ((films + settings.batch_size - 1) // settings.batch_size)
    return Loop(
        net=net,
        average=AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay)),
        intercepts=intercepts,
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [g["lr"] or 1e-9 for g in optimizer.param_groups], total_steps=steps, pct_start=0.15
        ),
        rng=np.random.default_rng(settings.seed),
        history=[],
    )


def one_epoch(loop: Loop, features: list[Tensor], labels: Tensor, group: Tensor, batch_size: int) -> float:
    """Every film once, in one of its copies; the mean loss."""
    loop.net.eval()  # batch statistics stay those of ImageNet: batches are small and films all alike
    loop.net.dropout.train()
    where = loop.intercepts.device
    order = loop.rng.permutation(len(labels))
    copy = loop.rng.integers(0, len(features), len(labels))  # which copy of each film this time
    total = 0.0
    for start in range(0, len(labels), batch_size):
        rows = order[start : start + batch_size]
        x = torch.stack([features[copy[i]][i] for i in rows]).float().to(where)  # (B, 112, S/16, S/16)
        cam = loop.net.maps(x.contiguous(memory_format=torch.channels_last))  # (B, 14, S/32, S/32)
        logits = cam.mean((2, 3)) + loop.net.bias + loop.intercepts[group[rows].to(where)]  # (B, 14)
        loss = F.binary_cross_entropy_with_logits(logits, labels[rows].to(where))
        loop.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for g in loop.optimizer.param_groups[:2] for p in g["params"]], 1.0)
        loop.optimizer.step()
        loop.schedule.step()
        loop.average.update_parameters(loop.net)
        total += float(loss.detach()) * len(rows)
    return total / len(labels)


def mean_aurocs(val: Samples, scores: Array) -> dict[str, float]:
    """The mean over the findings, plain, and over pairs from one collection only."""
    findings = range(val.labels.shape[1])
    plain = [auroc(val.labels[:, k], scores[:, k]) for k in findings]
    within = [within_group_auroc(val.labels[:, k], scores[:, k], val.collections) for k in findings]
    return {
        "val_mean_auroc": float(np.nanmean(plain)),
        "val_within_collection_auroc": float(np.nanmean(within)),
    }


def train_findings(
    net: FilmNet,
    settings: Settings,
    train: Samples,
    features: list[Tensor],
    val: Samples,
    val_features: Tensor,
    checkpoint: Path | None = None,
) -> tuple[FilmNet, list[dict[str, float]]]:
    """Train the tail; a run that was stopped goes on behind its last whole epoch.

    `features` holds the plain trunk features of the films first, then those of each altered copy.
    """
    labels = torch.from_numpy(train.labels)  # (n, 14)
    names, collection = np.unique(train.collections, return_inverse=True)
    with torch.no_grad():
        net.bias.copy_(torch.logit(labels.mean(0).clamp(1e-3, 1 - 1e-3)))
    loop = begin(net, settings, len(train), len(names))
    if checkpoint is not None and checkpoint.exists():
        loop.load(checkpoint)
    for epoch in track(range(len(loop.history), settings.epochs), description="findings"):
        loss = one_epoch(loop, features, labels, torch.from_numpy(collection), settings.batch_size)
        scores = tail_logits(loop.average.module, val_features)
        loop.history.append({"epoch": epoch, "loss": loss, **mean_aurocs(val, scores)})
        if checkpoint is not None:
            loop.save(checkpoint)
    return loop.average.module.eval().cpu(), loop.history


def fit_taps(
    net: FilmNet,
    settings: Settings,
    train: Samples,
    seen: Array,
    val: Samples,
    val_seen: Array,
    val_tail: Array,
) -> dict[str, float]:
    """Add the linear head on the taps `seen` (n, 464, 4, 4) to the tail, whose val logits are `val_tail`.

    Both are brought to the same spread on val and count the same. Gives what parts and sum reach there.
    """
    basis = Basis.of(seen)
    labels = shared(train.labels, settings.label_sharing)
    weights = ridge(basis.table(seen), labels, train.collections, settings.tap_strength)
    folded, _ = basis.folded(weights)
    val_taps = np.einsum("ncrs,kcrs->nk", val_seen, folded)  # without a bias, which moves no rank
    tail_spread, tap_spread = (x.std(0) + 1e-6 for x in (val_tail, val_taps))
    with torch.no_grad():
        net.findings.weight /= torch.from_numpy(tail_spread).float()[:, None, None, None]
        net.tap_weight.copy_(torch.from_numpy(folded / tap_spread[:, None, None, None]).float())
        share = torch.from_numpy(train.labels).mean(0).clamp(1e-3, 1 - 1e-3)
        both = (val_tail - net.bias.numpy()) / tail_spread + val_taps / tap_spread
        net.bias.copy_(torch.logit(share) - torch.from_numpy(both.mean(0)).float())
    told = {"tail": val_tail, "taps": val_taps, "both": both}
    return {f"{name}_{key}": v for name, x in told.items() for key, v in mean_aurocs(val, x).items()}


@torch.inference_mode()
def tail_logits(net: FilmNet, features: Tensor) -> Array:
    """(n, 14) logits of trunk features."""
    net.eval()
    where = net.bias.device
    return np.concatenate(
        [net.tail(part.float().to(where)).logits.cpu().numpy() for part in features.split(64)]
    )


# ------------------------------------------------------------------------------------------------------- main
def train(settings: Settings, data: Path, run: Path, keep: Path | None = None) -> FilmNet:
    """Train as the recipe says and leave `settings.json`, `history.json` and `weights.pt` (a state_dict) in
    the run folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    started = time.monotonic()
    net = build(len(FINDINGS), len(gating(settings).classes), dropout=settings.dropout).to(
        memory_format=torch.channels_last
    )

    samples, val = (
        load_split(data, "train").head(settings.films),
        load_split(data, "val").head(settings.films),
    )
    if settings.also:
        samples = samples.joined(load_split(Path(settings.also), "train"))
    films, val_films = load_films(samples.paths, settings.size), load_films(val.paths, settings.size)
    if settings.start:
        net, history, loss = from_package(Path(settings.start)), [], float("nan")
    else:
        net, history, loss = train_tail_and_gate(
            net, settings, (samples, films), (val, val_films), data, run, keep
        )
    val_tail = tail_logits(net, trunk_features(net, val_films, keep, "val"))
    seen, val_seen = tap_features(net, films), tap_features(net, val_films)
    taps = fit_taps(net, settings, samples, seen, val, val_seen, val_tail)

    took = {"seconds": round(time.monotonic() - started), "torch": torch.__version__}
    took |= {"gate_loss": loss} if history else {"start": settings.start}
    (run / "settings.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    (run / "history.json").write_text(json.dumps({"epochs": history, "val": taps, **took}, indent=1) + "\n")
    torch.save(net.state_dict(), run / "weights.pt")
    finish(run)
    return net


def gating(settings: Settings) -> Gating:
    """How the gate of a recipe is fitted."""
    return Gating(
        count=settings.gate_count,
        epochs=settings.gate_epochs,
        learning_rate=settings.gate_learning_rate,
        seed=settings.seed,
        mirrored=settings.gate_mirrored,
    )


def train_tail_and_gate(
    net: FilmNet,
    settings: Settings,
    train: tuple[Samples, Array],
    val: tuple[Samples, Array],
    data: Path,
    run: Path,
    keep: Path | None,
) -> tuple[FilmNet, list[dict[str, float]], float]:
    """The last blocks on plain and altered films, and the gate; (net, history, the gate's loss)."""
    samples, films = train
    features = [trunk_features(net, films, keep, "plain")]
    features += [
        trunk_features(net, altered_copies(films, settings.seed + c), keep, f"copy{c}")
        for c in range(settings.copies)
    ]
    val_features = trunk_features(net, val[1], keep, "val")
    net, history = train_findings(
        net, settings, samples, features, val[0], val_features, run / "checkpoint.pt"
    )
    return net, history, regate(net, gating(settings), films, val_features, data, keep)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a chest-film model from a recipe.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, required=True, help="folder for settings, history and weights")
    parser.add_argument(
        "--keep", type=Path, default=None, help="folder that keeps trunk features between runs"
    )
    parser.add_argument("--start", default="", help="package whose last blocks and gate are kept")
    parser.add_argument("--also", default="", help="folder of `hoichan export-training`, trained on as well")
    parser.add_argument("--mlflow", default="", help="tracking URI that the finished run is logged to")
    arguments = parser.parse_args()
    settings = read_recipe(arguments.recipe, start=arguments.start, also=arguments.also)
    train(settings, arguments.data, arguments.run, arguments.keep)
    if arguments.mlflow:
        log_run(arguments.run, arguments.mlflow)
    last = json.loads((arguments.run / "history.json").read_text())
    print(json.dumps({**last["val"], "seconds": last["seconds"]}))


if __name__ == "__main__":
    main()
