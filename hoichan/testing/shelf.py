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
operating_point = 0.5
tier = "critical"
calibration = { method = "platt", slope = 1.0, intercept = 0.0 }
[[outputs]]
name = "bright"
index = 1
finding_key = "pleural_effusion"
operating_point = 0.5
tier = "urgent"
calibration = { method = "platt", slope = 1.0, intercept = @INTERCEPT@ }
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
    folder = shelf / name / version
    folder.mkdir(parents=True)
    content = weights.read_bytes()
    (folder / "weights.onnx").write_bytes(content)
    manifest = _MANIFEST
    for mark, text in (
        ("@NAME@", name),
        ("@VERSION@", version),
        ("@STATUS@", status),
        ("@SHA@", hashlib.sha256(content).hexdigest()),
        ("@INTERCEPT@", str(intercept)),
    ):
        manifest = manifest.replace(mark, text)
    (folder / "manifest.toml").write_text(manifest + more, encoding="utf-8")
    return folder
