"""The gate on a frozen trunk: what is fitted, what is held back, what stays as it is."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

from hoichan.analysis.gate import GATE_CLASSES, OLD_GATE_CLASSES  # noqa: E402
from training import evaluate, gate_head, trunk  # noqa: E402
from training.dataset import FRONTAL, MIRRORED  # noqa: E402
from training.package_net import from_package  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # libraries of training warn at will
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "models" / "cxr-demo"
DATA = Path(os.environ.get("HOICHAN_TEST_DATA", ROOT / ".." / "shared" / "data"))


@pytest.fixture(scope="module")
def net():
    return gate_head.with_fresh_gate(from_package(PACKAGE), 3)


def test_a_fresh_gate_knows_all_classes_and_the_findings_stay(net):
    film = torch.rand(2, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        here, there = net(film), from_package(PACKAGE)(film)
    assert here.gate.shape == (2, len(GATE_CLASSES))
    torch.testing.assert_close(here.logits, there.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(here.cam, there.cam, atol=1e-3, rtol=1e-3)


def test_the_gate_learns_and_mirrored_says_no_only_where_it_is_sure(net):
    rng = np.random.default_rng(1)
    classes = torch.from_numpy(np.repeat(np.arange(len(GATE_CLASSES)), 40))
    features = torch.from_numpy(rng.normal(0, 0.3, (len(classes), 112, 10, 10)).astype(np.float32))
    for place, kind in enumerate(classes):
        features[place, int(kind)] += 2.0
    gate_head.train_gate(net, gate_head.Gating(epochs=12, learning_rate=3e-3), features, classes)
    with torch.inference_mode():
        assert (net.gate(features).argmax(1) == classes).float().mean() > 0.95
    good = features[classes == FRONTAL].clone()
    good[:4, MIRRORED] += 4.0  # one in ten looks mirrored
    shift = gate_head.hold_back(net, good)
    assert shift > 0
    with torch.inference_mode():
        scores = net.gate(good)
    assert (scores[:, MIRRORED] > scores[:, FRONTAL]).float().mean() <= 0.03
    assert gate_head.hold_back(net, good) == pytest.approx(0.0, abs=1e-4)


def test_a_gate_without_mirrored_has_the_older_classes_and_learns_them():
    rules = gate_head.Gating(epochs=12, learning_rate=3e-3, mirrored=False)
    older = gate_head.with_fresh_gate(from_package(PACKAGE), 3, len(rules.classes))
    assert rules.classes == OLD_GATE_CLASSES
    rng = np.random.default_rng(1)
    classes = torch.from_numpy(np.repeat(np.arange(len(rules.classes)), 40))
    features = torch.from_numpy(rng.normal(0, 0.3, (len(classes), 112, 10, 10)).astype(np.float32))
    for place, kind in enumerate(classes):
        features[place, int(kind)] += 2.0
    gate_head.train_gate(older, rules, features, classes)
    with torch.inference_mode():
        assert older.gate(features).shape[1] == len(OLD_GATE_CLASSES)
        assert (older.gate(features).argmax(1) == classes).float().mean() > 0.95


def test_copies_for_the_gate_keep_their_sides():
    ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32), (12, 1, 160, 1))  # bright on the right
    halves = trunk.altered_copies(ramp, 5, sides=False)
    assert (halves[..., 100:140].mean((1, 2, 3)) > halves[..., 20:60].mean((1, 2, 3))).all()
    swapped = trunk.altered_copies(ramp, 5)
    assert (swapped[..., 100:140].mean((1, 2, 3)) < swapped[..., 20:60].mean((1, 2, 3))).any()


@pytest.mark.skipif(not (DATA / "nih_cxr").is_dir(), reason="the films are not beside the checkout")
@pytest.mark.parametrize("classes", [GATE_CLASSES, OLD_GATE_CLASSES], ids=["mirrored", "without"])
def test_a_package_gets_another_gate_in_a_run_folder_that_can_be_evaluated(tmp_path, classes):
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "cxr-demo"\nversion = "7.0.0"\ngate_count = 6\ngate_epochs = 2\n')
    with recipe.open("a") as file:
        file.write(f"gate_mirrored = {str(classes == GATE_CLASSES).lower()}\n")
    gate_head.renew(PACKAGE, recipe, DATA, tmp_path / "run", films=16)
    net, settings = evaluate.load_net(tmp_path / "run")
    assert (settings["version"], settings["start"].split()[0]) == ("7.0.0", "cxr-demo")
    assert len(net.gate_out.bias) == len(classes)
    former = json.loads((PACKAGE / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluate.read_choice(tmp_path / "run") == former["chosen_on_val"]
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["packages"]["torch"]
