"""Judge a hippocampus run on split test once, and write its network as a MONAI bundle and as ONNX.

    python -m training.export_hippocampus runs/hippocampus --data ../shared/data --package models/hippocampus

Nothing is chosen here: the figures go into evaluation.json and card.md as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from training.train_hippocampus import Settings, build, dice, network_definition, normalise, outline
from training.volumes import STRUCTURES, LabelledVolume, load_volumes

OPSET = 18
LARGEST_DIFFERENCE = 1e-3  # in logits, between torch and ONNX Runtime
BOOTSTRAPS = 2000
HERE = Path(__file__).parent


def load_run(run: Path) -> tuple[torch.nn.Module, Settings]:
    """The trained network of a run, and its recipe."""
    settings = Settings(**json.loads((run / "settings.json").read_text(encoding="utf-8")))
    net = build(settings)
    net.load_state_dict(torch.load(run / "weights.pt", weights_only=True))
    return net.eval(), settings


def to_onnx(net: torch.nn.Module) -> bytes:
    """image (1, 1, x, y, z) -> logits (1, 3, x, y, z); sides are multiples of four, from 16 on."""
    sides = {
        2 + axis: 4 * torch.export.Dim(f"quarter_{name}", min=4, max=64) for axis, name in enumerate("xyz")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter talks about its own future
        program = torch.onnx.export(
            net.to(memory_format=torch.contiguous_format),
            (torch.rand(1, 1, 40, 56, 48),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(sides,),
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto
    for node in model.graph.node:  # the exporter notes where in our sources each node came from
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model)
    return model.SerializeToString()


def run_onnx(session: onnxruntime.InferenceSession, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, x, y, z) logits of a normalised volume."""
    padded = np.pad(image, [(0, -side % 4) for side in image.shape])
    logits: NDArray[np.float32] = session.run(["logits"], {"image": padded[None, None]})[0][0]
    return logits[:, : image.shape[0], : image.shape[1], : image.shape[2]]


