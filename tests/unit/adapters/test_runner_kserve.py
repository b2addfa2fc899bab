"""The runner that asks a model server: what it asks, when it asks again, and what it never believes."""

import json
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.runner_kserve import PROVIDER, KserveRunner, RoutedRunner, routed
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.imaging import read_picture
from hoichan.analysis.manifests import load
from hoichan.errors import RunnerFailed
from hoichan.settings import Models, RemoteModel
from hoichan.testing.kserve import CUT, model_server
from hoichan.testing.reports import PATIENT_ID, a_film, a_study, as_bytes
from hoichan.testing.shelf import write_package

TINY = Path(__file__).parents[2] / "golden" / "models"


@pytest.fixture
def package(tmp_path):
    """A package with one drawn golden case."""
    folder = write_package(tmp_path / "tiny", TINY / "plain.onnx")
    (folder / "golden").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "golden" / "a.png")
    manifest = load(folder)
    scores = OnnxRunner(Path, SystemClock(), threads=1).score(
        manifest, read_picture(folder / "golden" / "a.png")
    )
    case = {"name": "a", "picture": "a.png", "tolerance": 1e-3, "logits": dict(scores.logits),
            "gate": list(scores.gate)}  # fmt: skip
    (folder / "golden" / "cases.json").write_text(json.dumps({"cases": [case]}))
    return folder


@pytest.fixture
def server(package):
    with model_server({"tiny": package / "weights.onnx"}) as made:
        yield made


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def runner_of(server, tmp_path, pauses):
    made = []

    def of(**changes):
        remote = RemoteModel(**{"package": "tiny", "url": server.url, "timeout_seconds": 60, **changes})
        made.append(KserveRunner(remote, lambda path: tmp_path / path, SystemClock(), pause=pauses.append))
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture
def study(tmp_path):
    film = a_film(rows=400, columns=300)
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    return a_study(film)


def test_the_version_is_proved_once_and_then_only_films_travel(runner_of, server, package, study):
    runner, manifest = runner_of(), load(package)
    for _ in range(3):
        assert runner.run(manifest, study, study.instances[0]).provider == PROVIDER
    assert server.asked == [
        "GET /v2",
        "GET /v2/models/tiny/ready",
        "GET /v2/models/tiny",
        *["POST /v2/models/tiny/infer"] * 4,  # the golden case, then three films
    ]


def test_the_proof_is_made_anew_when_it_is_old(runner_of, server, package, study):
    runner, manifest = runner_of(check_seconds=1e-9), load(package)
    for _ in range(2):
        runner.run(manifest, study, study.instances[0])
    assert server.asked.count("POST /v2/models/tiny/infer") == 4


def test_another_model_under_this_name_is_found_out(runner_of, server, package, study):
    runner, manifest = runner_of(), load(package)
    cases = json.loads((package / "golden" / "cases.json").read_text())
    cases["cases"][0]["logits"]["dark"] += 0.5
    (package / "golden" / "cases.json").write_text(json.dumps(cases))
    with pytest.raises(RunnerFailed, match="golden:a is not this version's"):
        runner.run(manifest, study, study.instances[0])


def test_a_package_without_golden_cases_cannot_be_proved(runner_of, package, study):
    (package / "golden" / "cases.json").unlink()
    with pytest.raises(RunnerFailed, match="cannot be read"):
        runner_of().load(load(package))


def test_name_and_version_there_may_be_others(package, tmp_path):
    with model_server({"cxr": package / "weights.onnx"}, version="7") as server:
        runner = KserveRunner(
            RemoteModel(package="tiny", url=server.url, model="cxr", version="7"), Path, SystemClock()
        )
        assert runner.load(load(package)) == PROVIDER
        runner.close()
        assert "POST /v2/models/cxr/versions/7/infer" in server.asked


