"""The network inside a package, as a torch network that can be trained on: the way back from the export.

The exporter folds batch statistics into the filters before them; here they come back as filters with a bias.
Weights that were stored as float16 are those numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from hoichan.analysis.gate import GATE_CLASSES
from training.dataset import FINDINGS
from training.networks import REGIONS, TAP_CHANNELS, FilmNet, build

# a filter's name ends with -> the batch statistics behind it
NORMS = {"_conv_stem": "_bn0", "_conv_head": "_bn1", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1",
         "_project_conv": "_bn2"}  # fmt: skip


def from_package(package: Path) -> FilmNet:
    """The network of `package/weights.onnx`, in evaluation. Raises ValueError for another graph."""
    graph = onnx.load(package / "weights.onnx").graph
    stored = {i.name.removesuffix(".half"): numpy_helper.to_array(i) for i in graph.initializer}
    gate = stored.get("net.gate_out.bias", np.zeros(len(GATE_CLASSES)))  # older packages have four classes
    net = build(len(FINDINGS), len(gate), pretrained=False)
    state = {
        name: torch.from_numpy(stored[f"net.{name}"].astype(np.float32))
        for name in net.state_dict()
        if f"net.{name}" in stored
    }
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        filters = node.input[1].removeprefix("net.").removesuffix(".weight")
        place, _, last = filters.rpartition(".")
        if last in NORMS:
            state |= _plain_norm(f"{place}.{NORMS[last]}" if place else NORMS[last], stored[node.input[2]])
    if "tap_weight" not in state:
        state |= _taps(stored, len(FINDINGS))
    if "tap_weight" not in state and any(node.op_type == "Einsum" for node in graph.node):
        raise ValueError(f"the taps in {package.name} are not as the exporter writes them")
    missing = [
        name
        for name in net.state_dict()
        if name not in state and "num_batches" not in name and name != "tap_weight"
    ]
    if missing:
        raise ValueError(f"the graph in {package.name} is not of this network: it lacks {missing[0]}")
    net.load_state_dict(state, strict=False)
    return net.eval()


def _taps(stored: dict[str, NDArray[np.float32]], findings: int) -> dict[str, torch.Tensor]:
    """The taps' weights, which the exporter stores with their rows first; none in packages before 1.1.0."""
    shape = (REGIONS, findings, TAP_CHANNELS, REGIONS)
    found = [values for values in stored.values() if values.shape == shape]
    return {"tap_weight": torch.from_numpy(found[0].astype(np.float32)).permute(1, 2, 0, 3)} if found else {}


def _plain_norm(name: str, bias: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    """Batch statistics that only add `bias`."""
    ones = torch.ones(len(bias))
    return {
        f"{name}.weight": ones,
        f"{name}.bias": torch.from_numpy(bias.astype(np.float32)),
        f"{name}.running_mean": 0 * ones,
        f"{name}.running_var": ones - 1e-3,  # its eps
    }
