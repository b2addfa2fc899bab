"""Packages: what is read, what is found, and the one sentence for whatever is wrong."""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hoichan.analysis.films import Film
from hoichan.analysis.manifests import CARD_SECTIONS, Scores, discover, load, shelf_roots, verify
from hoichan.errors import ManifestInvalid, RunnerFailed
from hoichan.types import ModelManifest, Tier

WEIGHTS = b"not really weights"
MANIFEST = """
schema_version = 1
[model]
name = "cxr-small"
algorithm_name = "Small"
algorithm_version = "1.0.0"
algorithm_source = "Us"
runtime = "onnx"
weights = "weights.onnx"
weights_sha256 = "@SHA@"
license = "Apache-2.0"
status = "research"
[model.intended_use]
vi = "Minh họa"
en = "Demonstration"
[model.disclaimer]
vi = "Bản minh họa, chưa được thẩm định"
en = "Demonstration, not validated"
[accepts]
modality = ["CR", "DX"]
body_part_examined = ["CHEST"]
view_position = ["PA", "AP"]
patient_age_years = [18, 130]
size = 64
gate_operating_point = 0.5
[[outputs]]
name = "Effusion"
index = 0
finding_key = "pleural_effusion"
operating_point = 0.4
tier = "urgent"
calibration = { method = "platt", slope = 0.8, intercept = -1.5 }
[[outputs]]
name = "Mass"
index = 1
finding_key = "mass"
operating_point = 0.3
tier = "urgent"
calibration = { method = "none" }
enabled = false
disabled_reason = "no better than chance"
"""


class FakeScorer:
    """Says the same of every film."""

    def __init__(self, effusion: float = 1.0, *, fails: bool = False) -> None:
        self._effusion = effusion
        self._fails = fails

    def score(self, manifest: ModelManifest, film: Film) -> Scores:
        if self._fails:
            raise RunnerFailed
        return Scores(logits={"Effusion": self._effusion, "Mass": 0.0}, gate=(0.9,), maps={}, provider="fake")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "cxr-small"
    (folder / "golden").mkdir(parents=True)
    (folder / "weights.onnx").write_bytes(WEIGHTS)
    (folder / "manifest.toml").write_text(MANIFEST.replace("@SHA@", hashlib.sha256(WEIGHTS).hexdigest()))
    (folder / "card.md").write_text("".join(f"## {section}\nwords\n" for section in CARD_SECTIONS))
    Image.fromarray(np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)).save(folder / "golden" / "a.png")
    case = {
        "name": "a",
        "picture": "a.png",
        "tolerance": 0.01,
        "logits": {"Effusion": 1.0, "Mass": 0.0},
        "gate": [0.9],
    }
    public = {"name": "b", "public_file": "somewhere:b.dcm", "tolerance": 0.01, "logits": {}, "gate": []}
    (folder / "golden" / "cases.json").write_text(json.dumps({"cases": [case, public]}))
    return folder


