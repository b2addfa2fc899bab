"""A run folder says where it was made and shows its figures."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

from training import calibrate, networks, run_folder
from training.dataset import FINDINGS

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # libraries of training warn at will
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run(tmp_path):
    epochs = [{"epoch": n, "loss": 0.5 - n / 10, "val_mean_auroc": float("nan")} for n in range(3)]
    (tmp_path / "history.json").write_text(json.dumps({"epochs": epochs}))
    bins = [{"said": 0.1, "was": 0.2, "films": 40, "ci95": [0.1, 0.3]}]
    row = {"auroc": 0.8, "auroc_ci95": [0.7, 0.9], "metadata_auroc": 0.6, "calibration": {"bins": bins}}
    test = {"pleural_effusion": row, "mass": {**row, "auroc": 0.6}, "mean_of_14": {}}
    (tmp_path / "evaluation.json").write_text(json.dumps({"test": test}))
    return tmp_path


def test_curves_intervals_and_reliability_become_pictures(run):
    run_folder.finish(run)
    made = {path.stem: ET.parse(path).getroot() for path in (run / "plots").glob("*.svg")}
    assert set(made) == {"loss", "auroc", "reliability-pleural_effusion", "reliability-mass"}  # no NaN
    (curve,) = made["loss"].iter(f"{SVG}polyline")
    heights = [float(point.split(",")[1]) for point in curve.get("points").split()]
    assert heights == sorted(heights) and len(heights) == 3  # down on the page: the loss falls
    assert len(list(made["auroc"].iter(f"{SVG}circle"))) == 4  # dot and ring of two findings
    texts = [text.text for text in made["auroc"].iter(f"{SVG}text")]
    assert texts.index("pleural_effusion") < texts.index("mass")  # the best first


def test_the_environment_names_versions_and_no_place(run):
    run_folder.finish(run)
    found = json.loads((run / "environment.json").read_text())
    assert found["packages"]["numpy"] == np.__version__
    assert found["device"] and found["threads"] >= 1
    assert str(run) not in json.dumps(found)


def test_an_empty_folder_has_no_plots(tmp_path):
    run_folder.finish(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["environment.json"]


def test_what_was_chosen_is_read_again_and_counted_with(tmp_path):
    rng = np.random.default_rng(2)
    labels = (rng.random((300, 14)) < 0.3).astype(np.float32)
    logits = (2 * labels + rng.normal(0, 1, labels.shape)).astype(np.float32)
    chosen = calibrate.choose(labels, logits, specificity=0.8)
    assert calibrate.read_choice(tmp_path) is None
    (tmp_path / calibrate.CHOICE_FILE).write_text(json.dumps(chosen))
    assert calibrate.read_choice(tmp_path) == chosen
    said = calibrate.probabilities(logits, chosen)
    assert said.mean() == pytest.approx(labels.mean(), abs=0.03)
    for k, key in enumerate(FINDINGS.values()):
        negative = said[labels[:, k] < 0.5, k]
        assert (negative < chosen[key]["operating_point"]).mean() == pytest.approx(0.8, abs=0.03)


def test_training_runs_on_the_card_where_there_is_one(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert networks.device().type == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert networks.device().type == "cuda"
