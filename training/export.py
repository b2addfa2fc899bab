"""Turn a training run into a model package that the service can use without torch.

    python -m training.export runs/cxr-demo --data ../shared/data --package models/cxr-demo

torch.export -> ONNX, parity with torch, weights stored as float16 where that moves no AUROC by 0.01 (sums
stay float32), then manifest, golden cases, evaluation and card. What is not proved here is not written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from hoichan.analysis.films import Film
from hoichan.analysis.gate import GATE_CLASSES
from hoichan.analysis.imaging import read_film, read_picture, to_model_input
from hoichan.codes import FINDINGS as TERMS
from hoichan.types import Tier
from training.dataset import FINDINGS, Array, drawing, load_films, load_split
from training.evaluate import auroc, load_net
from training.networks import FilmNet

OPSET = 18
SMALL = 1024  # numbers; initializers below this stay float32
MOST_AUROC_MOVES = 0.01
LARGEST_BYTES = 10_000_000
MOST_POSITIVES_ELSEWHERE = 0.25  # of the films of a second hospital
FEWEST_POSITIVES = 10  # on split test, for a finding that is shown
GOLDEN_TOLERANCE = 0.02  # in logits and gate probabilities, between processors
HERE = Path(__file__).parent


class Shipped(nn.Module):
    """What the graph computes: the film net with its gate as probabilities."""

    def __init__(self, net: FilmNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, film: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits, cam, gate) of (N, 1, S, S) films."""
        out = self.net(film)
        return out.logits, out.cam, out.gate.softmax(1)


