"""One service in processes of its own for each test, told and asked by the commands only."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from hoichan.testing.house import HOICHAN, RunningHouse

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

ONE_SENDER = """
[[listener.senders]]
ae_title = "CR_ROOM1"
host = "127.0.0.0/8"
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


@pytest.fixture
def new_house(tmp_path):
    """Makes houses that are not started yet; what a test leaves running is stopped after it."""
    made = []

    def make(name="house", **settings):
        made.append(RunningHouse(tmp_path / name, **settings))
        write_package(made[-1].data_dir / "models")
        return made[-1]

    yield make
    for house in made:
        house.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A running house that the tests of one module share, each with studies of its own."""
    made = RunningHouse(tmp_path_factory.mktemp("house"), config=ONE_SENDER)
    write_package(made.data_dir / "models")
    with made:
        yield made


@pytest.fixture
def hoichan():
    """Runs one command without any house."""

    def run(*arguments, **options):
        return subprocess.run(
            [HOICHAN, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            **options,
        )

    return run
