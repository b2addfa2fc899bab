"""Ask the gate about films that nobody took: projections of a chest CT from the front, the side and between.

    .venv-train/bin/python -m training.gate_projections CT.nii.gz --package models/cxr-demo [--pictures DIR]

No lateral film is at hand, but a CT can be looked through from any side. A projection is no film: no
detector, no scatter, arms out of the way, coarse in the length of the body. So the frontal ones are the
control: **the rest says something only where at least 90 % of the frontal ones are let in**. All renderings
are of one body; their number is no number of patients, and no interval belongs to it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from hoichan.adapters.onnx_sessions import open_session
from hoichan.analysis.films import Film
from hoichan.analysis.gate import GATE_CLASSES, check_pixels
from hoichan.analysis.imaging import to_model_input
from hoichan.analysis.manifests import load
from hoichan.errors import InputOutOfDomain

Array = NDArray[np.float32]

WATER_PER_MM = 0.02  # attenuation at some 70 keV
BODY_PER_MM = 0.008  # more than air and clothes
SOURCE_MM = 1800.0  # from the detector
GAP_MM = 30.0  # between the body and the detector
PIXEL_MM = 1.6
ENOUGH_CONTROLS = 0.9  # of the frontal renderings
AROUND = (-10, -5, 0, 5, 10)  # degrees: nobody stands quite straight
BENDS = (0.6, 0.8, 1.2)  # powers of the grey scale
CROPS = {
    "whole": (0.0, 1.0, 0.0),
    "chest": (0.0, 0.72, 0.06),
    "tight": (0.04, 0.66, 0.10),
}  # top, bottom, sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Attenuation of a chest: rows from the head down, depth to the front, columns to the patient's left."""

    per_mm: Array  # (rows, depth, columns)
    row_mm: float
    column_mm: float  # of depth too


def read_body(path: Path) -> Body:
    """A CT of a chest as NIfTI, Hounsfield units; without table and clothes, half as fine in the plane."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    units = np.asarray(image.dataobj, dtype=np.float32)  # x to the right, y to the front, z to the head
    across, deep, long = (float(v) for v in image.header.get_zooms()[:3])
    if abs(across - deep) > 0.01:
        raise ValueError("the voxels of the CT are no squares in the plane")
    even = units[: units.shape[0] // 2 * 2, : units.shape[1] // 2 * 2]
    half = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, -1).mean(axis=(1, 3))
    per_mm = np.maximum(half / 1000 + 1, 0) * np.float32(WATER_PER_MM)
    placed = np.ascontiguousarray(per_mm.transpose(2, 1, 0)[::-1, :, ::-1])
    return Body(per_mm=body_only(placed), row_mm=long, column_mm=2 * across)


def body_only(per_mm: Array) -> Array:
    """In each slice the largest thing that hangs together; the rest is air."""
    kept = np.zeros(per_mm.shape, dtype=np.bool_)
    for number, slice_ in enumerate(per_mm):
        parts, count = ndimage.label(ndimage.binary_opening(slice_ > BODY_PER_MM, iterations=2))
        if count:
            largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))))
            grown = ndimage.binary_dilation(parts == largest, iterations=3)
            kept[number] = ndimage.binary_fill_holes(grown)
    return np.where(kept, per_mm, np.float32(0))


def project(body: Body, degrees: float) -> Array:
    """What a detector sees behind the body, as lengths of attenuation: (rows, columns) float32.

    0: the front of the body is at the detector (PA); 90 and 270: a side is. Rays fan out from one point, so
    what is nearer to it is larger. Columns run to the patient's left at 0.
    """
    turned = ndimage.rotate(body.per_mm, degrees, axes=(1, 2), reshape=False, order=1, mode="constant")
    rows, _, columns = turned.shape
    height = int(rows * body.row_mm * 1.15 / PIXEL_MM)
    width = int(columns * body.column_mm * 1.15 / PIXEL_MM)
    seen = np.zeros((height, width), dtype=np.float32)
    filled = np.flatnonzero(turned.any(axis=(0, 2)))
    for depth in filled:
        away = (filled[-1] - depth) * body.column_mm + GAP_MM
        larger = SOURCE_MM / (SOURCE_MM - away)
        x, y = PIXEL_MM / (larger * body.column_mm), PIXEL_MM / (larger * body.row_mm)
        place = (x, 0, (columns - 1) / 2 - x * (width - 1) / 2, 0, y, (rows - 1) / 2 - y * (height - 1) / 2)
        layer = Image.fromarray(np.ascontiguousarray(turned[:, depth]))
        seen += np.asarray(
            layer.transform((width, height), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
        )
    return seen * np.float32(body.column_mm)


def views(body: Body) -> Iterator[tuple[str, float, Array]]:
    """Name, degrees off the name's own direction, projection."""
    for off in AROUND:
        yield "PA", off, project(body, off)
        yield "AP", off, project(body, 180 + off)[:, ::-1]  # shown as every frontal film is
        yield "left lateral", off, project(body, 90 + off)
        yield "right lateral", off, project(body, 270 + off)
    for off in (20, 30, 40, 50, 60, 70):
        yield f"oblique {off}", off, project(body, off)
        yield f"oblique {off}", -off, project(body, -off)


