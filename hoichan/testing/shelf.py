"""Model packages of a few hundred bytes, of any version, and studies for them. Nobody in them is real."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MANIFEST = """schema_version = 1
[model]
name = "@NAME@"
algorithm_name = "Tiny"
algorithm_version = "@VERSION@"
algorithm_source = "Tests"
runtime = "onnx"
weights = "weights.onnx"
weights_sha256 = "@SHA@"
license = "Apache-2.0"
status = "@STATUS@"
intended_use = { vi = "Kiểm thử", en = "Tests" }
disclaimer = { vi = "Chỉ để kiểm thử", en = "For tests only" }
[accepts]
modality = ["CR", "DX"]
body_part_examined = ["CHEST"]
view_position = ["PA", "AP"]
patient_age_years = [18, 130]
size = 64
gate_operating_point = 0.0
[[outputs]]
name = "dark"
index = 0
finding_key = "pneumothorax"
operating_point = @DARK@
tier = "critical"
calibration = @DARK_CALIBRATION@
[[outputs]]
name = "bright"
index = 1
finding_key = "pleural_effusion"
operating_point = @BRIGHT@
tier = "urgent"
calibration = @BRIGHT_CALIBRATION@
"""


def write_version(
    shelf: Path,
    weights: Path,
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    status: str = "research",
    intercept: float = 0.0,
    more: str = "",
) -> Path:
    """A package in `<shelf>/<name>/<version>/`: two outputs, the darkness and the brightness of a film."""
    return write_package(
        shelf / name / version,
        weights,
        name=name,
        version=version,
        status=status,
        calibrations=(_platt(0.0), _platt(intercept)),
        more=more,
    )


def write_package(
    folder: Path,
    weights: Path,
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    status: str = "research",
    points: tuple[float, float] = (0.5, 0.5),
    calibrations: tuple[str, str] = ('{ method = "none" }', '{ method = "none" }'),
    more: str = "",
) -> Path:
    """The same package as a folder of its own; the pairs are of the darkness and of the brightness."""
    folder.mkdir(parents=True)
    content = weights.read_bytes()
    (folder / "weights.onnx").write_bytes(content)
    manifest = _MANIFEST
    for mark, text in (
        ("@NAME@", name),
        ("@VERSION@", version),
        ("@STATUS@", status),
        ("@SHA@", hashlib.sha256(content).hexdigest()),
        ("@DARK@", str(points[0])),
        ("@BRIGHT@", str(points[1])),
        ("@DARK_CALIBRATION@", calibrations[0]),
        ("@BRIGHT_CALIBRATION@", calibrations[1]),
    ):
        manifest = manifest.replace(mark, text)
    (folder / "manifest.toml").write_text(manifest + more, encoding="utf-8")
    return folder


def _platt(intercept: float) -> str:
    return f'{{ method = "platt", slope = 1.0, intercept = {intercept} }}'
