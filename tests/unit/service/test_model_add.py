"""Packages on their way onto the shelf: checked first, moved in whole, never over another."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.adapters.runner_volumes import VolumeRunner
from hoichan.analysis.imaging import read_picture
from hoichan.analysis.manifests import CARD_SECTIONS, load
from hoichan.analysis.versions import find
from hoichan.errors import ManifestInvalid
from hoichan.testing.shelf import write_version
from service.cli_models import app
from service.model_add import add

WEIGHTS = Path(__file__).parents[2] / "golden" / "models" / "plain.onnx"


@pytest.fixture
def runner():
    return OnnxRunner(Path, SystemClock(), threads=1)


@pytest.fixture
def package(tmp_path, runner):
    folder = write_version(tmp_path / "bench", WEIGHTS, status="shadow")
    (folder / "card.md").write_text("".join(f"## {section}\nwords\n" for section in CARD_SECTIONS))
    (folder / "golden").mkdir()
    picture = Image.linear_gradient("L").resize((96, 96))
    picture.save(folder / "golden" / "a.png")
    scores = runner.score(load(folder), read_picture(folder / "golden" / "a.png"))
    case = {
        "name": "a",
        "picture": "a.png",
        "tolerance": 0.01,
        "logits": dict(scores.logits),
        "gate": list(scores.gate),
    }
    (folder / "golden" / "cases.json").write_text(json.dumps({"cases": [case]}))
    return folder


def zipped(package: Path, place: Path, below: str = "") -> Path:
    with zipfile.ZipFile(place, "w") as archive:
        for path in package.rglob("*"):
            if path.is_file():
                archive.write(path, below + str(path.relative_to(package)))
    return place


def nothing_left(models: Path) -> bool:
    return not list(models.iterdir())


def test_a_folder_becomes_a_version_on_the_shelf(package, tmp_path, runner):
    added = add(package, tmp_path / "models", runner)
    assert added.folder == tmp_path / "models" / "tiny" / "1.0.0"
    assert load(added.folder).status == "shadow"
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["tiny"]
    assert {check.name for check in added.checks} == {"schema_and_checksum", "card", "golden:a"}


@pytest.mark.parametrize("below", ["", "tiny-1.0.0/"])
def test_a_zip_file_is_taken_with_or_without_its_folder(package, tmp_path, runner, below):
    added = add(zipped(package, tmp_path / "tiny.zip", below), tmp_path / "models", runner)
    assert load(added.folder).weights_sha256 == load(package).weights_sha256


def test_the_same_version_is_never_overwritten(package, tmp_path, runner):
    models = tmp_path / "models"
    add(package, models, runner)
    before = (models / "tiny" / "1.0.0" / "card.md").stat().st_mtime_ns
    with pytest.raises(ManifestInvalid, match="on the shelf already: new weights need a new version"):
        add(package, models, runner)
    assert (models / "tiny" / "1.0.0" / "card.md").stat().st_mtime_ns == before


def test_what_would_answer_at_once_is_only_taken_on_demand(package, tmp_path, runner):
    manifest = package / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('status = "shadow"', 'status = "research"'))
    with pytest.raises(ManifestInvalid, match="would answer live studies"):
        add(package, tmp_path / "models", runner)
    assert nothing_left(tmp_path / "models")
    assert add(package, tmp_path / "models", runner, live=True).folder is not None


def test_a_package_that_fails_a_check_is_not_kept(package, tmp_path, runner):
    cases = json.loads((package / "golden" / "cases.json").read_text())
    cases["cases"][0]["logits"]["dark"] += 1.0
    (package / "golden" / "cases.json").write_text(json.dumps(cases))
    added = add(package, tmp_path / "models", runner)
    assert added.folder is None
    assert [check.name for check in added.checks if not check.passed] == ["golden:a"]
    assert nothing_left(tmp_path / "models")


def test_without_golden_cases_nothing_is_added(package, tmp_path, runner):
    shutil.rmtree(package / "golden")
    added = add(package, tmp_path / "models", runner)
    assert [check.name for check in added.checks if not check.passed] == ["golden"]
    assert nothing_left(tmp_path / "models")


def test_other_weights_are_told_by_their_checksum(package, tmp_path, runner):
    (package / "weights.onnx").write_bytes(b"other")
    with pytest.raises(ManifestInvalid, match="the checksum of weights"):
        add(package, tmp_path / "models", runner)
    assert nothing_left(tmp_path / "models")


def test_a_path_out_of_the_archive_writes_nothing(package, tmp_path, runner):
    place = zipped(package, tmp_path / "tiny.zip")
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("../../escaped.txt", "out")
    with pytest.raises(ManifestInvalid, match="unsafe_path"):
        add(place, tmp_path / "models", runner)
    assert nothing_left(tmp_path / "models")
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_name_that_is_a_path_is_refused(package, tmp_path, runner):
    manifest = package / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('name = "tiny"', 'name = "../tiny"', 1))
    with pytest.raises(ManifestInvalid, match="cannot be the name of a folder"):
        add(package, tmp_path / "models", runner)


def test_a_link_is_refused(package, tmp_path, runner):
    (package / "more").symlink_to("/etc/hostname")
    with pytest.raises(ManifestInvalid, match="more is a link"):
        add(package, tmp_path / "models", runner)


def test_a_bundle_without_a_manifest_is_told_what_it_lacks(tmp_path, runner):
    (tmp_path / "spleen" / "configs").mkdir(parents=True)
    (tmp_path / "spleen" / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(ManifestInvalid, match=r"MONAI bundle without volume\.toml"):
        add(tmp_path / "spleen", tmp_path / "models", runner)


@pytest.mark.parametrize("content", [b"not a zip file", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, runner, content):
    (tmp_path / "odd.zip").write_bytes(content)
    with pytest.raises(ManifestInvalid, match=r"odd\.zip is n"):
        add(tmp_path / "odd.zip", tmp_path / "models", runner)


def test_the_command_adds_once(package, tmp_path):
    arguments = ["add", str(package), "--data-dir", str(tmp_path / "data"), "--json"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["folder"] == str(tmp_path / "data" / "models" / "tiny" / "1.0.0")
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 2
    assert "on the shelf already" in second.output


HIPPOCAMPUS = Path(__file__).parents[3] / "models" / "hippocampus"


@pytest.fixture
def volumes(tmp_path):
    """The shipped package for volumes as a shadow of another version."""
    folder = tmp_path / "bench" / "hippocampus"
    shutil.copytree(HIPPOCAMPUS, folder)
    text = (folder / "volume.toml").read_text(encoding="utf-8")
    text = text.replace('status = "research"', 'status = "shadow"')
    (folder / "volume.toml").write_text(text.replace('"1.1.0"', '"9.0.0"'), encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_package_for_volumes_is_checked_and_added(volumes, tmp_path, runner, form):
    models = tmp_path / "data" / "models"
    source = volumes if form == "folder" else zipped(volumes, tmp_path / "p.zip", "hippocampus/")
    added = add(source, models, runner, outliner=VolumeRunner(threads=1))
    assert [check.passed for check in added.checks] == [True, True, True]
    assert added.folder == models / "hippocampus" / "9.0.0"
    (version,), invalid = find([models])
    assert (version.version, invalid) == ("9.0.0", ())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda form: form["inputs"].update(mask={}), "one 'image' alone"),
        (lambda form: form["inputs"]["image"].update(num_channels=4), "more than one channel"),
        (lambda form: form["outputs"]["pred"].update(format="classes"), "no segmentation"),
        (lambda form: form["outputs"]["pred"].update(num_channels=2), "gives 2 channels only"),
    ],
)
def test_a_bundle_that_cannot_be_run_is_told_why(volumes, tmp_path, runner, change, told):
    metadata = volumes / "configs" / "metadata.json"
    content = json.loads(metadata.read_text(encoding="utf-8"))
    change(content["network_data_format"])
    metadata.write_text(json.dumps(content), encoding="utf-8")
    text = (volumes / "volume.toml").read_text(encoding="utf-8")
    (volumes / "volume.toml").write_text(text.replace('"onnx"', '"monai_bundle"'), encoding="utf-8")
    with pytest.raises(ManifestInvalid, match=told):
        add(volumes, tmp_path / "models", runner)
    assert nothing_left(tmp_path / "models")
