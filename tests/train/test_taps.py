"""The linear head, the way back from a package, a stopped run, and int8: on random films of 160 pixels."""

import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest

from hoichan.analysis.gate import GATE_CLASSES

torch = pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI and torch speak of their own future on import
    from training import evaluate, export, networks, package_net, quantise, tap_head, train
    from training.dataset import FINDINGS, Samples

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]
SIZE = 160
PACKAGE = Path(train.__file__).parents[1] / "models" / "cxr-demo"


def samples(count, rng):
    labels = (rng.random((count, len(FINDINGS))) < 0.4).astype(np.float32)
    return Samples(
        images=tuple(f"{n}.png" for n in range(count)),
        patients=np.array([f"p{n}" for n in range(count)]),
        collections=np.array(["a", "b"] * (count // 2)),
        labels=labels,
        metadata=np.zeros((count, 3), np.float32),
        ages=np.full(count, 50, np.float32),
        paths=tuple(Path(f"{n}.png") for n in range(count)),
    )


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return networks.build(len(FINDINGS), len(GATE_CLASSES))


@pytest.fixture(scope="module")
def films():
    return np.random.default_rng(0).random((4, 1, SIZE, SIZE), dtype=np.float32)


@pytest.fixture(scope="module")
def seen(net, films):
    return tap_head.tap_features(net, films)


def test_the_regions_of_a_film_sum_to_its_mean(net, films, seen):
    with torch.inference_mode():
        grid = networks.tap_grid(net.taps(torch.from_numpy(films)))
    np.testing.assert_allclose(seen.sum((2, 3)), grid.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-4)


def test_folded_weights_on_the_network_give_the_regression_s_scores(net, films, seen):
    rng = np.random.default_rng(1)
    basis = tap_head.Basis.of(seen)
    table = basis.table(seen)
    weights = rng.normal(size=(len(FINDINGS), table.shape[1]))
    folded, bias = basis.folded(weights)
    expected = table @ weights.T
    np.testing.assert_allclose(
        np.einsum("ncrs,kcrs->nk", seen, folded) + bias, expected, rtol=1e-3, atol=1e-3
    )
    with torch.inference_mode():
        before = net(torch.from_numpy(films)).logits.numpy()
        net.tap_weight.copy_(torch.from_numpy(folded).float())
        after = net(torch.from_numpy(films))
        net.tap_weight.zero_()
    np.testing.assert_allclose(after.logits.numpy() - before + bias, expected, rtol=2e-2, atol=2e-2)
    mean = after.cam.mean((2, 3)) + net.bias
    torch.testing.assert_close(mean, after.logits)


def test_the_ridge_finds_the_slope_and_not_the_collection():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 3))
    collections = np.array(["a"] * 200 + ["b"] * 200)
    x[200:, 1] += 5  # tells the collection
    y = (x[:, :1] > 0).astype(float)
    y[200:] = np.maximum(y[200:], rng.random((200, 1)) < 0.5)  # and the collection has more of it
    (weights,) = tap_head.ridge(x, y, collections, 0.01)
    assert weights[0] > 0.2 and abs(weights[1]) < 0.05 and abs(weights[2]) < 0.05


def test_labels_lean_towards_their_group_only():
    labels = np.zeros((2, len(FINDINGS)), np.float32)
    names = list(FINDINGS.values())
    labels[0, names.index("mass")] = 1
    leaning = tap_head.shared(labels, 0.2)
    assert leaning[0, names.index("nodule")] == pytest.approx(0.2)
    assert leaning[0, names.index("mass")] == pytest.approx(1.0)
    assert leaning.sum() == pytest.approx(1.2) and labels.sum() == 1


def test_a_small_collection_is_centred_on_all():
    values = np.arange(8.0)[:, None]
    out = tap_head.centred(values, np.array(["a"] * 7 + ["b"]))
    assert out[:7].mean() == pytest.approx(0) and out[7, 0] == pytest.approx(7 - 3.5)


