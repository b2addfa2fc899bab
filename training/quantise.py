"""An int8 form of a package's graph: quantise, hold it against float32 on val, refuse what moved.

    python -m training.quantise models/cxr-demo --data ../shared/data --out runs/cxr-demo-int8

Static quantisation (QDQ, U8S8, a scale a channel), calibrated on films of train; squares, the taps' sums and
the gate stay float. It is taken when, on val, no finding's AUROC falls by more than 0.01, their mean by more
than 0.005, no calibration error rises by more than 0.01, the gate refuses no good film more than 2 % and the
maps correlate above 0.99. Else exit code 1, and nothing is written. Worth it only on processors with integer
instructions (avx512_vnni, avx_vnni, asimddp): where there are none the program says so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from hoichan.analysis.manifests import load
from training.dataset import Array, Samples, load_films, load_split
from training.evaluate import auroc, reliability
from training.export import run_onnx

CALIBRATION_FILMS = 64
MOST_AUROC_FALLS = 0.01  # of one finding
MOST_MEAN_FALLS = 0.005
MOST_ECE_RISES = 0.01
MOST_GOOD_REFUSED = 0.02
LEAST_MAP_CORRELATION = 0.99
INTEGER_FLAGS = {"avx512_vnni", "avx_vnni", "asimddp"}


class Films(CalibrationDataReader):  # type: ignore[misc]
    """Films one by one, as the quantiser wants them."""

    def __init__(self, films: Array) -> None:
        self._films: Iterator[Array] = iter(films)

    def get_next(self) -> dict[str, Array] | None:
        """The next film; None at the end."""
        film = next(self._films, None)
        return None if film is None else {"film": film[None]}


def quantised(weights: bytes, films: Array) -> bytes:
    """The int8 graph of a float graph; filters only: sums, squares and the small heads stay float."""
    with tempfile.TemporaryDirectory() as folder:
        whole, ready, small = (Path(folder, name) for name in ("whole.onnx", "ready.onnx", "int8.onnx"))
        whole.write_bytes(weights)
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(small),
            Films(films),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        return small.read_bytes()


def compare(
    before: bytes, after: bytes, films: Array, labels: Array, package: dict[str, Any]
) -> dict[str, Any]:
    """What int8 costs on films with labels (n, findings); `faults` is empty when it may be used."""
    (a, a_map, _), (b, b_map, gate) = (run_onnx(graph, films) for graph in (before, after))
    outputs = package["outputs"]
    falls, rises = [], []
    for output in outputs:
        k, scale = output["index"], output["calibration"]
        falls.append(auroc(labels[:, k], a[:, k]) - auroc(labels[:, k], b[:, k]))
        eces = [
            reliability(labels[:, k], 1 / (1 + np.exp(-(scale["slope"] * x[:, k] + scale["intercept"]))))[
                "ece"
            ]
            for x in (a, b)
        ]
        rises.append(eces[1] - eces[0])
    refused = float((gate[:, 0] < package["accepts"]["gate_operating_point"]).mean())
    correlation = float(np.corrcoef(a_map.reshape(-1), b_map.reshape(-1))[0, 1])
    told = {
        "films": len(films),
        "largest_auroc_fall": round(float(np.nanmax(falls)), 4),
        "mean_auroc_fall": round(float(np.nanmean(falls)), 4),
        "largest_ece_rise": round(max(rises), 4),
        "good_films_refused": round(refused, 4),
        "map_correlation": round(correlation, 5),
        "largest_logit_difference": round(float(np.abs(a - b).max()), 4),
        "bytes": {"float": len(before), "int8": len(after)},
    }
    bars = (
        ("largest_auroc_fall", told["largest_auroc_fall"] <= MOST_AUROC_FALLS),
        ("mean_auroc_fall", told["mean_auroc_fall"] <= MOST_MEAN_FALLS),
        ("largest_ece_rise", told["largest_ece_rise"] <= MOST_ECE_RISES),
        ("good_films_refused", told["good_films_refused"] <= MOST_GOOD_REFUSED),
        ("map_correlation", told["map_correlation"] >= LEAST_MAP_CORRELATION),
    )
    return {**told, "faults": [name for name, held in bars if not held]}


def integer_instructions(cpuinfo: str) -> bool:
    """Whether this processor multiplies integers quickly (`flags` or `Features` of /proc/cpuinfo)."""
    return bool(INTEGER_FLAGS & set(cpuinfo.split()))


def main() -> int:
    """Command line; exit code 1 when int8 costs too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for int8.onnx and int8.json")
    parser.add_argument("--films", type=int, default=None, help="only so many films of val")
    arguments = parser.parse_args()
    manifest = load(arguments.package)
    package = tomllib.loads((arguments.package / "manifest.toml").read_text(encoding="utf-8"))
    weights = (arguments.package / manifest.weights).read_bytes()
    size = manifest.accepts.size
    train: Samples = load_split(arguments.data, "train").head(CALIBRATION_FILMS)
    val = load_split(arguments.data, "val").head(arguments.films)
    small = quantised(weights, load_films(train.paths, size))
    told = compare(weights, small, load_films(val.paths, size), val.labels, package)
    cpuinfo = Path("/proc/cpuinfo")
    told["integer_instructions_here"] = cpuinfo.exists() and integer_instructions(cpuinfo.read_text())
    print(json.dumps(told, indent=1))
    if told["faults"]:
        print("refused: " + ", ".join(told["faults"]))
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "int8.onnx").write_bytes(small)
    (arguments.out / "int8.json").write_text(json.dumps(told, indent=1) + "\n")
    print(f"written {arguments.out}; a new graph is a new version: raise algorithm_version in its manifest")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
