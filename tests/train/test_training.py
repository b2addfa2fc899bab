"""Training, evaluation and export on a handful of films: that they run, agree and keep their promises."""

import importlib.util
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from hoichan.analysis.films import Film
from hoichan.analysis.gate import GATE_CLASSES
from hoichan.analysis.imaging import to_model_input

torch = pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI and torch speak of their own future on import
    import onnx

    from training import calibrate, dataset, evaluate, export, networks, train


_place = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("tiny_models.py"))
tiny_models = importlib.util.module_from_spec(_place)
_place.loader.exec_module(tiny_models)

DATA = Path(os.environ.get("HOICHAN_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "nih_cxr").is_dir(), reason="the NIH films are not beside the checkout (HOICHAN_TEST_DATA)"
)
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # libraries of training warn at will

SIZE = 160  # the smallest that keeps the gate's grid
RECIPE = Path(train.__file__).parent / "recipes" / "cxr-demo.toml"


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return networks.build(len(dataset.FINDINGS), len(GATE_CLASSES))


@pytest.fixture(scope="module")
def films():
    rng = np.random.default_rng(0)
    return rng.random((6, 1, SIZE, SIZE), dtype=np.float32)


@pytest.fixture(scope="module")
def graph(net):
    return export.to_onnx(net, SIZE)


def test_every_parameter_of_the_backbone_finds_its_place():
    empty = networks.build(14, 4, pretrained=False)
    state = torch.load(networks.imagenet_weights(), map_location="cpu", weights_only=True)
    state = {name: values for name, values in state.items() if not name.startswith("_fc")}
    missing, unexpected = empty.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {
        "findings", "bias", "tap_weight", "gate_squeeze", "gate_out",
    }  # fmt: skip


def test_the_map_sums_to_the_score(net, films):
    with torch.inference_mode():
        out = net.eval()(torch.from_numpy(films))
    assert out.logits.shape == (6, 14)
    assert out.cam.shape == (6, 14, SIZE // 32, SIZE // 32)
    assert out.gate.shape == (6, len(GATE_CLASSES))
    torch.testing.assert_close(out.cam.mean((2, 3)) + net.bias, out.logits)


def test_finding_training_leaves_trunk_and_gate_alone(net):
    trained = {id(p) for p in net.tail_parameters()}
    frozen = [*net._conv_stem.parameters(), *net._blocks[: networks.FROZEN_BLOCKS].parameters()]
    assert not trained & {id(p) for p in [*frozen, *net.gate_parameters()]}
    frozen += net._bn0.parameters()
    alone = [*frozen, *net.gate_parameters(), net.tap_weight]  # the taps are fitted in closed form
    assert len(trained) + len(alone) == len(list(net.parameters()))


def test_the_graph_agrees_with_torch_and_explains_itself(net, graph, films):
    proof = export.parity(net, graph.SerializeToString(), films)
    assert proof["logits"] < 1e-3 and proof["gate"] < 1e-4 and proof["cam"] < 1e-2
    assert proof["logit_minus_map"] < 1e-3


def test_the_graph_takes_any_number_of_films(graph, films):
    one, six = (export.run_onnx(graph.SerializeToString(), x)[0] for x in (films[:1], films))
    assert one.shape == (1, 14) and six.shape == (6, 14)
    np.testing.assert_allclose(one[0], six[0], atol=1e-4)


def test_half_storage_halves_the_file_and_hardly_moves_a_score(graph, films):
    full, half = graph.SerializeToString(), export.halve(graph).SerializeToString()
    assert len(half) < 0.55 * len(full)
    assert len(half) < export.LARGEST_BYTES
    before, after = (export.run_onnx(x, films)[0] for x in (full, half))
    assert np.abs(before - after).max() < 0.05
    assert {i.data_type for i in onnx.load_from_string(half).graph.initializer} >= {onnx.TensorProto.FLOAT16}


def test_the_input_of_training_is_the_input_of_the_service(tmp_path):
    from PIL import Image

    picture = export.chest_phantom()
    Image.fromarray(picture).save(tmp_path / "film.png")
    loaded = dataset.load_films([tmp_path / "film.png"], SIZE)
    service = to_model_input(Film(grey=picture.astype(np.float32) / 255, spacing_mm=None), SIZE)
    np.testing.assert_array_equal(loaded, service)


def test_alterations_are_seeded_and_stay_films(films):
    first, again, other = (train.altered_copies(films, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05
    assert first.min() >= 0 and first.max() <= 1 and first.shape == films.shape


@pytest.mark.parametrize("kind", [*dataset.DRAWINGS, *dataset.HELD_OUT_DRAWINGS])
def test_drawings_are_pictures(kind):
    picture = dataset.drawing(kind, SIZE, np.random.default_rng(0))
    assert picture.shape == (SIZE, SIZE)
    assert picture.min() == 0 and picture.max() == 1 and picture.std() > 0.05


def test_turned_and_inverted_films_are_other_films():
    rng = np.random.default_rng(0)
    film = export.chest_phantom(SIZE).astype(np.float32) / 255
    for _ in range(20):
        assert np.abs(dataset.turned(film, rng) - film).mean() > 0.02
    np.testing.assert_allclose(dataset.inverted(dataset.inverted(film)), film, atol=1e-6)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 80), rng.integers(0, 12, 80).astype(float)  # with ties
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels == 1] for b in scores[labels == 0]]
    assert evaluate.auroc(labels, scores) == pytest.approx(np.mean(pairs))
    assert np.isnan(evaluate.auroc(np.ones(5), scores[:5]))


def test_recognising_the_group_earns_nothing_within_groups():
    groups = np.array(["a"] * 50 + ["b"] * 50)
    labels = np.r_[np.arange(50) % 10 == 0, np.arange(50) % 10 != 0].astype(float)
    scores = (groups == "b").astype(float)
    assert evaluate.auroc(labels, scores) > 0.85
    assert evaluate.within_group_auroc(labels, scores, groups) == 0.5


def test_the_bootstrap_keeps_the_films_of_a_patient_together():
    patients = np.array(["a", "a", "a", "b", "c", "c"])
    for rows in evaluate.resamples(patients, 20, seed=1):
        drawn = [tuple(np.flatnonzero(patients == p)) for p in "abc"]
        assert all(sum(rows == r[0]) == sum(rows == i) for r in drawn for i in r)


def test_calibration_brings_the_mean_probability_to_the_share_of_disease():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 2)).astype(np.float32)
    labels = (rng.random((4000, 2)) < 1 / (1 + np.exp(-(0.5 * logits + [-1, 0.5])))).astype(np.float32)
    slope, intercepts = calibrate.fit_calibration(labels, logits)
    assert slope == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(intercepts, [-1, 0.5], atol=0.12)


