"""A model package of a few hundred bytes, for houses whose answers a test must know beforehand."""

import hashlib
from pathlib import Path

TINY = Path(__file__).parents[1] / "golden" / "models" / "plain.onnx"
MANIFEST = """
schema_version = 1
[model]
name = "@NAME@"
algorithm_name = "Tiny"
algorithm_version = "1.0.0"
algorithm_source = "Tests"
runtime = "onnx"
weights = "weights.onnx"
weights_sha256 = "@SHA@"
license = "Apache-2.0"
status = "research"
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
operating_point = 0.99
tier = "critical"
calibration = { method = "none" }
[[outputs]]
name = "bright"
index = 1
finding_key = "pleural_effusion"
operating_point = 0.01
tier = "urgent"
calibration = { method = "none" }
"""


def write_package(models, *, name="cxr-demo"):
    """A model package that finds an effusion and no pneumothorax in every film.

    Under the name of the shipped model it takes its place: a site's own shelf comes first.
    """
    folder = models / name
    folder.mkdir(parents=True)
    weights = TINY.read_bytes()
    (folder / "weights.onnx").write_bytes(weights)
    manifest = MANIFEST.replace("@SHA@", hashlib.sha256(weights).hexdigest()).replace("@NAME@", name)
    (folder / "manifest.toml").write_text(manifest, encoding="utf-8")
    return folder
