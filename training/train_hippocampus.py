"""Train the small 3-D network that outlines a hippocampus: settings, data, network, loop, files.

    python -m training.train_hippocampus training/recipes/hippocampus.toml --run runs/hippocampus

Everything drawn by chance comes from (seed, epoch), and `checkpoint.pt` is written after each epoch: a run
that was stopped goes on with the same command and gives the same weights as one that was not. The learning
rate rises, stays, and falls over the last `decay_epochs`; what is kept is the running average of the
weights. The split `test` is never opened here.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Compose, RandAffined, RandFlipd, RandSpatialCropd, SpatialPadd
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.run_folder import finish
from training.volumes import STRUCTURES, LabelledVolume, load_volumes


# --------------------------------------------------------------------------------------------------- settings
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One recipe."""

    name: str  # folder of the package
    version: str  # new weights = new version
    seed: int = 0
    channels: Sequence[int] = (8, 16, 32, 64)  # feature maps of each level
    strides: Sequence[int] = (1, 2, 2)  # between the levels; the first level sees full resolution
    residual_units: int = 1  # convolutions beside a short cut, a level
    patch: Sequence[int] = (32, 48, 32)  # voxels of 1 mm, x y z: what one step sees of a volume
    batch_size: int = 2
    epochs: int = 30  # passes over the training volumes
    decay_epochs: int = 8  # the last ones, over which the learning rate falls to nothing
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    average_decay: float = 0.99  # of the running average of weights, a step
    volumes: int | None = None  # only so many volumes a split: for tests


def read_recipe(path: Path, **changes: object) -> Settings:
    """A recipe file, with settings changed by name. Unknown keys are a TypeError."""
    return Settings(**{**tomllib.loads(path.read_text(encoding="utf-8")), **changes})  # type: ignore[arg-type]


def network_definition(settings: Settings) -> dict[str, object]:
    """The network in the words of a MONAI bundle: training and `configs/inference.json` build from it."""
    return {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1 + len(STRUCTURES),
        "channels": list(settings.channels),
        "strides": list(settings.strides),
        "num_res_units": settings.residual_units,
        "norm": ["INSTANCE", {"affine": True}],
    }


def build(settings: Settings) -> UNet:
    """The untrained network: (n, 1, x, y, z) -> (n, 3, x, y, z) logits; sides must be multiples of 4."""
    arguments = network_definition(settings)
    arguments.pop("_target_")
    return UNet(**arguments)


# ------------------------------------------------------------------------------------------------------- data
def normalise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Percentiles 1 and 99 of the volume become 0 and 1, clipped."""
    low, high = np.percentile(image, [1.0, 99.0])
    return np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)


def alterations(settings: Settings, epoch: int) -> Compose:
    """What another head, side or angle would change. Left-right is a flip that anatomy has too; the others
    would swap head and tail of the hippocampus.
    """
    alter = Compose(
        [
            SpatialPadd(keys=("image", "label"), spatial_size=settings.patch),
            RandSpatialCropd(keys=("image", "label"), roi_size=settings.patch, random_size=False),
            RandFlipd(keys=("image", "label"), prob=0.5, spatial_axis=0),
            RandAffined(keys=("image", "label"), prob=0.6, rotate_range=(0.2, 0.2, 0.2),
                        scale_range=(0.12, 0.12, 0.12), mode=("bilinear", "nearest"), padding_mode="zeros"),
        ]
    )  # fmt: skip
    alter.set_random_state(settings.seed * 1000 + epoch)
    return alter


def batches(volumes: list[LabelledVolume], settings: Settings, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, 1, x, y, z) images and (B, 1, x, y, z) labels of one epoch."""
    rng = np.random.default_rng((settings.seed, epoch))
    alter = alterations(settings, epoch)
    order = rng.permutation(len(volumes))
    for start in range(0, len(order) - settings.batch_size + 1, settings.batch_size):
        images, labels = [], []
        for i in order[start : start + settings.batch_size]:
            volume = volumes[i]
            got = alter({"image": volume.image[None], "label": volume.label[None]})
            image = np.asarray(got["image"], dtype=np.float32)
            image = image ** rng.uniform(0.7, 1.4) * rng.uniform(0.85, 1.15) + rng.uniform(-0.08, 0.08)
            images.append(image + rng.normal(0, rng.uniform(0, 0.04), image.shape).astype(np.float32))
            labels.append(np.asarray(got["label"], dtype=np.int64))
        x = torch.from_numpy(np.stack(images).astype(np.float32))
        yield x.contiguous(memory_format=torch.channels_last_3d), torch.from_numpy(np.stack(labels))