def test_the_operating_point_keeps_the_specificity():
    rng = np.random.default_rng(0)
    labels, p = rng.integers(0, 2, 500), rng.random(500)
    point = calibrate.operating_point(labels, p)
    assert (p[labels == 0] < point).mean() == pytest.approx(calibrate.SPECIFICITY, abs=0.01)


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_the_tiny_graphs_of_the_runner_s_tests_are_what_this_makes(kind):
    stored = onnx.load(tiny_models.FOLDER / f"{kind}.onnx").graph
    made = tiny_models.build(kind).graph
    assert [n.op_type for n in stored.node] == [n.op_type for n in made.node]
    assert [o.name for o in stored.output] == [o.name for o in made.output]


@needs_data
def test_splits_keep_patients_apart():
    names = ("train", "val", "test", "loc", "demo")
    splits = {name: set(dataset.load_split(DATA, name).patients) for name in names}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not splits[a] & splits[b], (a, b)


@needs_data
def test_what_the_gate_is_judged_on_it_never_trained_on():
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    trained = {name for name, _ in dataset.foreign_films(DATA, held_out=False)}
    judged = {name for name, _ in dataset.foreign_films(DATA, held_out=True)}
    shared = trained & judged
    assert all(name[0].isdigit() for name in shared)  # slices of different series share their numbers
    assert {"RG3_UNCR.dcm", "flower.jpg"} <= judged
    assert not any(n.startswith(("RG1", "RG3")) for n in trained)
    assert not any(n.startswith("RG1") for n in judged)


@needs_data
def test_a_tiny_run_goes_from_films_to_a_package_that_passes_verification(tmp_path):
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    from hoichan.adapters.runner_onnx import OnnxRunner
    from hoichan.analysis.manifests import load, verify
    from hoichan.testing.reports import TAKEN_AT

    class Clock:
        def now(self):
            return TAKEN_AT

    settings = train.read_recipe(
        RECIPE, size=SIZE, copies=1, epochs=2, films=40, gate_count=12, gate_epochs=4, batch_size=8
    )
    net = train.train(settings, DATA, tmp_path / "run")
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert len(history["epochs"]) == 2
    assert history["epochs"][1]["loss"] < history["epochs"][0]["loss"]

    result = evaluate.evaluate(evaluate.torch_scorer(net), DATA, SIZE, films=40)
    assert set(result["chosen_on_val"]) == set(dataset.FINDINGS.values())
    for row in result["test"].values():  # forty films are too few to judge: show one finding all the same
        row["auroc_ci95"] = [0.6, 0.9]
        row["auroc"], row["metadata_auroc"], row["positives"] = 0.8, 0.5, 99
        row["sensitivity"] = row["specificity"] = {"k": 9, "n": 10, "share": 0.9, "ci95": [0.6, 0.98]}
        row["positive_share_second_hospital"] = 0.1
        row.setdefault("difference_ci95", [0.1, 0.3])
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps(result))

    package = tmp_path / "cxr-demo"
    export.export(tmp_path / "run", DATA, package)
    manifest = load(package)
    assert manifest.accepts.size == SIZE
    checks = verify(package, OnnxRunner(Path, Clock()))
    assert all(c.passed for c in checks), checks


@needs_data
def test_the_shipped_package_scores_films_as_its_float16_graph_promises():
    """int8 or float16 may cost 0.01 AUROC at most: the figure was measured on val when it was exported."""
    folder = Path(train.__file__).parents[1] / "models" / "cxr-demo"
    told = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["export"]
    assert told["largest_auroc_move"] < export.MOST_AUROC_MOVES
    assert told["bytes"] == (folder / "weights.onnx").stat().st_size < export.LARGEST_BYTES
