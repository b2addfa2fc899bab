"""A worker's counts: every image and every try, whatever comes of it, and nothing twice."""

import hashlib
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.errors import InputOutOfDomain, Refused, RunnerFailed, Unreachable
from hoichan.reporting import plan
from hoichan.testing import FakeSink, a_manifest, a_report, a_study
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reading import DESTINATIONS
from hoichan.types import RefusalCode
from service.metering import Metering

TINY = Path(__file__).parents[2] / "golden" / "models"


@pytest.fixture
def engine(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'records.sqlite'}")
    migrated(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def vitals(engine):
    return VitalsSql(engine)


def counted(vitals):
    return {(key.name, *key.labels): value for key, value in vitals.totals().items() if not key.part}


def test_every_image_is_counted(vitals):
    runner = FakeRunner(FakeClock())
    metering = Metering(vitals, "w", [], runner)
    manifest, study = a_manifest(), a_study()
    (instance,) = study.instances
    metering.runner.run(manifest, study, instance)
    runner.failures = 1
    with pytest.raises(RunnerFailed):
        metering.runner.run(manifest, study, instance)
    runner.refuses = RefusalCode.WRONG_BODY_PART
    with pytest.raises(InputOutOfDomain):
        metering.runner.run(manifest, study, instance)
    metering.tell()
    name = ("model_runs_total", "cxr-invented", "1.2.0")
    assert counted(vitals) == {(*name, "answered"): 1, (*name, "failed"): 1, (*name, "out_of_domain"): 1}


def test_every_try_is_counted(vitals, engine):
    sink = FakeSink(failures=[Unreachable("pacs", "gone"), Refused("pacs", "0xA900")])
    metering = Metering(vitals, "w", [], FakeRunner(FakeClock()))
    metered = metering.sinks({"pacs": sink})["pacs"]
    study = a_study()
    report = a_report(study)
    documents = FakeEncoder().encode(study, report)
    (delivery,) = plan(report, study, DESTINATIONS[:1], documents, report.created_at)
    for kind in (Unreachable, Refused, None):
        if kind is None:
            assert metered.deliver(delivery, documents) == "taken"
        else:
            with pytest.raises(kind):
                metered.deliver(delivery, documents)
    metering.close()
    name = ("delivery_attempts_total", "pacs")
    assert counted(vitals) == {(*name, one): 1 for one in ("unreachable", "refused", "acknowledged")}


def test_reports_and_failures(vitals):
    metering = Metering(vitals, "w", [], FakeRunner(FakeClock()))
    study = a_study()
    metering.reported(study, a_report(study))
    metering.failed("model.runner_failed")
    metering.close()
    found = counted(vitals)
    assert found["analyses_failed_total", "model.runner_failed"] == 1
    assert sum(value for key, value in found.items() if key[0] == "reports_total") == 1


def test_counts_wait_while_the_database_is_away(tmp_path, vitals):
    away = VitalsSql(open_database(f"sqlite:///{tmp_path / 'empty.sqlite'}"))
    metering = Metering(away, "w", [], FakeRunner(FakeClock()))
    metering.failed("x")
    for _ in range(3):
        metering.close()  # tells, in vain
    assert sum(metering.tally.take().values()) == 1


def a_model(kind):
    weights = (TINY / f"{kind}.onnx").read_bytes()
    made = a_manifest(
        ("pneumothorax", "pleural_effusion"),
        name=kind,
        weights=PurePosixPath(f"{kind}.onnx"),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        root=PurePosixPath(TINY),
    )
    return replace(made, accepts=replace(made.accepts, size=64, gate_operating_point=0.0))


def test_models_are_opened_before_the_first_image_and_told_with_what_they_really_run_on(
    vitals, engine, tmp_path
):
    manifests = [a_model("plain"), replace(a_model("plain"), name="changed", weights_sha256="0" * 64)]
    metering = Metering(
        vitals, "w", manifests, OnnxRunner(lambda path: tmp_path / path, FakeClock(), threads=1)
    )
    HeartbeatsSql(engine).beat("w")
    metering.open_models()
    metering.tell()
    (worker,) = vitals.workers()
    plain, changed = worker.facts["models"]
    assert (plain["name"], plain["loaded"], plain["provider"]) == ("plain", True, "CPUExecutionProvider")
    assert (changed["loaded"], changed["code"]) == (False, "model.runner_failed")
    assert abs(worker.facts["clock_skew_seconds"]) < 1


def test_a_runner_elsewhere_is_said_to_be_elsewhere(vitals, engine):
    metering = Metering(vitals, "w", [a_manifest()], FakeRunner(FakeClock()))
    HeartbeatsSql(engine).beat("w")
    metering.start()
    metering.close()
    (worker,) = vitals.workers()
    assert [model["provider"] for model in worker.facts["models"]] == ["remote"]
