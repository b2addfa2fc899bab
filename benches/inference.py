"""What one film costs: the network alone, the whole way of a film, int8 and torch beside it, and decoding.

    .venv-train/bin/python -m benches.inference [--package models/cxr-demo] [--seconds 5] [--json]

* `bare`: `session.run` on a ready square, again and again.
* `whole way`: `OnnxRunner.run` on a filed DICOM object: read, decode, look, scale, run, lay the maps back.
  Films of three sizes; each one after the other in one thread, and by two threads, where one film is decoded
  while another is in the network. `of bare` of the latter says how busy the network is kept by two cores.
* `torch`, `int8`: the same network; only where torch and onnx are installed (make .venv-train/.train).
* `decode`: a drawn film of 2500 x 2048 pixels, 12 bits, in each transfer syntax that can be written here, and
  public films of pydicom in those that cannot, with their megapixels.

Films are drawn; thread counts are those of the service. Figures are medians of wall time;
processor time beside them is what other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.onnx_sessions import open_session
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.imaging import DECODING_ERRORS, read_film, read_picture, to_model_input
from hoichan.analysis.manifests import load
from hoichan.errors import InputOutOfDomain
from hoichan.testing.reports import a_film, a_study, as_bytes
from hoichan.types import ModelManifest, Study

PHANTOM = Path("models/cxr-demo/golden/chest_phantom.png")
Figures = dict[str, dict[str, float]]
PUBLIC = {  # of the distributions pydicom and pydicom-data
    "JPEG lossless": "JPEG-LL.dcm",
    "JPEG extended": "JPEG-lossy.dcm",
    "JPEG 2000 irreversible": "RG1_J2KI.dcm",
    "a real film, uncompressed": "RG1_UNCR.dcm",
    "a real film, JPEG 2000": "RG1_J2KR.dcm",
}
SIZES = ((2500, 2048), (1250, 1024), (625, 512))  # a detector's; a film as archives keep it; a small copy
SYNTAXES = {"RLE": RLELossless, "JPEG-LS lossless": JPEGLSLossless, "JPEG 2000 lossless": JPEG2000Lossless}


def main() -> int:
    """Prints one table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--package", type=Path, default=Path("models/cxr-demo"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    manifest = load(options.package)
    # the drawn film is no chest, and a refusal would skip the maps
    manifest = replace(manifest, accepts=replace(manifest.accepts, gate_operating_point=0.0))
    threads = max(1, (os.cpu_count() or 2) - 1)
    figures: Figures = {}
    drawn = read_picture(PHANTOM)
    phantom, square = drawn.pixels, to_model_input(drawn, manifest.accepts.size)
    session = open_session(manifest, threads)
    figures["bare session.run"] = _rate(lambda: session.run(None, {"film": square}), options.seconds)
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as folder:
        runner = OnnxRunner(lambda path: Path(folder, path), SystemClock(), threads=threads)
        runner.load(manifest)
        for rows, columns in SIZES:
            film = drawn_film(phantom, rows, columns)
            (Path(folder) / "film.dcm").write_bytes(as_bytes(film))
            study = a_study(film)

            def whole(study: Study = study) -> None:
                runner.run(manifest, study, study.instances[0])

            size = f"whole way, {rows * columns / 1e6:.1f} Mpx"
            figures[f"{size}, one thread"] = _rate(whole, options.seconds)
            figures[f"{size}, two threads"] = _rate_of_two(whole, options.seconds)
        figures |= _decoding(drawn_film(phantom), Path(folder), options.seconds / 2)
    figures |= _torch_and_int8(manifest, options.package, square, threads, options.seconds)
    bare = figures["bare session.run"]["images_per_second"]
    for row in figures.values():
        row["of_bare"] = round(row["images_per_second"] / bare, 3)
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, row in figures.items():
            print(f"{name:32} {row['images_per_second']:8.1f} images/s  {row['milliseconds']:8.2f} ms  "
                  f"{row['cpu_milliseconds']:8.2f} ms processor  {row['of_bare']:6.2f} of bare"
                  + (f"  {row['megapixels']} Mpx" if "megapixels" in row else ""))  # fmt: skip
    return 0


