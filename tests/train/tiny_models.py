"""Graphs of a few hundred bytes for the tests of the runner, which run where onnx is not installed.

python tests/train/tiny_models.py        writes them to tests/golden/models/
"""

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

FOLDER = Path(__file__).parents[1] / "golden" / "models"
SIDE = 64


def build(kind: str) -> ModelProto:
    """film (N, 1, 64, 64) -> maps of 8 x 8 cells, `dark` and `bright`; the gate is the lower half's mean.

    `plain` gives logits, cam and gate; `probabilities` only those; `nan` a number that is none; `nameless` an
    output that nobody knows; `short` one output too few; `fixed` takes films of 32 pixels only.
    """
    side = 32 if kind == "fixed" else SIDE
    nodes = [
        helper.make_node("AveragePool", ["film"], ["bright"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark"] if kind == "short" else ["dark", "bright"], ["cam"], axis=1),
        helper.make_node("ReduceMean", ["cam", "hw"], ["means"], keepdims=0),
        helper.make_node("Slice", ["film", "half", "end", "rows"], ["lower"]),
        helper.make_node("ReduceMean", ["lower", "hw"], ["gate"], keepdims=0),
        helper.make_node("Sigmoid", ["means"], ["probabilities"]),
        helper.make_node("Log", ["minus"], ["nan"]),
        helper.make_node("Add", ["means", "nan" if kind == "nan" else "nought"], ["logits"]),
    ]
    numbers = {"one": np.float32(1), "minus": np.float32(-1), "nought": np.float32(0), "hw": [2, 3],
               "half": [side // 2], "end": [side], "rows": [2]}  # fmt: skip
    weights = [
        numpy_helper.from_array(np.asarray(v, dtype=np.float32 if np.isscalar(v) else np.int64), name)
        for name, v in numbers.items()
    ]
    shapes = {
        "logits": ["N", 2],
        "cam": ["N", 2, 8, 8],
        "gate": ["N", 1],
        "probabilities": ["N", 2],
        "means": ["N", 2],
    }
    shown = {"probabilities": ["probabilities"], "nameless": ["means"]}.get(kind, ["logits", "cam", "gate"])
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, ["N", 1, side, side])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shapes[name]))
            for name in shown
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return model


KINDS = ("plain", "probabilities", "nan", "nameless", "short", "fixed")

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for each in KINDS:
        (FOLDER / f"{each}.onnx").write_bytes(build(each).SerializeToString())