def rewrite(package: Path, old: str, new: str) -> None:
    path = package / "manifest.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_good_package_is_read(package):
    manifest = load(package)
    assert manifest.name == "cxr-small"
    assert manifest.accepts.patient_age_years == (18, 130)
    assert manifest.outputs[0].calibration.slope == 0.8
    assert manifest.outputs[0].tier is Tier.URGENT
    assert not manifest.outputs[1].enabled
    assert Path(manifest.root) == package
    assert manifest.disclaimer["vi"] == "Bản minh họa, chưa được thẩm định"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version"),
        ("schema_version = 1", "schema_version = ", "not TOML"),
        ('license = "Apache-2.0"\n', "", "model.license"),
        ('runtime = "onnx"', 'runtime = "pickle"', "model.runtime"),
        ('license = "Apache-2.0"', 'license = "Apache-2.0"\ncolour = "red"', "model.colour"),
        ("operating_point = 0.4", "operating_point = 1.4", "outputs.0.operating_point"),
        ("slope = 0.8", "slope = -0.8", "slope"),
        ('finding_key = "mass"', 'finding_key = "moss"', "outputs.1.finding_key"),
        ("index = 1", "index = 0", "same name or index"),
        ('disabled_reason = "no better than chance"', "", "disabled_reason"),
        ("gate_operating_point = 0.5", "", "accepts.gate_operating_point"),
        ('name = "cxr-small"', 'name = "cxr-other"', "folder and name must be the same"),
        ('weights = "weights.onnx"', 'weights = "../weights.onnx"', "outside the package"),
        ('weights = "weights.onnx"', 'weights = "other.onnx"', "missing"),
        ('vi = "Minh họa"', "", "model.intended_use.vi"),
        ('algorithm_version = "1.0.0"', 'algorithm_version = "new"', "model.algorithm_version"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(package, old, new, sentence):
    rewrite(package, old, new)
    with pytest.raises(ManifestInvalid) as caught:
        load(package)
    text = str(caught.value)
    assert text.startswith("Model package cxr-small: ") and sentence in text and "\n" not in text


def test_other_weights_are_never_loaded(package):
    (package / "weights.onnx").write_bytes(WEIGHTS + b"!")
    with pytest.raises(ManifestInvalid, match=r"the checksum of weights\.onnx is .* but the manifest says"):
        load(package)


def test_no_manifest_is_said_too(tmp_path):
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        load(tmp_path)


def test_the_shelf_keeps_good_and_bad_apart(package, tmp_path):
    bad = tmp_path / "cxr-bad"
    bad.mkdir()
    (bad / "manifest.toml").write_text("schema_version = 1\n")
    shelf = discover([tmp_path, tmp_path / "absent"])
    assert [m.name for m in shelf.manifests] == ["cxr-small"]
    assert [name for name, _ in shelf.invalid] == ["cxr-bad"]
    assert shelf.named("cxr-small").algorithm_name == "Small"
    with pytest.raises(ManifestInvalid, match="cxr-bad"):
        shelf.named("cxr-bad")
    with pytest.raises(ManifestInvalid, match="installed: cxr-small"):
        shelf.named("cxr-none")


def test_the_first_shelf_wins(package, tmp_path):
    second = tmp_path / "elsewhere" / "second" / "cxr-small"
    second.mkdir(parents=True)
    (second / "manifest.toml").write_text("broken")
    assert discover([tmp_path, second.parent]).invalid == ()


def test_a_site_s_own_shelf_comes_first(tmp_path):
    assert shelf_roots(tmp_path)[0] == tmp_path / "models"
    assert len(shelf_roots()) == 1


def test_a_good_package_passes_every_check(package):
    checks = verify(package, FakeScorer())
    assert [c.name for c in checks] == ["schema_and_checksum", "card", "golden:a"]
    assert all(c.passed for c in checks)


def failed(package: Path, scorer: FakeScorer) -> list[str]:
    return [c.name for c in verify(package, scorer) if not c.passed]


def test_scores_that_moved_fail_the_golden_case(package):
    assert failed(package, FakeScorer(effusion=1.02)) == ["golden:a"]


def test_a_runner_that_fails_fails_the_golden_case(package):
    assert failed(package, FakeScorer(fails=True)) == ["golden:a"]


def test_a_card_without_its_limits_fails(package):
    card = package / "card.md"
    card.write_text(card.read_text().replace("## Limits", "## Praise"))
    (check,) = [c for c in verify(package, FakeScorer()) if not c.passed]
    assert check.name == "card" and "Limits" in check.detail


@pytest.mark.parametrize("damage", ["{}", "not json", '{"cases": []}'])
def test_without_golden_cases_a_package_fails(package, damage):
    (package / "golden" / "cases.json").write_text(damage)
    assert failed(package, FakeScorer()) == ["golden"]


def test_a_golden_picture_that_is_gone_fails(package):
    (package / "golden" / "a.png").unlink()
    assert failed(package, FakeScorer()) == ["golden:a"]


def test_a_package_that_cannot_be_loaded_is_not_run(package):
    (package / "weights.onnx").unlink()
    assert failed(package, FakeScorer(fails=True)) == ["schema_and_checksum"]


def test_the_manifest_of_these_tests_is_toml():
    assert tomllib.loads(MANIFEST)["model"]["name"] == "cxr-small"
