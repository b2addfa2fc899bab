"""What every runner of films does: in this process, and on a model server by either form of its protocol."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from hoichan.adapters.runner_kserve import KserveRunner
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.films import Film
from hoichan.analysis.imaging import read_picture
from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.settings import RemoteModel
from hoichan.testing.kserve import model_server
from hoichan.testing.reports import a_film, a_manifest, a_study, as_bytes
from hoichan.types import RefusalCode

TINY = Path(__file__).parents[1] / "golden" / "models"
KINDS = ("plain", "probabilities", "nan", "nameless", "short")
NAMES = ("pneumothorax", "pleural_effusion")  # of the outputs: mean of (1 - film), mean of the film


class SteppingClock:
    """One second later at every look."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A package of each kind whose golden case is what the plain graph says in this process."""
    root = tmp_path_factory.mktemp("shelf")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    for kind in KINDS:
        folder = root / kind
        (folder / "golden").mkdir(parents=True)
        (folder / "weights.onnx").write_bytes((TINY / f"{kind}.onnx").read_bytes())
        Image.fromarray(pixels).save(folder / "golden" / "a.png")
    runner = OnnxRunner(Path, SteppingClock(), threads=1)
    for kind in KINDS:
        folder = root / kind
        like = kind if kind in {"plain", "probabilities"} else "plain"
        scores = runner.score(manifest_in(root, like), read_picture(root / like / "golden" / "a.png"))
        case = {"name": "a", "picture": "a.png", "tolerance": 1e-3, "logits": dict(scores.logits),
                "gate": list(scores.gate)}  # fmt: skip
        (folder / "golden" / "cases.json").write_text(json.dumps({"cases": [case]}))
    return root


def manifest_in(root: Path, kind: str, gate: float = 0.0):
    weights = (root / kind / "weights.onnx").read_bytes()
    made = a_manifest(
        NAMES,
        name=kind,
        weights=PurePosixPath("weights.onnx"),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        root=PurePosixPath(root / kind),
    )
    return replace(made, accepts=replace(made.accepts, size=64, gate_operating_point=gate))


@pytest.fixture(params=["onnx", "kserve-binary", "kserve-json"])
def runner_of(request, shelf, tmp_path):
    """kind -> a runner for the package of this kind."""
    if request.param == "onnx":
        yield lambda kind: OnnxRunner(lambda path: tmp_path / path, SteppingClock(), threads=1)
        return
    made: list[KserveRunner] = []
    binary = request.param == "kserve-binary"
    with model_server({kind: shelf / kind / "weights.onnx" for kind in KINDS}, binary=binary) as server:

        def of(kind: str) -> KserveRunner:
            remote = RemoteModel(package=kind, url=server.url, timeout_seconds=60)
            made.append(KserveRunner(remote, lambda path: tmp_path / path, SteppingClock()))
            return made[-1]

        yield of
        for one in made:
            one.close()
        assert set(server.forms) <= {"application/octet-stream" if binary else "application/json"}


@pytest.fixture
def study(tmp_path):
    film = a_film(rows=400, columns=300)
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    return a_study(film)


def test_a_run_says_what_was_read_what_ran_and_the_same_numbers_everywhere(runner_of, shelf, study, tmp_path):
    manifest = manifest_in(shelf, "plain")
    runner = runner_of("plain")
    result = runner.run(manifest, study, study.instances[0])
    here = OnnxRunner(lambda path: tmp_path / path, SteppingClock(), threads=1)
    expected = here.run(manifest, study, study.instances[0])
    assert result.provider == runner.wanted_provider(manifest) == runner.load(manifest)
    assert (result.rows, result.columns) == (400, 300)
    assert result.logits == pytest.approx(expected.logits, abs=1e-6)
    assert result.gate == pytest.approx(expected.gate, abs=1e-6)
    for name in NAMES:
        np.testing.assert_allclose(
            result.class_activation_maps[name], expected.class_activation_maps[name], atol=1e-6
        )


def test_probabilities_become_logits(runner_of, shelf, study):
    result = runner_of("probabilities").run(
        manifest_in(shelf, "probabilities", gate=0.9), study, study.instances[0]
    )
    assert set(result.logits) == set(NAMES)
    assert result.warnings == ("no_pixel_gate",)


def test_below_the_gate_nothing_is_scored(runner_of, shelf, study):
    with pytest.raises(InputOutOfDomain) as caught:
        runner_of("plain").run(manifest_in(shelf, "plain", gate=0.999), study, study.instances[0])
    assert caught.value.reason == RefusalCode.NOT_FRONTAL_CHEST


@pytest.mark.parametrize("kind", ["nan", "nameless", "short"])
def test_a_model_that_cannot_answer_fails_and_never_guesses(runner_of, shelf, study, kind):
    with pytest.raises(RunnerFailed):
        runner_of(kind).run(manifest_in(shelf, kind), study, study.instances[0])


def test_an_empty_film_never_reaches_a_model(runner_of, shelf, study, tmp_path):
    film = a_film(rows=400, columns=300)
    film.PixelData = bytes(len(film.PixelData))
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    with pytest.raises(InputOutOfDomain) as caught:
        runner_of("plain").run(manifest_in(shelf, "plain"), study, study.instances[0])
    assert caught.value.reason == RefusalCode.PIXELS_OUT_OF_RANGE


def test_an_object_that_cannot_be_read_is_refused(runner_of, shelf, study, tmp_path):
    (tmp_path / "film.dcm").write_bytes(b"not DICOM at all")
    with pytest.raises(InputOutOfDomain) as caught:
        runner_of("plain").run(manifest_in(shelf, "plain"), study, study.instances[0])
    assert caught.value.reason == RefusalCode.UNDECODABLE_PIXELS


def test_an_instance_of_another_study_is_a_failure(runner_of, shelf, study):
    stranger = replace(study.instances[0], sop_instance_uid="1.2.3.4")
    with pytest.raises(RunnerFailed, match="is not in study"):
        runner_of("plain").run(manifest_in(shelf, "plain"), study, stranger)


def test_a_score_has_no_gate_applied(runner_of, shelf):
    film = Film(grey=np.random.default_rng(0).random((96, 96), dtype=np.float32), spacing_mm=None)
    scores = runner_of("plain").score(manifest_in(shelf, "plain", gate=0.999), film)
    assert 0 < scores.gate[0] < 0.999