@pytest.mark.parametrize("fault", [503, 429, 502, CUT])
def test_a_server_that_stumbles_is_asked_again_with_longer_pauses(
    runner_of, server, package, study, pauses, fault
):
    runner, manifest = runner_of(), load(package)
    runner.load(manifest)
    server.faults = [fault, fault]
    runner.run(manifest, study, study.instances[0])
    assert pauses == [0.5, 1.0]


def test_a_server_that_stays_away_fails_the_run(runner_of, server, package, study, pauses):
    runner, manifest = runner_of(tries=2), load(package)
    runner.load(manifest)
    server.faults = [503] * 5
    with pytest.raises(RunnerFailed, match="no answer: HTTP 503"):
        runner.run(manifest, study, study.instances[0])
    assert pauses == [0.5]


@pytest.mark.parametrize("fault", [400, 401, 404, 500, 301])
def test_a_server_that_refuses_is_not_asked_again(runner_of, server, package, study, pauses, fault):
    runner, manifest = runner_of(), load(package)
    runner.load(manifest)
    server.faults = [fault]
    with pytest.raises(RunnerFailed, match=f"refused: HTTP {fault}"):
        runner.run(manifest, study, study.instances[0])
    assert pauses == []


def test_a_model_that_is_not_there_is_told(runner_of, package):
    with pytest.raises(RunnerFailed, match="HTTP 404"):
        runner_of(model="other").load(load(package))


def test_a_model_of_another_size_is_told(runner_of, package):
    manifest = load(package)
    wide = replace(manifest, accepts=replace(manifest.accepts, size=128))
    with pytest.raises(RunnerFailed, match="no FP32 films of 128 pixels"):
        runner_of().load(wide)


def test_nobody_listens(package, pauses):
    with model_server({"tiny": package / "weights.onnx"}) as server:
        gone = server.url
    runner = KserveRunner(RemoteModel(package="tiny", url=gone), Path, SystemClock(), pause=pauses.append)
    with pytest.raises(RunnerFailed, match="no answer: ConnectError"):
        runner.load(load(package))
    runner.close()
    assert len(pauses) == 2


def test_an_answer_that_is_not_of_the_protocol_fails(package, tmp_path):
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"<html>")

    runner = KserveRunner(
        RemoteModel(package="tiny", url="http://127.0.0.1:1"),
        Path,
        SystemClock(),
        transport=httpx2.MockTransport(answer),
    )
    with pytest.raises(RunnerFailed, match="not KServe v2"):
        runner.load(load(package))
    runner.close()


def test_only_scaled_pixels_travel(runner_of, server, package, study):
    runner = runner_of(auth={"kind": "bearer", "token": "secret"})
    runner.run(load(package), study, study.instances[0])
    told = " ".join(server.asked) + json.dumps(server.heads)
    assert PATIENT_ID not in told and study.study_instance_uid not in told
    assert all(head["Authorization"] == "Bearer secret" for head in server.heads)


def test_each_package_runs_where_the_settings_say(runner_of, package, study):
    local = OnnxRunner(Path, SystemClock(), threads=1)
    manifest = load(package)
    both = RoutedRunner(local, [("tiny", runner_of())])
    assert both.load(manifest) == both.wanted_provider(manifest) == PROVIDER
    assert both.run(manifest, study, study.instances[0]).provider == PROVIDER
    other = replace(manifest, name="other")
    assert both.load(other) == both.wanted_provider(other) == "CPUExecutionProvider"
    assert routed(local, []) is local


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://gpu.hospital.vn:8000"},  # films in clear over the network
        {"url": "http://127.0.0.1:8000", "auth": {"kind": "smart"}},
        {"url": "http://127.0.0.1:8000", "model": "a/../b"},
        {"url": "http://127.0.0.1:8000", "tries": 0},
    ],
)
def test_unsafe_settings_stop_the_start(wrong):
    with pytest.raises(ValidationError):
        RemoteModel(package="tiny", **wrong)
    with pytest.raises(ValidationError, match="two entries"):
        Models(remote=[{"package": "a", "url": "https://a"}, {"package": "a", "url": "https://b"}])
