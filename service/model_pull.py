"""A public model becomes a package for this site's shelf: `hoichan model pull xrv:densenet121-res224-all`.

TorchXRayVision (Cohen et al., MIDL 2022) publishes chest-film networks with the operating points of their
authors. The library fetches the weights; here the network gets its class activation maps into the graph, is
exported to ONNX, must give the library's own numbers, and becomes a package with a card. It begins in shadow.

    logit[k] = mean over the map of cam[k] + bias[k];   film 0..1 -> -1024..1024, as the library wants it
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from hoichan.analysis.imaging import read_picture, to_model_input
from hoichan.codes import FINDINGS
from hoichan.errors import ManifestInvalid

SCHEME = "xrv:"
PREFIX = "densenet121-res224-"  # the DenseNets of the library; its ResNets and others are built otherwise
SIDE = 224  # pixels of the square that they were trained on
LARGEST_DIFFERENCE = 1e-3  # in logits, between the library and the exported graph
HERE = Path(__file__).parent
# the library's word -> key of hoichan.codes.FINDINGS; what has none of ours is left out
KEYS = {name: name.lower().replace(" ", "_") for name in (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis",
    "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Fracture",
)} | {"Effusion": "pleural_effusion"}  # fmt: skip
# AUROC of densenet121-res224-all as its authors publish it (BENCHMARKS.md of the library, 27 June 2021)
PUBLISHED = {
    "densenet121-res224-all": {
        "VinBrain (Việt Nam)": {
            "Atelectasis": 0.67, "Cardiomegaly": 0.90, "Consolidation": 0.93, "Effusion": 0.87,
            "Infiltration": 0.86, "Pleural_Thickening": 0.84, "Pneumothorax": 0.93,
        },
        "PadChest (Spain)": {
            "Atelectasis": 0.77, "Cardiomegaly": 0.93, "Consolidation": 0.88, "Edema": 0.97, "Effusion": 0.95,
            "Emphysema": 0.87, "Fibrosis": 0.94, "Fracture": 0.70, "Hernia": 0.96, "Infiltration": 0.85,
            "Mass": 0.85, "Nodule": 0.69, "Pleural_Thickening": 0.79, "Pneumonia": 0.82, "Pneumothorax": 0.81,
        },
    }
}  # fmt: skip

Net = Any  # torchxrayvision.models.DenseNet: an extra, without types
Fetch = Callable[[str], Net]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A graph and the proof that it is the library's network."""

    weights: bytes
    parity: float  # the largest difference of a logit


def pull(source: str, folder: Path, fetch: Fetch | None = None) -> Path:
    """Write the package `folder/<name>` of a public model and give its folder.

    Raises ManifestInvalid, with one sentence, for a name that is none, without the extra `xrv`, and where the
    weights cannot be fetched or give other numbers than the library.
    """
    if not source.startswith(SCHEME + PREFIX):
        raise ManifestInvalid(f"{source!r} is no model that can be pulled: write {SCHEME}{PREFIX}all.")
    weights_name = source.removeprefix(SCHEME)
    net = (fetch or fetch_xrv)(weights_name)
    exported = export(net)
    package = folder / f"xrv-{weights_name}"
    try:
        (package / "golden").mkdir(parents=True)
    except OSError as error:
        raise ManifestInvalid(f"{package} cannot be made: {type(error).__name__}.") from None
    (package / "weights.onnx").write_bytes(exported.weights)
    (package / "manifest.toml").write_text(manifest(net, weights_name, exported), encoding="utf-8")
    (package / "card.md").write_text(card(net, weights_name, exported), encoding="utf-8")
    _golden(net, exported.weights, package / "golden")
    return package