def drawn_film(phantom: NDArray[np.float32], rows: int = 2500, columns: int = 2048) -> Dataset:
    """The chest that nobody has, with a detector's grain: flat films compress too well."""
    film = a_film(rows=rows, columns=columns)
    down = np.linspace(0, phantom.shape[0] - 1, rows).astype(int)
    across = np.linspace(0, phantom.shape[1] - 1, columns).astype(int)
    grain = np.random.default_rng(0).normal(0, 12, (rows, columns))
    film.PixelData = np.clip(4000 * phantom[down][:, across] + grain, 0, 4095).astype("<u2").tobytes()
    return film


def _rate(step: Callable[[], object], seconds: float) -> dict[str, float]:
    for _ in range(3):
        step()
    took = []
    end = time.perf_counter() + seconds
    cpu = time.process_time()
    while time.perf_counter() < end or len(took) < 5:
        began = time.perf_counter()
        step()
        took.append(time.perf_counter() - began)
    middle = statistics.median(took)
    cpu = (time.process_time() - cpu) / len(took)
    return {
        "images_per_second": round(1 / middle, 2),
        "milliseconds": round(1000 * middle, 2),
        "cpu_milliseconds": round(1000 * cpu, 2),
    }


def _rate_of_two(step: Callable[[], object], seconds: float) -> dict[str, float]:
    """Both threads together: a film is decoded while another is in the network."""
    counts = [0, 0]
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            step()
            counts[number] += 1

    began, cpu = time.perf_counter(), time.process_time()
    workers = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=seconds + 120)
    rate = sum(counts) / (time.perf_counter() - began)
    return {
        "images_per_second": round(rate, 2),
        "milliseconds": round(1000 / rate, 2),
        "cpu_milliseconds": round(1000 * (time.process_time() - cpu) / max(1, sum(counts)), 2),
    }


def _decoding(film: Dataset, folder: Path, seconds: float) -> Figures:
    figures: Figures = {}
    forms: dict[str, Callable[[], Dataset]] = {"uncompressed": lambda: film}
    for name, syntax in SYNTAXES.items():
        forms[name] = lambda syntax=syntax: _compressed(film, syntax)  # type: ignore[misc]
    for name, make in forms.items():
        path = folder / "form.dcm"
        try:
            path.write_bytes(as_bytes(make()))
        except (RuntimeError, NotImplementedError, ValueError) as error:
            sys.stderr.write(f"{name} cannot be written here: {type(error).__name__}\n")
            continue
        figures[f"decode {name}"] = _decoded(path, seconds)
    for name, file in PUBLIC.items():
        place = get_testdata_file(file, download=False)
        try:
            if place is not None:
                figures[f"decode {name}"] = _decoded(Path(place), seconds)
        except (InputOutOfDomain, *DECODING_ERRORS) as error:
            sys.stderr.write(f"{name} cannot be decoded here: {type(error).__name__}\n")
    return figures


def _decoded(path: Path, seconds: float) -> dict[str, float]:
    film = read_film(dcmread(path))
    row = _rate(lambda: read_film(dcmread(path)), seconds)
    size = {"megabytes": path.stat().st_size / 1e6, "megapixels": film.pixels.size / 1e6}
    return {**row, **{name: round(value, 2) for name, value in size.items()}}


def _compressed(film: Dataset, syntax: str) -> Dataset:
    import copy  # noqa: PLC0415

    one = copy.deepcopy(film)
    one.compress(syntax, generate_instance_uid=False)
    return one


def _torch_and_int8(
    manifest: ModelManifest, package: Path, square: NDArray[np.float32], threads: int, seconds: float
) -> Figures:
    """The same network in torch and in int8; empty where the workshop is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnxruntime  # noqa: PLC0415
            import torch  # noqa: PLC0415

            from training.package_net import from_package  # noqa: PLC0415
            from training.quantise import quantised  # noqa: PLC0415
    except ImportError as error:
        sys.stderr.write(f"torch and int8 are left out: {error.name} is not installed here\n")
        return {}
    torch.set_num_threads(threads)
    net = from_package(package)
    film = torch.from_numpy(square)

    def eager() -> None:
        with torch.inference_mode():
            net(film)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    weights = quantised((package / manifest.weights).read_bytes(), np.repeat(square, 4, axis=0))
    small = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    return {
        "torch eager": _rate(eager, seconds),
        "ONNX Runtime int8": _rate(lambda: small.run(None, {"film": square}), seconds),
    }


if __name__ == "__main__":
    raise SystemExit(main())
