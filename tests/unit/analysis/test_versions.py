"""Versions: where they lie, what their digest covers, and thresholds that are a version of their own."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from hoichan.analysis.manifests import CARD_SECTIONS, discover
from hoichan.analysis.versions import (
    Rule,
    Thresholds,
    base_version,
    find,
    package_digest,
    parse_thresholds,
    read,
    thresholds_of,
    with_thresholds,
)
from hoichan.errors import ManifestInvalid
from hoichan.testing import a_manifest, a_study
from hoichan.types import Calibration

WEIGHTS = b"not really weights"


def make_package(
    folder: Path, *, version: str = "1.0.0", status: str = "research", name: str = "cxr-small"
) -> Path:
    folder.mkdir(parents=True)
    (folder / "weights.onnx").write_bytes(WEIGHTS)
    (folder / "card.md").write_text("".join(f"## {section}\nwords\n" for section in CARD_SECTIONS))
    (folder / "manifest.toml").write_text(f"""schema_version = 1
[model]
name = "{name}"
algorithm_name = "Small"
algorithm_version = "{version}"
algorithm_source = "Us"
runtime = "onnx"
weights = "weights.onnx"
weights_sha256 = "{hashlib.sha256(WEIGHTS).hexdigest()}"
license = "Apache-2.0"
status = "{status}"
intended_use = {{ vi = "Minh họa", en = "Demonstration" }}
disclaimer = {{ vi = "Bản minh họa", en = "Demonstration" }}
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
calibration = {{ method = "platt", slope = 0.8, intercept = -1.5 }}
""")
    return folder


def test_versions_lie_in_folders_of_their_own(tmp_path):
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    make_package(shipped / "cxr-small")
    make_package(own / "cxr-small" / "1.1.0", version="1.1.0", status="shadow")
    make_package(own / "cxr-small" / "1.0.0")
    make_package(own / "cxr-small" / "1.2.0", version="1.3.0")  # the folder says another
    versions, invalid = find([own, shipped, tmp_path / "absent"])
    assert [(one.name, one.version) for one in versions] == [("cxr-small", "1.0.0"), ("cxr-small", "1.1.0")]
    assert Path(versions[0].manifest.root).is_relative_to(own)
    ((folder, error),) = invalid
    assert folder == "cxr-small/1.2.0" and "folder and name" in str(error)


def test_a_package_that_has_no_other_version_is_told(tmp_path):
    make_package(tmp_path / "cxr-small")
    (tmp_path / "cxr-small" / "weights.onnx").write_bytes(b"others")
    versions, ((name, error),) = find([tmp_path])
    assert versions == () and name == "cxr-small" and "checksum" in str(error)


def test_a_sites_own_broken_package_is_not_passed_over_for_the_shipped_one(tmp_path):
    make_package(tmp_path / "own" / "cxr-small")
    (tmp_path / "own" / "cxr-small" / "weights.onnx").write_bytes(b"others")
    make_package(tmp_path / "shipped" / "cxr-small")
    versions, ((name, _),) = find([tmp_path / "own", tmp_path / "shipped"])
    assert versions == () and name == "cxr-small"


def test_a_model_that_lies_in_versions_only_is_on_the_list(tmp_path):
    make_package(tmp_path / "own" / "cxr-small" / "1.1.0", version="1.1.0", status="shadow")
    make_package(tmp_path / "own" / "other" / "2.0.0", version="2.0.0", name="other")
    make_package(tmp_path / "shipped" / "cxr-small")
    shelf = discover([tmp_path / "own", tmp_path / "shipped"])
    found = {m.name: m.algorithm_version for m in shelf.manifests}
    assert found == {"cxr-small": "1.0.0", "other": "2.0.0"}
    assert shelf.named("other").root.name == "2.0.0"


def test_the_digest_covers_every_file_but_the_signature(tmp_path):
    package = make_package(tmp_path / "cxr-small")
    before = package_digest(package)
    (package / "signature.json").write_text("{}")
    (package / ".hidden").write_text("x")
    make_package(package / "1.1.0", version="1.1.0")
    assert package_digest(package) == before
    for change in ("card.md", "golden.txt", "manifest.toml"):
        with (package / change).open("a") as file:
            file.write("\n")
        after = package_digest(package)
        assert after != before
        before = after


def test_a_file_cannot_move_its_end_into_its_name(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    (tmp_path / "a" / "y").write_text("2")
    (tmp_path / "b" / "x").write_text("2")
    (tmp_path / "b" / "y").write_text("1")
    assert package_digest(tmp_path / "a") != package_digest(tmp_path / "b")


def test_thresholds_survive_their_file_and_name_the_version(tmp_path):
    manifest = read(make_package(tmp_path / "cxr-small")).manifest
    own = thresholds_of(manifest)
    assert parse_thresholds(json.loads(json.dumps(own.content))) == own
    held = with_thresholds(manifest, own)
    assert held.algorithm_version == f"1.0.0+t.{own.digest[:12]}"
    assert base_version(held.algorithm_version) == "1.0.0"
    assert held.outputs == manifest.outputs
    assert held.digest != manifest.digest  # another Device UID
    assert with_thresholds(manifest, None) is manifest


def test_the_first_rule_that_fits_a_patient_decides():
    manifest = a_manifest(["pleural_effusion", "mass"])
    rules = (
        Rule(operating_point=0.2, sex="F", age_years=(0, 49)),
        Rule(operating_point=0.3, sex="F"),
        Rule(operating_point=0.6),
    )
    made = replace(
        thresholds_of(manifest),
        rules={"pleural_effusion": rules},
        calibration={"pleural_effusion": Calibration(method="platt", slope=2.0, intercept=-1.0)},
    )
    patient = a_study().patient  # a woman of 41 years
    points = {}
    for label, one in {
        "young woman": patient,
        "old woman": replace(patient, patient_age_years=60),
        "woman of unknown age": replace(patient, patient_age_years=None),
        "man": replace(patient, patient_sex="M"),
        "unknown": replace(patient, patient_sex=None, patient_age_years=None),
        "nobody": None,
    }.items():
        effusion, mass = with_thresholds(manifest, made, one).outputs
        assert mass.operating_point == 0.5 and effusion.calibration.slope == 2.0
        points[label] = effusion.operating_point
    assert points == {
        "young woman": 0.2,
        "old woman": 0.3,
        "woman of unknown age": 0.3,
        "man": 0.6,
        "unknown": 0.6,
        "nobody": 0.6,
    }
    versions = {with_thresholds(manifest, made, one).algorithm_version for one in (patient, None)}
    assert len(versions) == 1


def test_thresholds_of_another_version_are_refused():
    manifest = a_manifest()
    with pytest.raises(ManifestInvalid, match="not for"):
        with_thresholds(replace(manifest, algorithm_version="2.0.0"), thresholds_of(manifest))


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (Rule(operating_point=0.5, sex="F"),),
        (Rule(operating_point=1.5),),
        (Rule(operating_point=float("nan")),),
    ],
)
def test_thresholds_that_cannot_be_are_refused(rules):
    with pytest.raises(ManifestInvalid):
        Thresholds(
            name="m",
            algorithm_version="1.0.0",
            weights_sha256="",
            rules={"mass": rules},
            calibration={"mass": Calibration(method="none")},
        )


@pytest.mark.parametrize("broken", [{}, {"schema_version": 2}, {"schema_version": 1, "outputs": []}])
def test_a_file_that_is_none_is_refused(broken):
    with pytest.raises(ManifestInvalid):
        parse_thresholds(broken)