def spread(scores: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """Mean with a bootstrap interval over volumes, median and the worst."""
    rng = np.random.default_rng(seed)
    means = scores[rng.integers(0, len(scores), (BOOTSTRAPS, len(scores)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": round(float(scores.mean()), 4),
        "mean_ci95": [round(float(low), 4), round(float(high), 4)],
        "median": round(float(np.median(scores)), 4),
        "percentiles_5_95": [round(float(v), 4) for v in np.percentile(scores, [5, 95])],
        "worst": round(float(scores.min()), 4),
    }


def seconds_of(step: Callable[[], object]) -> float:
    """Processor seconds, which other work on the machine does not change much."""
    started = time.process_time()
    step()
    return time.process_time() - started


def evaluate(net: torch.nn.Module, weights: bytes, volumes: list[LabelledVolume]) -> dict[str, Any]:
    """Dice and volumes of every case by ONNX Runtime, and how far torch is from it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    cases, moved, theirs, ours = [], 0.0, [], []
    for volume in volumes:
        image = normalise(volume.image)
        theirs.append(seconds_of(lambda image=image: run_onnx(session, image)))  # type: ignore[misc]
        ours.append(seconds_of(lambda image=image: outline(net, image)))  # type: ignore[misc]
        logits = run_onnx(session, image)
        padded = np.pad(image, [(0, -side % 4) for side in image.shape])
        with torch.inference_mode():
            expected = net(torch.from_numpy(padded[None, None]))[0].numpy()
        x, y, z = image.shape
        moved = max(moved, float(np.abs(logits - expected[:, :x, :y, :z]).max()))
        found = logits.argmax(0)
        case: dict[str, Any] = {"name": volume.name}
        for k, (structure, score) in enumerate(zip(STRUCTURES, dice(volume.label, found), strict=True), 1):
            case[structure] = {
                "dice": round(score, 4),
                "ml": round(float((found == k).sum()) / 1000, 3),
                "ml_drawn": round(float((volume.label == k).sum()) / 1000, 3),
            }
        cases.append(case)
    if moved > LARGEST_DIFFERENCE:
        raise ValueError(f"the ONNX graph differs from torch by {moved}")
    test = {
        s: {
            "dice": spread(np.array([c[s]["dice"] for c in cases])),
            "ml_difference": _agreement(np.array([c[s]["ml"] - c[s]["ml_drawn"] for c in cases])),
        }
        for s in STRUCTURES
    }
    speed = {"onnxruntime": round(float(np.median(theirs)), 3), "torch": round(float(np.median(ours)), 3)}
    return {
        "volumes": len(cases),
        "test": test,
        "largest_logit_difference_torch_onnx": moved,
        "cpu_seconds_a_volume": {**speed, "threads": torch.get_num_threads()},
        "cases": cases,
    }


def _agreement(differences: NDArray[np.float64]) -> dict[str, Any]:
    """Bland and Altman: bias and the limits between which 95 % of the differences lie, in ml."""
    bias, deviation = (
        float(differences.mean()),
        float(differences.std(ddof=1)) if len(differences) > 1 else 0.0,
    )
    return {
        "bias": round(bias, 3),
        "limits": [round(bias - 1.96 * deviation, 3), round(bias + 1.96 * deviation, 3)],
    }


def bundle(net: torch.nn.Module, settings: Settings, package: Path) -> None:
    """metadata.json, configs/inference.json and models/model.pt, as the bundle specification says."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": 1,
        "spatial_shape": ["4*n", "4*n", "4*n"],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "image"},
    }
    labels = {
        "type": "image",
        "format": "segmentation",
        "num_channels": 3,
        "spatial_shape": ["4*n", "4*n", "4*n"],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "background", "1": "anterior", "2": "posterior"},
    }
    metadata = {
        "version": settings.version,
        "changelog": {settings.version: "first published weights"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "optional_packages_version": {"nibabel": "5.4.2"},
        "name": "Hoi Chan hippocampus demonstration",
        "task": "Anterior and posterior hippocampus on a cropped T1 MR volume of 1 mm",
        "description": "Demonstration, not validated. Takes a crop around one hippocampus, not a whole head.",
        "authors": "Hoi Chan",
        "copyright": "CC BY-SA 4.0",
        "data_source": "Medical Segmentation Decathlon, Task04",
        "data_type": "nibabel",
        "image_classes": "1 channel, percentiles 1 and 99 scaled to 0 and 1",
        "label_classes": "0 background, 1 anterior, 2 posterior",
        "pred_classes": "3 channels: background, anterior, posterior",
        "eval_metrics": {},
        "intended_use": "Demonstration, not for diagnosis",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": labels}},
    }
    inference = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": network_definition(settings),
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "image_only": True},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0], "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRangePercentilesd",
                    "keys": "image",
                    "lower": 1,
                    "upper": 99,
                    "b_min": 0.0,
                    "b_max": 1.0,
                    "clip": True,
                },
                {"_target_": "DivisiblePadd", "keys": "image", "k": 4, "method": "end"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
        },
    }
    for name, content in (("metadata.json", metadata), ("inference.json", inference)):
        (package / "configs").mkdir(parents=True, exist_ok=True)
        (package / "configs" / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (package / "models").mkdir(exist_ok=True)
    torch.save(net.state_dict(), package / "models" / "model.pt")


def golden(weights: bytes, package: Path) -> None:
    """A drawn volume, nobody's, and the labels that this graph gives for it."""
    rng = np.random.default_rng(5)
    x, y, z = np.mgrid[0:34, 0:50, 0:38].astype(np.float32)
    body = np.hypot(np.hypot((x - 17) / 6, (y - 26) / 17), (z - 18 - 0.25 * (y - 26)) / 5)
    volume = (70 + 60 * (body > 1.6) - 25 * (body < 1.0) + rng.normal(0, 4, body.shape)).astype(np.int16)
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    logits = run_onnx(session, normalise(volume.astype(np.float32)))
    (package / "golden").mkdir(exist_ok=True)
    np.savez_compressed(
        package / "golden" / "drawn.npz",
        volume=volume,
        labels=logits.argmax(0).astype(np.uint8),
        corner_logits=logits[:, ::8, ::8, ::8].astype(np.float32),
    )


def card(evaluation: dict[str, Any], settings: Settings) -> str:
    """The recipe's words with this run's figures."""
    text = (HERE / "recipes" / "hippocampus.card.md").read_text(encoding="utf-8")
    rows = []
    for s in STRUCTURES:
        row = evaluation["test"][s]
        d, ml = row["dice"], row["ml_difference"]
        rows.append(
            f"| {s} | {d['mean']:.3f} ({d['mean_ci95'][0]:.3f}–{d['mean_ci95'][1]:.3f}) | {d['median']:.3f} "
            f"| {d['worst']:.3f} | {ml['bias']:+.2f} | {ml['limits'][0]:+.2f} to {ml['limits'][1]:+.2f} |"
        )
    speed = evaluation["cpu_seconds_a_volume"]
    for mark, value in {
        "@VERSION@": settings.version,
        "@ROWS@": "\n".join(rows),
        "@VOLUMES@": str(evaluation["volumes"]),
        "@ORT@": f"{speed['onnxruntime']:.2f}",
        "@TORCH@": f"{speed['torch']:.2f}",
    }.items():
        text = text.replace(mark, value)
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Evaluate and export a hippocampus run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--package", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net, settings = load_run(arguments.run)
    package: Path = arguments.package
    package.mkdir(parents=True, exist_ok=True)
    weights = to_onnx(net)
    (package / "weights.onnx").write_bytes(weights)
    found = evaluate(net, weights, load_volumes(arguments.data, "test"))
    history = json.loads((arguments.run / "history.json").read_text(encoding="utf-8"))
    evaluation = {
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "recipe": vars_of(settings),
        "split": "by hash of the file name; the two sides of one person may be in different splits",
        **found,
        "history": history,
    }
    (package / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n", encoding="utf-8")
    (package / "card.md").write_text(card(evaluation, settings), encoding="utf-8")
    bundle(net, settings, package)
    golden(weights, package)
    print(json.dumps({**found["test"], **found["cpu_seconds_a_volume"]}))


def vars_of(settings: Settings) -> dict[str, Any]:
    """The recipe as plain values."""
    return {name: getattr(settings, name) for name in settings.__slots__}


if __name__ == "__main__":
    main()
