"""A first volume.toml for a bundle: what is known is right, what is not known is marked."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hoichan.analysis.volume_packages import DRAFT_MARK, load_volume_package
from hoichan.errors import ManifestInvalid
from service.cli import app
from service.model_draft import draft

SHIPPED = Path(__file__).parents[3] / "models" / "hippocampus"


@pytest.fixture
def bundle(tmp_path):
    """The shipped bundle as a model zoo gives one: nothing of ours in it."""
    folder = tmp_path / "hippo-two"
    for part in ("configs", "models"):
        shutil.copytree(SHIPPED / part, folder / part)
    return folder


def read(bundle):
    return tomllib.loads(draft(bundle))


def test_what_the_bundle_says_of_itself_is_filled_in(bundle):
    found = read(bundle)
    model, accepts = found["model"], found["accepts"]
    assert (model["name"], model["runtime"], model["status"]) == ("hippo-two", "monai_bundle", "shadow")
    shipped = tomllib.loads((SHIPPED / "volume.toml").read_text(encoding="utf-8"))
    assert model["weights"] == "models/model.pt" and len(model["weights_sha256"]) == 64
    assert accepts["modality"] == shipped["accepts"]["modality"] == "MR"
    assert accepts["spacing_mm"] == [1.0, 1.0, 1.0]
    assert [(one["channel"], one["display"]["en"]) for one in found["segments"]] == [
        (1, "anterior"),
        (2, "posterior"),
    ]


def test_a_draft_cannot_be_used_before_its_guesses_are_read(bundle):
    text = draft(bundle)
    (bundle / "volume.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestInvalid, match=r"\d+ lines of volume\.toml still hold a guess"):
        load_volume_package(bundle)
    (bundle / "volume.toml").write_text(text.replace(DRAFT_MARK, "read"), encoding="utf-8")
    manifest = load_volume_package(bundle)
    assert [segment.channel for segment in manifest.segments] == [1, 2]
    assert manifest.accepts.spacing_mm == (1.0, 1.0, 1.0)


def test_the_command_writes_it_once(bundle):
    first = CliRunner().invoke(app, ["model", "draft", str(bundle)])
    assert first.exit_code == 0, first.output
    assert "lines hold a guess" in first.output
    second = CliRunner().invoke(app, ["model", "draft", str(bundle)])
    assert (second.exit_code, "not overwritten" in second.output) == (2, True)


def test_a_fixed_size_is_the_size(bundle):
    place = bundle / "configs" / "metadata.json"
    content = json.loads(place.read_text(encoding="utf-8"))
    image = content["network_data_format"]["inputs"]["image"]
    image.update(spatial_shape=[96, 96, 64], modality="CT")
    place.write_text(json.dumps(content), encoding="utf-8")
    accepts = read(bundle)["accepts"]
    assert accepts["modality"] == "CT"
    assert accepts["smallest"] == accepts["largest"] == [96, 96, 64]


def test_a_name_that_no_package_may_have(bundle):
    with pytest.raises(ManifestInvalid, match="call the folder 'spleen-ct'"):
        draft(bundle.rename(bundle.parent / "Spleen_CT"))


def test_a_bundle_without_weights(bundle):
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(ManifestInvalid, match=r"no models/model\.pt"):
        draft(bundle)


def test_a_bundle_that_cannot_be_run_is_told_why(bundle):
    place = bundle / "configs" / "metadata.json"
    content = json.loads(place.read_text(encoding="utf-8"))
    content["network_data_format"]["inputs"]["image"]["num_channels"] = 4
    place.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ManifestInvalid, match="more than one channel"):
        draft(bundle)
