"""What is told when something is missing: a stable reason, what to do, and whether it blocks."""

import json
import os
import time

import pytest

from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.vitals_disk import DiskVitals
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.meters import Tally
from hoichan.settings import Settings
from hoichan.testing.certificates import Authority
from hoichan.testing.house import free_ports
from hoichan.testing.reading import a_record, fill
from service.readiness import examine, is_running, premises

MODEL = {
    "name": "cxr-demo",
    "version": "0.1.0",
    "status": "research",
    "loaded": True,
    "provider": "CPUExecutionProvider",
    "wanted": "CPUExecutionProvider",
}


@pytest.fixture
def record(tmp_path):
    record = a_record(tmp_path)
    yield record
    record.engine.dispose()


@pytest.fixture
def door(record):
    facts = {"ports": {"plain": 11112, "tls": 2762}}
    with DiskVitals(record.spool_root, "listener", Tally(), facts) as door:
        yield door


def worker(record, *models, skew=0.1, name="station"):
    HeartbeatsSql(record.engine).beat(name)
    VitalsSql(record.engine).tell(name, {"models": list(models), "clock_skew_seconds": skew})


def place(record, **settings):
    chosen = record.settings
    if settings:
        kept = {"data_dir": chosen.storage.data_dir, "reserve_bytes": 0} | settings.pop("storage", {})
        chosen = Settings.model_validate({"storage": kept, **settings})
    return premises(chosen, record.engine, spool_root=record.spool_root, now=record.clock.now)


def wrong(site):
    """Reason by name of what is not ok; what is not ok always says what to do."""
    found = examine(site)
    assert all(one.to_do and one.reason for one in found if not one.ok)
    assert not any(one.to_do or one.reason for one in found if one.ok)
    return {one.name: one.reason for one in found if not one.ok}


def test_a_whole_house_has_nothing_to_tell(record, door):
    worker(record, MODEL)
    found = examine(place(record))
    assert [one.name for one in found if not one.ok] == []
    assert {one.name: one.detail for one in found}["listener"] == "takes associations on port 2762, 11112"
    assert is_running(place(record))


@pytest.mark.parametrize(
    ("fact", "reason", "detail"),
    [
        (
            {"receivers_left_out": {"emr2": "configuration"}},
            "receiver_not_put_together",
            "emr2 (configuration)",
        ),
        ({"receivers_refused": [3, "configuration"]}, "receivers_not_put_together", "version 3 of the page"),
    ],
)
def test_a_receiver_that_a_worker_has_to_do_without_is_named(record, door, fact, reason, detail):
    worker(record, MODEL)
    VitalsSql(record.engine).tell("station", {"models": [MODEL], "clock_skew_seconds": 0.1, **fact})
    assert wrong(place(record)) == {"receivers": reason}
    found = next(one for one in examine(place(record)) if one.name == "receivers")
    assert (found.detail, found.blocks) == (detail, False)


def test_nothing_runs(record):
    assert wrong(place(record)) == {"listener": "listener_not_seen", "worker": "no_worker"}
    assert not is_running(place(record))


def test_a_listener_that_was_killed_is_missed(record, door):
    worker(record, MODEL)
    long_ago = time.time() - 60
    os.utime(record.spool_root / "vitals" / "listener-1.json", (long_ago, long_ago))
    assert wrong(place(record)) == {"listener": "listener_not_seen"}


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ([], {"models": "no_model"}),
        ([MODEL, {**MODEL, "name": "other", "loaded": False}], {"models": "model_not_loaded"}),
        ([{**MODEL, "wanted": "CUDAExecutionProvider"}], {"provider": "provider_differs"}),
    ],
)
def test_models_are_asked_of_the_workers_that_live(record, door, models, reason):
    worker(record, *models)
    assert wrong(place(record)) == reason


def test_a_worker_that_has_only_started_has_not_told(record, door):
    HeartbeatsSql(record.engine).beat("station")
    assert wrong(place(record)) == {"models": "models_not_told"}


def test_a_clock_that_is_off_does_not_block(record, door):
    worker(record, MODEL, skew=-9.0)
    (finding,) = [one for one in examine(place(record)) if not one.ok]
    assert (finding.reason, finding.blocks) == ("clock_skew", False)
    assert "-9.0 s" in finding.detail


def test_reports_that_wait_for_long_do_not_block(record, door):
    fill(record)
    worker(record, MODEL)
    record.clock.advance(3 * 3600)
    (finding,) = [one for one in examine(place(record)) if not one.ok]
    assert (finding.reason, finding.blocks) == ("undelivered_for_long", False)


def test_the_disk(record, door):
    worker(record, MODEL)
    assert wrong(place(record, storage={"reserve_bytes": 2**62})) == {"spool": "spool_full"}
    record.spool_root.rename(record.spool_root.with_name("away"))
    assert wrong(place(record)) == {"spool": "spool_missing", "listener": "listener_not_seen"}


def test_a_schema_of_another_program_and_no_database(record, door, tmp_path):
    with record.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert wrong(place(record)) == {"database": "schema_version_wrong"}
    record.engine.dispose()
    for file in tmp_path.glob("hoichan.sqlite*"):
        file.unlink()
    (tmp_path / "hoichan.sqlite").mkdir()
    assert wrong(place(record)) == {"database": "database_unavailable"}


def test_certificates_that_end_or_cannot_be_read(record, door, tmp_path):
    worker(record, MODEL)
    cert, key = Authority(tmp_path).issue("page")  # for thirty days
    tls = {"cert": str(cert), "key": str(key)}
    assert wrong(place(record, web={"tls": tls})) == {}
    lost = {"cert": str(tmp_path / "none.pem")}
    (finding,) = [one for one in examine(place(record, web={"tls": lost})) if not one.ok]
    assert (finding.reason, finding.detail, finding.blocks) == (
        "certificate_expiring",
        "web cannot be read",
        False,
    )


def test_a_damaged_note_of_the_listener_is_no_crash(record):
    folder = record.spool_root / "vitals"
    folder.mkdir()
    (folder / "listener-1.json").write_text(json.dumps({"facts": {"ports": {}}, "totals": []}))
    assert wrong(place(record)) == {"worker": "no_worker"}


def test_a_bucket_that_does_not_answer_is_told(record, door):
    (closed,) = free_ports(1)
    reached = {
        "endpoint": f"http://127.0.0.1:{closed}",
        "access_key_id": "AKID",
        "secret_access_key": "MARKER",
    }
    bucket = {"objects": "s3://hoichan/site", "s3": reached}
    worker(record, MODEL)
    told = wrong(place(record, storage=bucket))
    assert told == {"object store": "object_store_unavailable"}
    (finding,) = [one for one in examine(place(record, storage=bucket)) if one.name == "object store"]
    assert finding.blocks and "MARKER" not in str(finding)
    assert "object store" not in {one.name for one in examine(place(record))}