def to_onnx(net: FilmNet, size: int) -> onnx.ModelProto:
    """The float32 graph: film (N, 1, S, S) -> logits (N, 14), cam (N, 14, S/32, S/32), gate (N, 4)."""
    example = torch.rand(2, 1, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter talks about its own future
        program = torch.onnx.export(
            Shipped(net).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["film"],
            output_names=["logits", "cam", "gate"],
            dynamic_shapes={"film": {0: torch.export.Dim("films", min=1, max=64)}},
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto
    onnx.checker.check_model(model)
    return model


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with large weights stored as float16, cast back on loading; sums stay float32."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    casts = []
    for weight in half.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALL:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    del half.graph.value_info[:]
    del half.metadata_props[:]
    # the exporter notes where in our sources each node came from: not needed, and large
    for node in half.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(half)
    return half


def run_onnx(model: bytes, films: Array) -> tuple[Array, Array, Array]:
    """(logits, cam, gate) of (n, 1, S, S) films by ONNX Runtime."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["logits", "cam", "gate"], {"film": films[i : i + 8]}) for i in range(0, len(films), 8)
    ]
    logits, cam, gate = (np.concatenate(column) for column in zip(*parts, strict=True))
    return logits, cam, gate


@torch.inference_mode()
def parity(net: FilmNet, model: bytes, films: Array) -> dict[str, float]:
    """The largest difference between torch and ONNX Runtime in logits, maps and gate, and between each logit
    and its map.
    """
    ours = Shipped(net).eval()(torch.from_numpy(films))
    theirs = run_onnx(model, films)
    found = {
        name: float(np.abs(a.numpy() - b).max())
        for name, a, b in zip(("logits", "cam", "gate"), ours, theirs, strict=True)
    }
    explained = theirs[1].mean(axis=(2, 3)) + net.bias.detach().numpy()
    return {**found, "logit_minus_map": float(np.abs(explained - theirs[0]).max())}


def largest_auroc_move(labels: Array, before: Array, after: Array) -> float:
    """How far any finding's AUROC moves between two sets of logits (n, 14)."""
    moves = [
        abs(auroc(labels[:, k], before[:, k]) - auroc(labels[:, k], after[:, k]))
        for k in range(labels.shape[1])
    ]
    return float(np.nanmax(moves))


# ----------------------------------------------------------------------------------------------- golden cases
def chest_phantom(size: int = 192, seed: int = 1) -> NDArray[np.uint8]:
    """A drawn chest, nobody's: body, two lungs, heart, spine, ribs and an effusion on one side. (size, size)
    8 bits.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size

    def blob(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.float32]:
        r = np.hypot((x - cx) / rx, (y - cy) / ry)
        return np.asarray(1 / (1 + np.exp(np.clip(18 * (r - 1), -40, 40))), dtype=np.float32)

    film = 0.08 + 0.55 * np.maximum(blob(0.5, 0.85, 0.48, 0.75), blob(0.5, 0.05, 0.12, 0.3))
    for side in (-1, 1):
        lung = blob(0.5 + side * 0.2, 0.48, 0.155, 0.33)
        film -= 0.42 * lung
        film += 0.10 * lung * np.clip(np.sin(34 * (y + 0.35 * (x - 0.5 - side * 0.2) ** 2 * 8)), 0, 1)  # ribs
        film += 0.12 * blob(0.5 + side * 0.2, 0.16, 0.2, 0.015)  # collar bones
    film += 0.30 * blob(0.55, 0.62, 0.14, 0.17) + 0.14 * blob(0.5, 0.5, 0.04, 0.6)  # heart, spine
    film += 0.25 * blob(0.30, 0.80, 0.16, 0.12)  # an effusion
    film += rng.normal(0, 0.01, film.shape).astype(np.float32)
    return (255 * np.clip(film, 0, 1)).astype(np.uint8)


def golden_cases(model: bytes, names: list[str], size: int, folder: Path) -> None:
    """Write drawn films and what this graph says of them, and of two public films by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    pictures = {
        "chest_phantom": chest_phantom(),
        "limb_phantom": (255 * drawing("limb", 192, rng)).astype(np.uint8)[:, :144],
        "clouds": (255 * drawing("clouds", 128, rng)).astype(np.uint8),
    }
    cases: list[dict[str, Any]] = []

    def case(name: str, film: Film, **source: str) -> None:
        logits, _, gate = run_onnx(model, to_model_input(film, size))
        cases.append({"name": name, **source, "tolerance": GOLDEN_TOLERANCE,
                      "logits": {n: round(float(v), 5) for n, v in zip(names, logits[0], strict=True)},
                      "gate": [round(float(v), 5) for v in gate[0]]})  # fmt: skip

    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png", optimize=True)
        case(name, read_picture(folder / f"{name}.png"), picture=f"{name}.png")
    for public, film in public_films().items():
        case(public.removesuffix(".dcm"), film, public_file=f"pydicom-data:{public}")
    (folder / "cases.json").write_text(
        json.dumps({"gate_classes": GATE_CLASSES[: len(cases[0]["gate"])], "cases": cases}, indent=1) + "\n"
    )


def public_films() -> dict[str, Film]:
    """A chest and a leg of the distribution pydicom-data: known by name, not copied."""
    import data_store
    from pydicom import dcmread

    folder = Path(next(iter(data_store.__path__))) / "data"
    return {name: read_film(dcmread(folder / name)) for name in ("RG1_UNCR.dcm", "RG3_UNCR.dcm")}


# --------------------------------------------------------------------------------------------- manifest, card
def why_disabled(row: Mapping[str, Any]) -> str:
    """Empty when the finding may be shown; else why not, judged on split test.

    It must have enough positives to be judged, stand above chance, beat age, sex and view beyond chance (the
    interval of the difference lies above nought), flag films with the finding more often than films without,
    and not flag a large part of another hospital.
    """
    figures = f"AUROC {row['auroc']:.2f}, CI95 {row['auroc_ci95'][0]:.2f}-{row['auroc_ci95'][1]:.2f}"
    if row["positives"] < FEWEST_POSITIVES:
        return f"only {row['positives']} films of split test have it ({figures})"
    if row["auroc_ci95"][0] <= 0.5:
        return f"not above chance on split test ({figures})"
    if row["auroc"] <= row["metadata_auroc"]:
        return f"no better than age, sex and view alone on split test ({figures})"
    low, high = row["difference_ci95"]
    if low <= 0.0:
        beside = f"AUROC {row['auroc']:.2f} against {row['metadata_auroc']:.2f}, CI95 of the difference"
        return f"does not clearly beat age, sex and view on split test ({beside} {low:.2f} to {high:.2f})"
    if row["sensitivity"]["share"] <= 1 - row["specificity"]["share"]:
        return f"its operating point does not tell films of split test apart ({figures})"
    if (far := row["positive_share_second_hospital"]) > MOST_POSITIVES_ELSEWHERE:
        return f"its operating point does not travel: it flags {far:.0%} of the films of a second hospital"
    return ""


def manifest_toml(
    settings: Mapping[str, Any], evaluation: Mapping[str, Any], sha256: str, status: str = "research"
) -> str:
    """The text of manifest.toml; its schema is `hoichan.analysis.manifests`."""
    head = (HERE / "recipes" / f"{settings['name']}.manifest.toml").read_text(encoding="utf-8")
    text = head.replace("@VERSION@", settings["version"]).replace("@SHA256@", sha256)
    text = text.replace("@SIZE@", str(settings["size"])).replace("@STATUS@", status)
    text = text.replace("@GATE@", str(evaluation["gate"]["operating_point"]))
    for index, (name, key) in enumerate(FINDINGS.items()):
        chosen, why = evaluation["chosen_on_val"][key], why_disabled(evaluation["test"][key])
        tier: Tier = TERMS[key].tier
        text += f'\n[[outputs]]\nname = "{name}"\nindex = {index}\nfinding_key = "{key}"\n'
        text += f'operating_point = {chosen["operating_point"]}\ntier = "{tier.value}"\n'
        platt = f"slope = {chosen['slope']}, intercept = {chosen['intercept']}"
        text += f'calibration = {{ method = "platt", {platt} }}\n'
        if why:
            text += f'enabled = false\ndisabled_reason = "{why}"\n'
    return text


def card(settings: Mapping[str, Any], evaluation: Mapping[str, Any], size_bytes: int) -> str:
    """The text of card.md: the recipe's words with this run's figures."""
    test, gate = evaluation["test"], evaluation["gate"]

    def ci(pair: list[float]) -> str:
        return f"{pair[0]:.2f}–{pair[1]:.2f}"

    def share(row: Mapping[str, Any]) -> str:
        low, high = (100 * v for v in row["ci95"])
        return f"{row['k']} / {row['n']} ({100 * row['share']:.1f} %, {low:.1f}–{high:.1f})"

    lines = [
        f"| {key} | {r['positives']} | {r['auroc']:.2f} ({ci(r['auroc_ci95'])}) | {r['metadata_auroc']:.2f} "
        f"({ci(r['metadata_auroc_ci95'])}) | {ci(r['difference_ci95'])} | {r['sensitivity']['share']:.2f} "
        f"| {r['specificity']['share']:.2f} | {r['calibration']['ece']:.2f} "
        f"| {'no' if why_disabled(r) else 'yes'} |"
        for key, r in test.items()
        if key != "mean_of_14"
    ]
    mean = test["mean_of_14"]
    lines.append(
        f"| **mean of 14** | | **{mean['auroc']:.2f}** ({ci(mean['auroc_ci95'])}) "
        f"| {mean['metadata_auroc']:.2f} ({ci(mean['metadata_auroc_ci95'])}) "
        f"| {ci(mean['difference_ci95'])} | | | | |"
    )
    groups = [
        f"| {n} | {g['films']} | {g['findings']} | {g['mean_auroc']:.2f} ({ci(g['ci95'])}) |"
        for n, g in evaluation["subgroups"].items()
    ]
    good = [f"| {name} | {share(row)} |" for name, row in gate["good_films_refused"].items()]
    bad = [f"| {name} | {share(row)} |" for name, row in gate["refused"].items()]
    text = (HERE / "recipes" / f"{settings['name']}.card.md").read_text(encoding="utf-8")
    parity_of = evaluation["export"]["parity_float32"]
    for mark, value in {
        "@VERSION@": settings["version"],
        "@SIZE@": str(settings["size"]),
        "@FINDINGS@": "\n".join(lines),
        "@SUBGROUPS@": "\n".join(groups),
        "@RELIABILITY@": "\n".join(reliability_rows(test)),
        "@GATE@": str(gate["operating_point"]),
        "@GOOD@": "\n".join(good),
        "@BAD@": "\n".join(bad),
        "@SHOWN@": ", ".join(key for key in FINDINGS.values() if not why_disabled(test[key])),
        "@OBJECTS@": ", ".join(f"{n} ({o['frontal_chest']:.3f})" for n, o in gate["objects"].items()),
        "@MEGABYTES@": f"{size_bytes / 1e6:.1f}",
        "@MOVE@": f"{evaluation['export']['largest_auroc_move']:.4f}",
        "@PARITY@": f"{max(parity_of['logits'], parity_of['gate']):.1e}",
        "@CALIBRATION@": f"{evaluation['calibration_error_test']:.2f}",
    }.items():
        text = text.replace(mark, value)
    return text


def reliability_rows(test: Mapping[str, Any]) -> list[str]:
    """Rows of the card: what the shown findings said in fifths of the films, and what was."""
    return [
        f"| {fifth} | {key} | {one['films']} | {one['said']:.2f} | {one['was']:.2f} "
        f"({one['ci95'][0]:.2f}–{one['ci95'][1]:.2f}) |"
        for key in FINDINGS.values()
        if not why_disabled(test[key])
        for fifth, one in enumerate(test[key]["calibration"]["bins"], 1)
    ]


# ------------------------------------------------------------------------------------------------------- main
def choose_weights(net: FilmNet, size: int, films: Array, labels: Array) -> tuple[bytes, dict[str, Any]]:
    """The graph to ship, and the proof: float32 parity; float16 storage unless it moves an AUROC by 0.01."""
    full = to_onnx(net, size)
    full_bytes, half_bytes = full.SerializeToString(), halve(full).SerializeToString()
    proof = parity(net, full_bytes, films[:16])
    if max(proof["logits"], proof["gate"]) > 1e-3 or proof["cam"] > 1e-2 or proof["logit_minus_map"] > 1e-3:
        raise ValueError(f"the ONNX graph differs from torch: {proof}")
    move = largest_auroc_move(labels, run_onnx(full_bytes, films)[0], run_onnx(half_bytes, films)[0])
    small = move < MOST_AUROC_MOVES
    shipped = half_bytes if small else full_bytes
    if len(shipped) > LARGEST_BYTES:
        raise ValueError(f"the weights have {len(shipped)} bytes, more than {LARGEST_BYTES}")
    return shipped, {
        "parity_float32": proof,
        "largest_auroc_move": move,
        "stored_as": "float16" if small else "float32",
        "float32_bytes": len(full_bytes),
        "bytes": len(shipped),
    }


def export(run: Path, data: Path, package: Path, status: str = "research") -> None:
    """Write the package of a run that has been evaluated; `status` is what its manifest begins with."""
    net, settings = load_net(run)
    net = net.to(memory_format=torch.contiguous_format)
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    val = load_split(data, "val")
    weights, proof = choose_weights(
        net, settings["size"], load_films(val.paths, settings["size"]), val.labels
    )
    named = {key: Path(settings.get(key, "")).name for key in ("start", "also")}  # folders of this machine
    evaluation = {"recipe": {**settings, **named}, "export": proof, **evaluation}
    package.mkdir(parents=True, exist_ok=True)
    (package / "weights.onnx").write_bytes(weights)
    manifest = manifest_toml(settings, evaluation, hashlib.sha256(weights).hexdigest(), status)
    (package / "manifest.toml").write_text(manifest, encoding="utf-8")
    (package / "card.md").write_text(card(settings, evaluation, len(weights)), encoding="utf-8")
    (package / "evaluation.json").write_text(
        json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    golden_cases(weights, list(FINDINGS), settings["size"], package / "golden")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Export a training run as a model package.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument(
        "--status", choices=("shadow", "research"), default="research", help="of a new version: shadow"
    )
    arguments = parser.parse_args()
    export(arguments.run, arguments.data, arguments.package, arguments.status)
    print(f"written {arguments.package}")


if __name__ == "__main__":
    main()