def test_the_network_comes_back_from_its_package():
    import onnxruntime

    net = package_net.from_package(PACKAGE)
    x = np.random.default_rng(3).random((2, 1, 256, 256), dtype=np.float32)
    session = onnxruntime.InferenceSession(PACKAGE / "weights.onnx", providers=["CPUExecutionProvider"])
    logits, cam, gate = session.run(["logits", "cam", "gate"], {"film": x})
    with torch.inference_mode():
        ours = net(torch.from_numpy(x))
    np.testing.assert_allclose(ours.logits.numpy(), logits, atol=1e-3)
    np.testing.assert_allclose(ours.cam.numpy(), cam, atol=1e-2)
    np.testing.assert_allclose(ours.gate.softmax(1).numpy(), gate, atol=1e-4)
    assert evaluate.gate_counted(net, PACKAGE)["operating_point"] > 0


def test_another_gate_is_not_taken_for_this_one(net):
    with pytest.raises(ValueError, match="is another"):
        evaluate.gate_counted(net, PACKAGE)


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    rng = np.random.default_rng(4)
    films = samples(16, rng)
    features = [torch.from_numpy(rng.normal(size=(16, 112, 10, 10)).astype(np.float32)) for _ in range(2)]
    settings = train.Settings(name="t", version="0", size=SIZE, epochs=2, batch_size=8)

    def run(epochs, checkpoint):
        torch.manual_seed(1)
        fresh = networks.build(len(FINDINGS), len(GATE_CLASSES), pretrained=False, dropout=0.2)
        loop = train.begin(fresh, settings, 16, 2)
        if checkpoint.exists():
            loop.load(checkpoint)
        labels, group = torch.from_numpy(films.labels), torch.tensor([0, 1] * 8)
        for _ in range(epochs):
            loop.history.append({"loss": train.one_epoch(loop, features, labels, group, 8)})
            loop.save(checkpoint)
        return loop

    whole = run(2, tmp_path / "whole.pt")
    run(1, tmp_path / "parts.pt")
    parts = run(1, tmp_path / "parts.pt")
    assert parts.history == whole.history
    for a, b in zip(parts.average.parameters(), whole.average.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_int8_is_taken_or_refused_by_what_it_costs(films):
    weights = (PACKAGE / "weights.onnx").read_bytes()
    package = tomllib.loads((PACKAGE / "manifest.toml").read_text(encoding="utf-8"))
    squares = np.random.default_rng(5).random((4, 1, 256, 256), dtype=np.float32)
    small = quantise.quantised(weights, squares[:2])
    assert len(small) < len(weights)
    labels = (np.indices((4, 14)).sum(0) % 2).astype(np.float32)
    told = quantise.compare(weights, weights, squares, labels, package)
    assert told["largest_auroc_fall"] == 0 and told["map_correlation"] == pytest.approx(1.0)
    assert told["faults"] == ["good_films_refused"]  # noise is no chest: the gate says so
    told = quantise.compare(weights, small, squares, 1 - labels, package)
    assert 0 < told["largest_logit_difference"] < 5
    assert told["bytes"]["int8"] == len(small)


def test_processors_with_integer_instructions_are_known():
    assert quantise.integer_instructions("flags : fpu avx2 avx512_vnni")
    assert not quantise.integer_instructions("flags : fpu avx2")


def test_reliability_counts_what_was_said_and_what_was():
    p = np.repeat([0.1, 0.9], 50)
    labels = np.r_[np.arange(50) < 5, np.arange(50) < 45].astype(float)
    told = evaluate.reliability(labels, p)
    assert told["ece"] <= 0.25 and sum(one["films"] for one in told["bins"]) == 100
    assert evaluate.reliability(1 - labels, p)["ece"] > 0.5


def test_the_exporter_keeps_the_map_explaining_the_score_with_taps(net, films):
    with torch.no_grad():
        net.tap_weight.normal_(0, 1e-3, generator=torch.Generator().manual_seed(0))
    proof = export.parity(net, export.to_onnx(net, SIZE).SerializeToString(), films)
    net.tap_weight.data.zero_()
    assert proof["logits"] < 1e-3 and proof["cam"] < 1e-2 and proof["logit_minus_map"] < 1e-3