# ------------------------------------------------------------------------------------------------------- loop
def learning_rate(settings: Settings, epoch: float) -> float:
    """Rise over one epoch, stay, fall by a cosine over the last `decay_epochs`."""
    left = settings.epochs - epoch
    if left < settings.decay_epochs:
        return settings.learning_rate * 0.5 * (1 - math.cos(math.pi * max(left, 0.0) / settings.decay_epochs))
    return settings.learning_rate * min(1.0, 0.05 + epoch)


def dice(label: NDArray[np.integer], found: NDArray[np.integer]) -> tuple[float, ...]:
    """Dice of each structure, 0..1; 1 where neither has a voxel of it."""
    scores = []
    for k in range(1, len(STRUCTURES) + 1):
        both, one, other = ((label == k) & (found == k)).sum(), (label == k).sum(), (found == k).sum()
        scores.append(1.0 if one + other == 0 else float(2 * both / (one + other)))
    return tuple(scores)


@torch.inference_mode()
def outline(net: torch.nn.Module, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(x, y, z) labels of a normalised volume, padded with zeros to multiples of four, in one piece."""
    padding = [(0, -side % 4) for side in image.shape]
    x = torch.from_numpy(np.pad(image, padding)[None, None]).contiguous(memory_format=torch.channels_last_3d)
    labels = net(x)[0].argmax(0).numpy().astype(np.uint8)
    return np.ascontiguousarray(labels[: image.shape[0], : image.shape[1], : image.shape[2]])


def train(settings: Settings, data: Path, run: Path) -> UNet:
    """Train as the recipe says and leave `settings.json`, `history.json` and `weights.pt` (a state_dict) in
    the run folder; goes on from `checkpoint.pt` where there is one.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    volumes = {
        split: [
            LabelledVolume(name=v.name, image=normalise(v.image), label=v.label)
            for v in load_volumes(data, split, settings.volumes)
        ]
        for split in ("train", "val")
    }
    net = build(settings).to(memory_format=torch.channels_last_3d)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.0, weight_decay=settings.weight_decay)
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    history: list[dict[str, float]] = []

    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        history = kept["history"]

    steps = len(volumes["train"]) // settings.batch_size
    for epoch in range(len(history), settings.epochs):
        started, spent, total = time.monotonic(), time.process_time(), 0.0
        net.train()
        stream = batches(volumes["train"], settings, epoch)
        for step, (x, y) in enumerate(track(stream, description=f"epoch {epoch}", total=steps)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, epoch + step / steps)
            loss = loss_of(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(net)
            total += float(loss.detach())
        average.eval()
        found = [dice(v.label, outline(average.module, v.image)) for v in volumes["val"]]
        history.append(
            {
                "epoch": epoch,
                "loss": total / max(1, steps),
                **{f"val_dice_{s}": float(np.mean([d[k] for d in found])) for k, s in enumerate(STRUCTURES)},
                "seconds": round(time.monotonic() - started, 1),
                "cpu_seconds": round(time.process_time() - spent, 1),
            }
        )
        _keep(checkpoint, {"net": net.state_dict(), "average": average.state_dict(),
                           "optimizer": optimizer.state_dict(), "history": history})  # fmt: skip
        _write(run, settings, history)
        print(json.dumps(history[-1]), flush=True)
    torch.save(average.module.state_dict(), run / "weights.pt")
    trained: UNet = average.module
    return trained.eval()


def _keep(path: Path, state: dict[str, object]) -> None:
    """A checkpoint is whole or it is the one before."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _write(run: Path, settings: Settings, history: list[dict[str, float]]) -> None:
    (run / "settings.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    made_with = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    (run / "history.json").write_text(json.dumps({"epochs": history, **made_with}, indent=1) + "\n")
    finish(run)


# ------------------------------------------------------------------------------------------------------- main
def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the hippocampus model from a recipe.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoint, history and weights")
    parser.add_argument("--threads", type=int, default=1, help="processor threads; results differ a little")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(read_recipe(arguments.recipe), arguments.data, arguments.run)


if __name__ == "__main__":
    main()
