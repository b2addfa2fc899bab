"""The runner on graphs of a few hundred bytes (tests/train/tiny_models.py made them)."""

import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from structlog.testing import capture_logs

from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.films import Film
from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.testing.reports import a_film, a_manifest, a_study, as_bytes
from hoichan.types import RefusalCode

TINY = Path(__file__).parents[2] / "golden" / "models"
NAMES = ("pneumothorax", "pleural_effusion")  # of the outputs: mean of (1 - film), mean of the film


class SteppingClock:
    """One second later at every look."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def manifest(kind: str, gate: float = 0.0):
    weights = (TINY / f"{kind}.onnx").read_bytes()
    made = a_manifest(
        NAMES,
        weights=PurePosixPath(f"{kind}.onnx"),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        root=PurePosixPath(TINY),
    )
    return replace(made, accepts=replace(made.accepts, size=64, gate_operating_point=gate))


@pytest.fixture
def runner(tmp_path):
    return OnnxRunner(lambda path: tmp_path / path, SteppingClock(), threads=1)


@pytest.fixture
def study(tmp_path):
    film = a_film(rows=400, columns=300)
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    return a_study(film)


def test_a_run_says_exactly_what_was_read_and_what_ran(runner, study):
    result = runner.run(manifest("plain"), study, study.instances[0])
    assert result.sop_instance_uid == study.instances[0].sop_instance_uid
    assert result.series_instance_uid == study.series[0].series_instance_uid
    assert (result.rows, result.columns) == (400, 300)
    assert set(result.logits) == set(NAMES)
    assert result.provider == "CPUExecutionProvider"
    assert result.ended_at - result.started_at == timedelta(seconds=1)
    assert result.weights_sha256 == manifest("plain").weights_sha256
    assert 0.0 < result.gate < 1.0
    assert result.warnings == ()


def test_without_a_card_the_processor_answers_and_says_so(tmp_path, study, runner):
    asked = OnnxRunner(lambda path: tmp_path / path, SteppingClock(), threads=1, provider="cuda")
    with capture_logs() as logs:
        assert asked.load(manifest("plain")) == "CPUExecutionProvider"
    assert asked.wanted_provider(manifest("plain")) == "CUDAExecutionProvider"
    assert [one["event"] for one in logs] == ["provider_not_here"]
    result = asked.run(manifest("plain"), study, study.instances[0])
    assert result.provider == "CPUExecutionProvider"
    assert result.logits == runner.run(manifest("plain"), study, study.instances[0]).logits


def test_an_unknown_provider_is_a_mistake():
    with pytest.raises(KeyError):
        OnnxRunner(Path, SteppingClock(), provider="fpga")


def test_maps_cover_the_stored_image_and_not_the_padding(runner, study):
    result = runner.run(manifest("plain"), study, study.instances[0])
    for name in NAMES:
        rows, columns = result.class_activation_maps[name].shape
        assert columns / rows == pytest.approx(300 / 400, abs=0.05)
        assert result.class_activation_maps[name].dtype == np.float32


def test_without_padding_the_map_still_sums_to_the_logit(runner):
    film = Film(grey=np.random.default_rng(0).random((256, 256), dtype=np.float32), spacing_mm=None)
    scores = runner.score(manifest("plain"), film)
    for name in NAMES:
        assert scores.maps[name].mean() == pytest.approx(scores.logits[name], abs=1e-3)


def test_below_the_gate_nothing_is_scored(runner, study):
    with pytest.raises(InputOutOfDomain) as caught:
        runner.run(manifest("plain", gate=0.999), study, study.instances[0])
    assert caught.value.reason == RefusalCode.NOT_FRONTAL_CHEST


def test_a_model_that_gives_probabilities_only_has_logits_and_says_that_it_has_no_gate(runner, study):
    plain = runner.run(manifest("plain"), study, study.instances[0])
    result = runner.run(manifest("probabilities", gate=0.9), study, study.instances[0])
    for name in NAMES:
        assert result.logits[name] == pytest.approx(plain.logits[name], abs=1e-4)
    assert result.class_activation_maps == {}
    assert result.warnings == ("no_pixel_gate",)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("nan", "a number that is none"),
        ("nameless", "neither an output 'logits' nor 'probabilities'"),
        ("short", "fewer outputs than its manifest"),
        ("fixed", "failed: InvalidArgument"),
    ],
)
def test_a_model_that_cannot_answer_fails_and_never_guesses(runner, study, kind, sentence):
    with pytest.raises(RunnerFailed, match=sentence):
        runner.run(manifest(kind), study, study.instances[0])


def test_weights_that_changed_after_the_shelf_was_read_are_not_loaded(runner, study, tmp_path):
    made = replace(manifest("plain"), root=PurePosixPath(tmp_path))
    (tmp_path / "plain.onnx").write_bytes(b"something else")
    with pytest.raises(RunnerFailed, match="checksum"):
        runner.run(made, study, study.instances[0])


def test_weights_that_are_no_graph_fail(runner, study, tmp_path):
    junk = b"something else"
    (tmp_path / "plain.onnx").write_bytes(junk)
    made = replace(
        manifest("plain"), root=PurePosixPath(tmp_path), weights_sha256=hashlib.sha256(junk).hexdigest()
    )
    with pytest.raises(RunnerFailed, match="cannot be loaded"):
        runner.run(made, study, study.instances[0])


def test_weights_that_are_gone_fail(runner, study, tmp_path):
    with pytest.raises(RunnerFailed, match="cannot be read"):
        runner.run(replace(manifest("plain"), root=PurePosixPath(tmp_path)), study, study.instances[0])


def test_another_runtime_is_not_ours(runner, study):
    with pytest.raises(RunnerFailed, match="monai_bundle"):
        runner.run(replace(manifest("plain"), runtime="monai_bundle"), study, study.instances[0])


@pytest.mark.parametrize("content", [b"", b"not DICOM at all", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_an_object_that_cannot_be_read_is_refused(runner, study, tmp_path, content):
    (tmp_path / "film.dcm").write_bytes(content)
    with pytest.raises(InputOutOfDomain) as caught:
        runner.run(manifest("plain"), study, study.instances[0])
    assert caught.value.reason == RefusalCode.UNDECODABLE_PIXELS


def test_an_empty_film_is_refused_before_the_model_sees_it(runner, study, tmp_path):
    film = a_film(rows=400, columns=300)
    film.PixelData = bytes(len(film.PixelData))
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    with pytest.raises(InputOutOfDomain) as caught:
        runner.run(manifest("nan"), study, study.instances[0])
    assert caught.value.reason == RefusalCode.PIXELS_OUT_OF_RANGE


def test_an_instance_of_another_study_is_a_failure(runner, study):
    stranger = replace(study.instances[0], sop_instance_uid="1.2.3.4")
    with pytest.raises(RunnerFailed, match="is not in study"):
        runner.run(manifest("plain"), study, stranger)


def test_threads_share_one_session_and_agree(runner, study):
    made, found = manifest("plain"), []
    threads = [
        threading.Thread(target=lambda: found.append(runner.run(made, study, study.instances[0]).logits))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert all(logits == found[0] for logits in found)


def test_nothing_of_the_patient_is_logged(runner, study):
    with capture_logs() as logs:
        runner.run(manifest("plain"), study, study.instances[0])
    (event,) = logs
    assert event["event"] == "model_run"
    assert set(event) <= {
        "event",
        "log_level",
        "model",
        "version",
        "seconds",
        "study",
        "revision",
        "provider",
    }