def films(seen: Array) -> Iterator[tuple[str, Film]]:
    """The same projection in three crops and three bends of the grey scale; bright = dense."""
    rows, columns = np.flatnonzero(seen.max(axis=1) > 0.5), np.flatnonzero(seen.max(axis=0) > 0.5)
    inside = seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = inside.shape
    for name, (top, bottom, side) in CROPS.items():
        part = inside[int(height * top) : int(height * bottom), int(width * side) : int(width * (1 - side))]
        level = np.clip(part / np.percentile(part, 99.7), 0, 1)
        for bend in BENDS:
            yield name, Film(grey=np.ascontiguousarray(level**bend, dtype=np.float32), spacing_mm=None)


def count(body: Body, package: Path, pictures: Path | None = None) -> dict[str, object]:
    """View and crop -> how many renderings were let in; and whether the control lets the rest be told."""
    manifest = load(package)
    session = open_session(manifest, 1)
    counted: dict[str, dict[str, list[float]]] = {}
    looks: dict[str, dict[str, int]] = {}
    for view, off, seen in views(body):
        for number, (crop, film) in enumerate(films(seen)):
            if pictures is not None:
                grey = Image.fromarray((film.pixels * 255).astype(np.uint8))
                grey.save(pictures / f"{view} {off} {crop} {number}.png")
            square = to_model_input(film, manifest.accepts.size)
            found = dict(
                zip((o.name for o in session.get_outputs()), session.run(None, {"film": square}), strict=True)
            )
            gate = found["gate"][0]
            counted.setdefault(view, {}).setdefault(crop, []).append(float(gate[0]) if _passes(film) else 0.0)
            seen_as = looks.setdefault(view, {})
            name = GATE_CLASSES[int(gate.argmax())]
            seen_as[name] = seen_as.get(name, 0) + 1
    point = manifest.accepts.gate_operating_point
    rows = {
        view: {
            "looks": looks[view],
            **{crop: {"let_in": sum(p >= point for p in found), "n": len(found),
                      "median_frontal": round(float(np.median(found)), 3)} for crop, found in crops.items()},
        }
        for view, crops in counted.items()
    }  # fmt: skip
    controls = {crop: [p for view in ("PA", "AP") for p in counted[view][crop]] for crop in CROPS}
    every = [p for found in controls.values() for p in found]
    return {
        "package": f"{manifest.name} {manifest.algorithm_version}",
        "views": rows,
        "controls_let_in": {
            crop: round(float(np.mean([p >= point for p in c])), 3) for crop, c in controls.items()
        },
        "says_something": float(np.mean([p >= point for p in every])) >= ENOUGH_CONTROLS,
    }


def _passes(film: Film) -> bool:
    try:
        check_pixels(film)
    except InputOutOfDomain:
        return False
    return True


def main() -> int:
    """Prints the counts as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ct", type=Path, help="NIfTI, Hounsfield units")
    parser.add_argument("--package", type=Path, default=Path("models/cxr-demo"))
    parser.add_argument("--pictures", type=Path, help="a folder for the renderings, to look at")
    options = parser.parse_args()
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    print(json.dumps(count(read_body(options.ct), options.package, options.pictures), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
