"""The shipped package on real films: what must be scored, what must be refused, and the same numbers as when
it was exported.
"""

import json
import os
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from pydicom import dcmread
from structlog.testing import capture_logs
from typer.testing import CliRunner

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.findings import interpret
from hoichan.analysis.gate import check_gate, check_pixels
from hoichan.analysis.imaging import read_film, read_picture
from hoichan.analysis.manifests import Check, discover, golden_difference, shelf_roots, verify
from hoichan.codes import FILM_LABELS
from hoichan.errors import InputOutOfDomain
from hoichan.testing.reports import a_study
from hoichan.types import Presence, RefusalCode
from service.cli import app

DATA = Path(os.environ.get("HOICHAN_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "nih_cxr").is_dir(), reason="the NIH films are not beside the checkout (HOICHAN_TEST_DATA)"
)


@pytest.fixture(scope="module")
def public() -> Path:
    data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")
    return Path(next(iter(data_store.__path__))) / "data"


@pytest.fixture(scope="module")
def runner() -> OnnxRunner:
    return OnnxRunner(Path, SystemClock())


@pytest.fixture(scope="module")
def manifest():
    return discover(shelf_roots()).named("cxr-demo")


@pytest.fixture(scope="module")
def package(manifest) -> Path:
    return Path(manifest.root)


def read(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the public files are odd on purpose
        return read_film(dcmread(path))


def test_the_package_passes_its_own_verification(package, runner):
    checks = verify(package, runner)
    assert [c for c in checks if not c.passed] == []
    assert Check(name="card", passed=True) in checks
    assert sum(c.name.startswith("golden:") for c in checks) == 3


def test_the_weights_are_small_and_the_model_says_what_it_is(package, manifest):
    assert (package / "weights.onnx").stat().st_size < 10_000_000
    assert manifest.status == "research"
    assert manifest.disclaimer["en"] == "Demonstration, not validated"
    assert manifest.disclaimer["vi"] == "Bản minh họa, chưa được thẩm định"
    assert {o.finding_key for o in manifest.outputs} == set(FILM_LABELS)
    assert any(o.enabled for o in manifest.outputs)
    assert all(o.disabled_reason for o in manifest.outputs if not o.enabled)


def test_the_package_holds_no_film_of_a_patient(package):
    allowed = {"manifest.toml", "card.md", "weights.onnx", "evaluation.json", "LICENSE", "cases.json"}
    allowed |= {"chest_phantom.png", "limb_phantom.png", "clouds.png"}
    assert {p.name for p in package.rglob("*") if p.is_file()} == allowed


def test_the_card_gives_every_finding_with_interval_and_baseline(package):
    card = (package / "card.md").read_text(encoding="utf-8")
    test = json.loads((package / "evaluation.json").read_text(encoding="utf-8"))["test"]
    for key in FILM_LABELS:
        row = test[key]
        assert f"| {key} | {row['positives']} | {row['auroc']:.2f} (" in card
        assert row["auroc_ci95"][0] <= row["auroc"] <= row["auroc_ci95"][1]
        assert 0 <= row["metadata_auroc"] <= 1
    assert "not validated" in card and "NIH Clinical Center" in card and "@" not in card


def test_no_finding_is_shown_that_does_not_beat_age_sex_and_view(package, manifest):
    """The interval of the difference to a baseline without pixels lies above nought, or nobody sees it."""
    test = json.loads((package / "evaluation.json").read_text(encoding="utf-8"))["test"]
    card = (package / "card.md").read_text(encoding="utf-8")
    for output in manifest.outputs:
        row = test[output.finding_key]
        beats = row["difference_ci95"][0] > 0 and row["auroc_ci95"][0] > 0.5
        assert beats or not output.enabled, output.finding_key
        if not output.enabled:
            assert output.disabled_reason
        (line,) = [one for one in card.splitlines() if one.startswith(f"| {output.finding_key} |")]
        assert line.endswith("| yes |") == output.enabled
    assert f"# {manifest.name} {manifest.algorithm_version}" in card


def test_the_gate_keeps_its_promise_on_paper(package):
    gate = json.loads((package / "evaluation.json").read_text(encoding="utf-8"))["gate"]
    assert gate["good_films_refused"]["val"]["share"] <= 0.02
    assert gate["objects"]["RG3_UNCR.dcm"]["frontal_chest"] < gate["operating_point"]


@pytest.mark.parametrize("name", ["RG1", "RG3"])
@pytest.mark.parametrize("form", ["UNCR", "J2KR"])
def test_lossless_forms_of_a_public_film_score_as_when_it_was_exported(
    package, manifest, runner, public, name, form
):
    cases = json.loads((package / "golden" / "cases.json").read_text(encoding="utf-8"))["cases"]
    (case,) = [c for c in cases if c.get("public_file") == f"pydicom-data:{name}_UNCR.dcm"]
    scores = runner.score(manifest, read(public / f"{name}_{form}.dcm"))
    assert golden_difference(scores, case) <= case["tolerance"]


def test_every_map_explains_its_score(manifest, runner, public):
    """On a square film nothing is cut away: the mean of the map plus the bias is the logit, the bias the same
    for all films.
    """
    rng = np.random.default_rng(0)
    film = read(public / "RG1_UNCR.dcm")
    square = film.pixels[:1800, :1800]
    biases = []
    for pixels in (square, np.clip(square + rng.normal(0, 0.05, square.shape), 0, 1).astype(np.float32)):
        scores = runner.score(manifest, type(film)(grey=np.ascontiguousarray(pixels), spacing_mm=None))
        biases.append([scores.logits[o.name] - float(scores.maps[o.name].mean()) for o in manifest.outputs])
    np.testing.assert_allclose(biases[0], biases[1], atol=0.15)  # the map was smoothed on its way to the film


def test_the_abnormal_chest_is_accepted_and_scored_with_evidence_on_the_film(manifest, runner, public):
    dataset = dcmread(public / "RG1_UNCR.dcm")
    study = a_study(dataset, path=str(PurePosixPath(public / "RG1_UNCR.dcm")))
    result = runner.run(manifest, study, study.instances[0])
    assert result.gate >= manifest.accepts.gate_operating_point
    assert (result.rows, result.columns) == (1955, 1841)
    assert "spacing_unusable" in result.warnings
    for finding in interpret(manifest, result):
        for evidence in finding.evidence:
            assert finding.presence is Presence.PRESENT
            assert all(0 <= x <= 1841 for x in evidence.graphic_data[0::2])
            assert all(0 <= y <= 1955 for y in evidence.graphic_data[1::2])


@pytest.mark.parametrize("name", ["RG3_UNCR", "RG3_J2KR", "693_UNCR", "MR2_UNCR", "US1_UNCR", "JPEG2000_UNC"])
def test_what_is_no_chest_is_refused_by_its_pixels_alone(manifest, runner, public, name):
    with pytest.raises(InputOutOfDomain) as caught:
        film = read(public / f"{name}.dcm")
        check_pixels(film)
        check_gate(runner.score(manifest, film).gate, manifest.accepts.gate_operating_point)
    assert caught.value.reason in (RefusalCode.NOT_FRONTAL_CHEST, RefusalCode.UNDECODABLE_PIXELS)


@pytest.mark.parametrize("turn", [1, 2, 3, "upside down", "inverted"])
def test_the_chest_itself_is_refused_when_it_is_turned(manifest, runner, public, turn):
    film = read(public / "RG1_UNCR.dcm")
    pixels = {"upside down": film.pixels[::-1], "inverted": 1 - film.pixels}.get(turn)
    pixels = np.ascontiguousarray(np.rot90(film.pixels, k=turn) if pixels is None else pixels)
    scores = runner.score(manifest, type(film)(grey=pixels, spacing_mm=None))
    with pytest.raises(InputOutOfDomain, match="inverted" if turn == "inverted" else "not_upright"):
        check_gate(scores.gate, manifest.accepts.gate_operating_point)


@needs_data
def test_good_films_are_let_in_and_effusion_is_told_from_none(manifest, runner):
    """A sample of split val, on which thresholds were chosen: a smoke test, not an evaluation."""
    import csv

    with (DATA / "nih_cxr" / "labels.csv").open(encoding="utf-8") as table:
        val = [row for row in csv.DictReader(table) if row["split"] == "val"]
    sick = [row for row in val if row["Effusion"] == "1"][:12]
    well = [row for row in val if row["no_finding"] == "1"][:12]
    logits, refused = {}, 0
    for row in (*sick, *well):
        film = read_picture(DATA / "nih_cxr" / "images512" / row["image"].replace(".png", ".jpg"))
        scores = runner.score(manifest, film)
        logits[row["image"]] = scores.logits["Effusion"]
        refused += scores.gate[0] < manifest.accepts.gate_operating_point
    assert refused <= 1
    assert np.mean([logits[r["image"]] for r in sick]) > np.mean([logits[r["image"]] for r in well]) + 0.5


# ---------------------------------------------------------------------------------------------- hoichan model
def ask(*words: object) -> tuple[int, str]:
    with capture_logs():  # the command line of the house sends them to stderr
        result = CliRunner().invoke(app, ["model", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_list_shows_the_package_and_what_it_is():
    code, text = ask("list")
    assert code == 0 and "cxr-demo" in text and "Demonstration, not validated" in text
    code, text = ask("list", "--json")
    assert json.loads(text)["models"][0]["name"] == "cxr-demo"


def test_list_shows_packages_for_volumes_and_why_one_cannot_be_used(tmp_path):
    code, text = ask("list", "--data-dir", tmp_path)
    assert code == 0 and "2 volumes measured" in text
    broken = tmp_path / "models" / "liver"
    broken.mkdir(parents=True)
    (broken / "volume.toml").write_text("name = 1", encoding="utf-8")
    code, text = ask("list", "--json", "--data-dir", tmp_path)
    told = json.loads(text)
    assert code == 1 and [one["name"] for one in told["volumes"]] == ["hippocampus"]
    assert [one["name"] for one in told["invalid"]] == ["liver"]


def test_verify_says_passed():
    code, text = ask("verify", "cxr-demo")
    assert code == 0 and "FAILED" not in text and "golden:chest_phantom  passed" in text


def test_a_package_with_other_weights_is_one_sentence_and_exit_code_2(package, tmp_path):
    copy = tmp_path / "models" / "cxr-demo"
    copy.mkdir(parents=True)
    (copy / "manifest.toml").write_bytes((package / "manifest.toml").read_bytes())
    (copy / "weights.onnx").write_bytes(b"other weights")
    for words in (("verify", copy), ("verify", "cxr-demo", "--data-dir", tmp_path),
                  ("score", "cxr-demo", copy / "manifest.toml", "--data-dir", tmp_path)):  # fmt: skip
        code, text = ask(*words)
        assert code == 2
        assert text.count("\n") == 1 and "the checksum of weights.onnx is" in text


@pytest.mark.parametrize(
    "words", [("score", "cxr-none", "."), ("score", "cxr-demo", "no/such/film.dcm"), ("verify", "cxr-none")]
)
def test_wrong_use_is_one_sentence_and_exit_code_2(words):
    code, text = ask(*words)
    assert code == 2 and text.count("\n") == 1


def test_score_prints_one_line_a_file(public, package):
    files = [
        public / "RG1_UNCR.dcm",
        public / "RG3_UNCR.dcm",
        package / "golden" / "clouds.png",
        package / "card.md",
    ]
    code, text = ask("score", "cxr-demo", *files)
    chest, leg, clouds, card = text.splitlines()
    assert code == 0
    assert all(f" {key}=0." in chest for key in FILM_LABELS)
    assert "refused=wrong_body_part" in leg and "BodyPartExamined=EXTREMITY" in leg
    assert "refused=not_frontal_chest" in clouds
    assert "refused=undecodable_pixels" in card


def test_score_as_json(public):
    code, text = ask("score", "cxr-demo", public / "RG1_UNCR.dcm", "--json")
    told = json.loads(text)
    assert code == 0 and told["disclaimer"]["en"] == "Demonstration, not validated"
    assert set(told["files"][0]["scores"]) == set(FILM_LABELS)
    assert told["files"][0]["gate"] > 0.5


@needs_data
@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("test1", None),
        ("test2", None),
        ("test3", None),
        ("test4", "wrong_body_part"),
        ("test5", "wrong_modality"),
        ("test6", "wrong_view"),
    ],
)
def test_known_answers(name, refusal):
    code, text = ask("score", "cxr-demo", DATA / "dicom" / "cxr_known_answer" / f"{name}.dcm", "--json")
    assert code == 0
    assert json.loads(text)["files"][0].get("refusal") == refusal
