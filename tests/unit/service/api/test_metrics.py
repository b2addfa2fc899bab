"""`/metrics`, `/readyz`: what the page's process shows of all processes."""

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.orders_sql import OrdersSql
from hoichan.adapters.spool_survey import Surveyor
from hoichan.adapters.vitals_disk import DiskVitals
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.intake.messages import hear
from hoichan.meters import INFERENCE_SECONDS, INSTANCES_RECEIVED, Tally
from hoichan.testing.datasets import described, film
from hoichan.testing.house import wait_until
from hoichan.testing.reading import a_record, fill
from tests.unit.service.api.asking import an_app
from tests.unit.service.test_readiness import MODEL


@pytest.fixture
def record(tmp_path):
    record = a_record(tmp_path)
    yield record
    record.engine.dispose()


@pytest.fixture
def client(record):
    app = an_app(record)
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)) as client:
        yield client


def samples(client):
    """Value by name and labels, as a Prometheus server would read it."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_record_is_counted(client, record):
    fill(record)
    found = samples(client)
    assert found["hoichan_studies", ("state", "failed")] == 1
    assert found["hoichan_instances",] == 10
    assert found["hoichan_deliveries", ("state", "dead")] == 1
    assert found["hoichan_deliveries", ("state", "pending")] == 3
    assert found["hoichan_destination_deliveries", ("destination", "emr"), ("state", "dead")] == 1
    assert found["hoichan_oldest_undelivered_seconds",] > 90
    assert found["hoichan_oldest_unanswered_seconds",] > 90
    assert found["hoichan_database_up",] == 1
    assert found["hoichan_disk_free_bytes", ("place", "spool")] > 0


def test_an_empty_house_shows_zeros_of_what_is_configured(client):
    found = samples(client)
    assert found["hoichan_workers",] == found["hoichan_listener_up",] == 0
    assert found["hoichan_oldest_undelivered_seconds",] == 0
    assert found["hoichan_instances_received_total", ("outcome", "stored"), ("sender", "*")] == 0
    name = "hoichan_delivery_attempts_total"
    assert found[name, ("destination", "outbox"), ("outcome", "acknowledged")] == 0


def test_what_a_person_must_look_at_is_counted(client, record):
    first, other = film(), film(instance="2")
    other.PatientID, other.PatientName, other.PatientSex = "BN0777", "Lê^Bình^Thị", "F"
    arrived = described(first)
    record.studies.add_arrivals(arrived, arrived.instances)
    CorrectionsSql(record.engine, record.clock).arrived([described(other)])
    OrdersSql(record.engine, record.clock).take(
        hear(b"no message", zone=record.settings.site.zone),
        b"no message",
        source="127.0.0.1",
        answer="AE",
        acknowledgement=b"",
    )
    found = samples(client)
    assert found["hoichan_questions", ("holds", "yes")] == 1
    assert found["hoichan_questions", ("holds", "no")] == 0
    assert found["hoichan_order_messages", ("answer", "AE")] == 1
    assert found["hoichan_changed_contents", ("difference", "pixels")] == 0
    assert found["hoichan_retractions_owed",] == 0


def test_what_listener_and_workers_told_is_shown(client, record):
    door = Tally()
    door.add(INSTANCES_RECEIVED, "CR_ROOM1", "stored", amount=3)
    with DiskVitals(record.spool_root, "listener", door, {"ports": {"plain": 1}}):
        house = Tally()
        for seconds in (0.07, 0.3, 0.3, 400.0):
            house.observe(INFERENCE_SECONDS, "cxr", value=seconds)
        HeartbeatsSql(record.engine).beat("station")
        vitals = VitalsSql(record.engine)
        vitals.add(house.take())
        vitals.tell("station", {"models": [MODEL], "clock_skew_seconds": -1.5})
        found = samples(client)
    assert found["hoichan_instances_received_total", ("outcome", "stored"), ("sender", "CR_ROOM1")] == 3
    name = "hoichan_inference_duration_seconds"
    below = {
        le: found[name + "_bucket", ("le", le), ("model", "cxr")] for le in ("0.05", "0.1", "0.5", "+Inf")
    }
    assert list(below.values()) == [0, 1, 3, 4]
    assert found[name + "_count", ("model", "cxr")] == 4
    assert found[name + "_sum", ("model", "cxr")] == pytest.approx(400.67)
    assert found["hoichan_workers",] == found["hoichan_listener_up",] == 1
    assert found["hoichan_worker_clock_skew_seconds",] == -1.5
    model = (("model", "cxr-demo"), ("status", "research"), ("version", "0.1.0"))
    assert found["hoichan_model_loaded", *model] == 1


def test_one_worker_without_the_model_is_seen(client, record):
    for name, loaded in (("a", True), ("b", False)):
        HeartbeatsSql(record.engine).beat(name)
        VitalsSql(record.engine).tell(name, {"models": [{**MODEL, "loaded": loaded}]})
    loaded = {key: value for key, value in samples(client).items() if key[0] == "hoichan_model_loaded"}
    assert list(loaded.values()) == [0]


def test_without_a_database_the_rest_is_shown(client, record, tmp_path):
    record.engine.dispose()
    for file in tmp_path.glob("hoichan.sqlite*"):
        file.unlink()
    (tmp_path / "hoichan.sqlite").mkdir()
    found = samples(client)
    assert found["hoichan_database_up",] == 0
    assert ("hoichan_studies", ("state", "failed")) not in found
    assert found["hoichan_disk_free_bytes", ("place", "spool")] > 0


def test_the_spool_is_measured_in_the_background(client, record):
    study = record.spool_root / "studies" / "ab" / "1.2.3"
    study.mkdir(parents=True)
    (study / "1.dcm").write_bytes(b"x" * 100)
    (record.spool_root / "quarantine").mkdir(exist_ok=True)
    (record.spool_root / "quarantine" / "a.json").write_bytes(b"{}")
    wait_until(lambda: ("hoichan_spool_objects",) in samples(client), seconds=60, what="the first walk")
    found = samples(client)
    assert (found["hoichan_spool_objects",], found["hoichan_spool_size_bytes",]) == (1, 100)
    assert found["hoichan_spool_quarantined_objects",] == 1


def test_a_walk_is_not_repeated_at_every_look(tmp_path):
    surveyor = Surveyor(tmp_path)
    surveyor.walk()
    assert surveyor.look() == (0, 0)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "a").write_bytes(b"x")
    wait_until(lambda: surveyor.look() == (1, 1) or surveyor.look() == (0, 0), seconds=60, what="a look")


def test_readiness_is_for_machines_and_people(client, record):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    told = answer.json()
    assert told["ready"] is False
    checks = {check["name"]: check for check in told["checks"]}
    assert checks["database"]["ok"] and checks["spool"]["ok"]
    assert checks["worker"] == {
        "name": "worker",
        "ok": False,
        "reason": "no_worker",
        "detail": "none was seen in the last seconds",
        "to_do": checks["worker"]["to_do"],
        "blocks": True,
    }
    assert "hoichan work" in checks["worker"]["to_do"]
    HeartbeatsSql(record.engine).beat("station")
    VitalsSql(record.engine).tell("station", {"models": [{**MODEL, "wanted": "CUDA"}]})
    with DiskVitals(record.spool_root, "listener", Tally(), {"ports": {"plain": 1}}):
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert [check["name"] for check in answer.json()["checks"] if not check["ok"]] == ["provider"]