def fetch_xrv(weights_name: str) -> Net:
    """The library's network with its weights, which it keeps in the home folder. Raises ManifestInvalid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnxscript  # noqa: F401, PLC0415  the exporter needs it
            import torchxrayvision as xrv  # noqa: PLC0415
    except ImportError as error:
        raise ManifestInvalid(
            f"{error.name} is not installed: pip install 'hoichan[xrv]' (torch and about 1 GB with it)."
        ) from None
    known = sorted(name for name in xrv.models.model_urls if name.startswith(PREFIX))
    if weights_name not in known:
        raise ManifestInvalid(f"TorchXRayVision has no {weights_name!r}; it has: {', '.join(known)}.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it draws a bar
            return xrv.models.DenseNet(weights=weights_name)
    except OSError as error:  # requests' errors are among them
        raise ManifestInvalid(
            f"The weights could not be fetched ({type(error).__name__}): this machine needs the internet "
            "for this once. Or run the same command with --out where there is internet, and `hoichan model "
            f"add` its folder here; or put {xrv.models.model_urls[weights_name]['weights_url']} into "
            "~/.torchxrayvision/models_data/."
        ) from None


def export(net: Net) -> Exported:
    """The ONNX graph with maps, proved against the library's own forward pass. Raises ManifestInvalid."""
    import torch  # noqa: PLC0415  an extra

    class WithMaps(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.features, self.classifier = net.features, net.classifier

        def forward(self, film: Any) -> Any:  # noqa: ANN401
            features = torch.relu(self.features(film * 2048.0 - 1024.0))  # (N, C, S/32, S/32)
            cam = torch.einsum("nchw,kc->nkhw", features, self.classifier.weight)
            return cam.mean((2, 3)) + self.classifier.bias, cam

    net.eval()
    thresholds, net.op_threshs, net.apply_sigmoid = net.op_threshs, None, False  # logits, please
    films = np.random.default_rng(0).random((3, 1, SIDE, SIDE), dtype=np.float32)
    with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
        expected = net(torch.from_numpy(films * 2048 - 1024)).numpy()
    net.op_threshs = thresholds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter talks about its own future
        program = torch.onnx.export(
            WithMaps().eval(),
            (torch.from_numpy(films[:2]),),
            dynamo=True,
            opset_version=18,
            input_names=["film"],
            output_names=["logits", "cam"],
            dynamic_shapes={"film": {0: torch.export.Dim("films", min=1, max=64)}},
            verbose=False,
        )
    weights: bytes = program.model_proto.SerializeToString()
    found, cam = _run(weights, films)
    bias = net.classifier.bias.detach().numpy()
    difference = max(
        float(np.abs(found - expected).max()), float(np.abs(cam.mean((2, 3)) + bias - found).max())
    )
    if not difference <= LARGEST_DIFFERENCE:  # not: a NaN is no parity either
        raise ManifestInvalid(f"The exported graph gives other numbers than the library: {difference:.2g}.")
    return Exported(weights=weights, parity=difference)


def manifest(net: Net, weights_name: str, exported: Exported) -> str:
    """The text of manifest.toml."""
    lines = [
        "# Written by `hoichan model pull`: public weights, the operating points of their authors.",
        "schema_version = 1",
        "[model]",
        f'name = "xrv-{weights_name}"',
        f'algorithm_name = "TorchXRayVision {weights_name}"',
        'algorithm_version = "1.0.0"',
        'algorithm_source = "mlmed"',
        'runtime = "onnx"',
        'weights = "weights.onnx"',
        f'weights_sha256 = "{hashlib.sha256(exported.weights).hexdigest()}"',
        'license = "Apache-2.0"',
        'status = "shadow"',
        'intended_use = { vi = "Mô hình công khai cho phim ngực thẳng; chạy ngầm để so sánh, chưa thẩm định '
        'tại đây.", en = "A public model for frontal chest films, to be compared; not validated here." }',
        'disclaimer = { vi = "Mô hình công khai, chưa được thẩm định tại đây", '
        'en = "Public model, not validated here" }',
        "[accepts]",
        'modality = ["CR", "DX"]',
        'body_part_examined = ["CHEST"]',
        'view_position = ["PA", "AP"]',
        "patient_age_years = [18, 130]",
        f"size = {SIDE}",
        "gate_operating_point = 0.0",
    ]
    for index, (name, point) in outputs(net).items():
        tier = FINDINGS[KEYS[name]].tier
        known = not math.isnan(point)
        lines += [
            "[[outputs]]",
            f'name = "{name}"',
            f"index = {index}",
            f'finding_key = "{KEYS[name]}"',
            f"operating_point = {point if known else 0.5:.8g}",
            f'tier = "{tier.value}"',
            'calibration = { method = "none" }',
        ]
        if not known:
            lines += ["enabled = false", 'disabled_reason = "its authors give no operating point"']
    return "\n".join(lines) + "\n"


def outputs(net: Net) -> dict[int, tuple[str, float]]:
    """Position in the output vector -> the library's word and its operating point, of findings we know."""
    thresholds = [float(t) for t in net.op_threshs] if net.op_threshs is not None else []
    return {
        index: (name, thresholds[index] if thresholds else math.nan)
        for index, name in enumerate(net.pathologies)
        if KEYS.get(name) in FINDINGS
    }


def card(net: Net, weights_name: str, exported: Exported) -> str:
    """The text of card.md."""
    published = PUBLISHED.get(weights_name, {})
    told = [(name, f"{point:.4f}") for name, point in outputs(net).values()]
    head = " | ".join(["finding", "operating point", *(f"AUROC, {place}" for place in published)])
    rows = [
        " | ".join([name, point, *(f"{row[name]:.2f}" if name in row else "–" for row in published.values())])
        for name, point in told
    ]
    table = "\n".join(f"| {row} |" for row in [head, " | ".join("---" for _ in head.split(" | ")), *rows])
    text = (HERE / "model_pull.card.md").read_text(encoding="utf-8")
    for mark, value in {
        "@NAME@": weights_name,
        "@TABLE@": table,
        "@PARITY@": f"{exported.parity:.1e}",
        "@SIZE@": str(SIDE),
    }.items():
        text = text.replace(mark, value)
    return text


def _golden(net: Net, weights: bytes, folder: Path) -> None:
    """Drawings, nobody's, and what this graph says of them here."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:160, 0:160].astype(np.float32) / 160
    pictures = {
        "waves": np.sin(9 * x) * np.cos(7 * y),
        "noise": rng.random((160, 160)),
        "disc": (np.hypot(x - 0.5, y - 0.5) < 0.3) + 0.2 * x,
    }
    cases = []
    for name, values in pictures.items():
        scaled = (values - values.min()) / (values.max() - values.min())
        Image.fromarray((255 * scaled).astype(np.uint8)).save(folder / f"{name}.png", optimize=True)
        logits, _ = _run(weights, to_model_input(read_picture(folder / f"{name}.png"), SIDE))
        cases.append({
            "name": name, "picture": f"{name}.png", "tolerance": 0.02, "gate": [],
            "logits": {word: round(float(logits[0, i]), 5) for i, (word, _) in outputs(net).items()},
        })  # fmt: skip
    (folder / "cases.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n", encoding="utf-8")


def _run(weights: bytes, films: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(logits, cam) by ONNX Runtime."""
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    logits, cam = session.run(["logits", "cam"], {"film": films})
    return logits, cam
