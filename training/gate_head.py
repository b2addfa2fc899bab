"""The gate of a network, fitted on its frozen trunk: is this an upright frontal chest film, and not mirrored?

    python -m training.gate_head training/recipes/cxr-demo.toml --start models/cxr-demo --run runs/gate

Gives a package's network another gate and leaves its findings as they are, weight for weight; the run folder
goes on to `training.evaluate` and `training.export`. The gate learns from films of split train, plain and
altered, and from what it must refuse: the same films turned, upside down, inverted and mirrored, corners of
films, slices of other modalities, photographs and drawings. With `gate_mirrored = false` in the recipe it has
no class for mirrored films and sees none.

A mirrored film differs from a good one by little more than where the heart lies, so this class may say no
only where it is sure: its bias is lowered until it alone refuses no more than `MIRRORED_REFUSES` of the films
of val.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from hoichan.analysis.gate import GATE_CLASSES, OLD_GATE_CLASSES
from training.calibrate import CHOICE_FILE
from training.dataset import FINDINGS, FRONTAL, MIRRORED, Array, gate_negatives, load_films, load_split
from training.networks import FilmNet, build, device
from training.package_net import from_package
from training.run_folder import finish
from training.trunk import altered_copies, trunk_features

MIRRORED_REFUSES = 0.006  # of the good films of val


@dataclass(frozen=True, slots=True)
class Gating:
    """How a gate is fitted."""

    count: int = 700  # pictures a class that it learns to refuse
    epochs: int = 30
    learning_rate: float = 1e-3
    seed: int = 0
    mirrored: bool = True  # whether mirrored films are a class of their own

    @property
    def classes(self) -> tuple[str, ...]:
        """What the gate can say, in the order of its outputs."""
        return GATE_CLASSES if self.mirrored else OLD_GATE_CLASSES


def regate(
    net: FilmNet, rules: Gating, films: Array, val_features: Tensor, data: Path, keep: Path | None
) -> float:
    """Fit the gate of `net` on films (n, 1, S, S) of split train; its loss."""
    altered = altered_copies(films, rules.seed + 1, sides=False)
    good = [trunk_features(net, films, keep, "plain"), trunk_features(net, altered, keep, "upright")]
    mirrors = ((films, "mirrored"), (altered, "mirrored-upright")) if rules.mirrored else ()
    swapped = [trunk_features(net, np.ascontiguousarray(x[..., ::-1]), keep, name) for x, name in mirrors]
    negatives, classes = gate_negatives(films, data, count=rules.count, seed=rules.seed)
    refused = trunk_features(net, negatives, keep, "refused")
    kinds = [
        torch.full((sum(map(len, good)),), FRONTAL),
        torch.full((sum(map(len, swapped)),), MIRRORED),
        torch.from_numpy(classes),
    ]
    loss = train_gate(net, rules, torch.cat([*good, *swapped, refused]), torch.cat(kinds))
    if rules.mirrored:
        hold_back(net, val_features)
    return loss


def train_gate(net: FilmNet, rules: Gating, features: Tensor, classes: Tensor) -> float:
    """Fit the gate on trunk features (m, 112, S/16, S/16) and classes (m,), each class weighing the same."""
    where = device()
    net.to(where)
    counts = torch.bincount(classes, minlength=net.gate_out.out_features).clamp(min=1)
    weight = (len(classes) / (net.gate_out.out_features * counts)).float().to(where)
    optimizer = torch.optim.AdamW(net.gate_parameters(), lr=rules.learning_rate, weight_decay=0.05)
    rng = np.random.default_rng(rules.seed)
    loss = torch.zeros(())
    for _ in track(range(rules.epochs), description="gate"):
        order = rng.permutation(len(classes))
        for start in range(0, len(order), 64):
            rows = torch.from_numpy(order[start : start + 64])
            scores = net.gate(features[rows].float().to(where))
            loss = F.cross_entropy(scores, classes[rows].to(where), weight, label_smoothing=0.01)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.cpu()
    return float(loss.detach())


@torch.inference_mode()
def hold_back(net: FilmNet, good: Tensor) -> float:
    """Lower the bias of `mirrored` until few enough of these good films look so; by how much."""
    scores = torch.cat([net.gate(part.float()) for part in good.split(64)])
    margin = scores[:, MIRRORED] - scores[:, FRONTAL]
    shift = max(0.0, float(torch.quantile(margin, 1 - MIRRORED_REFUSES)))
    net.gate_out.bias[MIRRORED] -= shift
    return shift


def with_fresh_gate(net: FilmNet, seed: int, classes: int = len(GATE_CLASSES)) -> FilmNet:
    """The same network with a gate of so many classes that has learned nothing."""
    torch.manual_seed(seed)
    fresh = build(len(FINDINGS), classes, pretrained=False)
    kept = {name: value for name, value in net.state_dict().items() if not name.startswith("gate_")}
    fresh.load_state_dict(kept, strict=False)
    return fresh.to(memory_format=torch.channels_last).eval()


def renew(
    package: Path, recipe: Path, data: Path, run: Path, keep: Path | None = None, films: int | None = None
) -> FilmNet:
    """The package's network with another gate, in a run folder of its own. `films`: so many, for tests."""
    started = time.monotonic()
    former: dict[str, Any] = json.loads((package / "evaluation.json").read_text(encoding="utf-8"))
    settings = former["recipe"]
    settings |= tomllib.loads(recipe.read_text(encoding="utf-8"))
    rules = Gating(
        count=settings["gate_count"],
        epochs=settings["gate_epochs"],
        learning_rate=settings["gate_learning_rate"],
        seed=settings["seed"],
        mirrored=settings.get("gate_mirrored", True),
    )
    net = with_fresh_gate(from_package(package), rules.seed, len(rules.classes))
    train, val = (load_split(data, split).head(films) for split in ("train", "val"))
    squares = load_films(train.paths, settings["size"])
    val_features = trunk_features(net, load_films(val.paths, settings["size"]), keep, "val")
    loss = regate(net, rules, squares, val_features, data, keep)
    run.mkdir(parents=True, exist_ok=True)
    # calibration and thresholds belong to the findings, which stay
    (run / CHOICE_FILE).write_text(json.dumps(former["chosen_on_val"], indent=1) + "\n", encoding="utf-8")
    told = {"gate_loss": loss, "seconds": round(time.monotonic() - started), "torch": torch.__version__}
    settings["start"] = f"{package.name} {version_of(package)}"
    (run / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (run / "history.json").write_text(json.dumps({"epochs": [], **told}, indent=1) + "\n", encoding="utf-8")
    torch.save(net.state_dict(), run / "weights.pt")
    finish(run)
    return net


def version_of(package: Path) -> str:
    """Algorithm Version of a package."""
    manifest = tomllib.loads((package / "manifest.toml").read_text(encoding="utf-8"))
    return str(manifest["model"]["algorithm_version"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Give a package's network another gate.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="package whose findings are kept")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, required=True, help="folder for settings, history and weights")
    parser.add_argument("--keep", type=Path, default=None, help="folder that keeps trunk features")
    arguments = parser.parse_args()
    renew(arguments.start, arguments.recipe, arguments.data, arguments.run, arguments.keep)
    print((arguments.run / "history.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
