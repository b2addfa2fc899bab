"""What the commands say about sources."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hoichan.adapters.sources_sql import SourcesSql
from hoichan.ports import Holding
from hoichan.settings import Settings
from hoichan.testing.database import prepared
from hoichan.testing.house import free_ports
from hoichan.testing.spool import FakeSpool
from service.sources import examine_sources, source_status
from service.status import status
from service.wiring import open_house


def settings(folder, *sources, **more):
    return Settings.model_validate(
        {"storage": {"data_dir": folder, "reserve_bytes": 0}, "sources": sources, **more}
    )


def dimse(**changes):
    (port,) = free_ports(1)
    return {
        "name": "pacs", "kind": "dimse", "host": "127.0.0.1", "port": port, "ae_title": "PACS", **changes
    }  # fmt: skip


def web(kind):
    (port,) = free_ports(1)
    return {"name": kind, "kind": kind, "url": f"http://127.0.0.1:{port}"}


def examined(chosen):
    spool = FakeSpool()
    try:
        return list(examine_sources(chosen, spool))
    finally:
        spool.close()


@pytest.mark.parametrize("source", [dimse(fetch="get"), web("dicomweb"), web("orthanc")])
def test_a_source_that_is_not_there_is_named(tmp_path, source):
    ((name, passed, detail),) = examined(settings(tmp_path, source))
    assert name == f"source {source['name']}" and not passed and "cannot be reached" in detail


def test_a_pacs_that_may_not_store_here_cannot_move_here(tmp_path):
    listener = {"senders": [{"ae_title": "CR1", "host": "10.0.0.0/8"}]}
    ((_, passed, detail),) = examined(settings(tmp_path, dimse(), listener=listener))
    assert not passed and "[[listener.senders]]" in detail
    ((_, _, detail),) = examined(settings(tmp_path, dimse(fetch="get"), listener=listener))
    assert "[[listener.senders]]" not in detail


def test_the_status_names_a_source_that_fails_and_what_is_to_fetch(tmp_path):
    house = open_house(prepared(settings(tmp_path, dimse(), web("orthanc"))))
    record, now = SourcesSql(house.engine), datetime(2026, 11, 20, tzinfo=UTC)
    holdings = [Holding(study_instance_uid="1.2", instances=3), Holding(study_instance_uid="1.3")]
    assert record.answered("pacs", holdings, mark="7", now=now, due_at=now) == 2
    for _ in range(2):
        record.failed("pacs", code="delivery.unreachable", next_at=now + timedelta(seconds=15))
    found = source_status(house)
    assert found["pacs"] == {
        "contacted_at": "2026-11-20T00:00:00+00:00",
        "failures": 2,
        "error": "delivery.unreachable",
        "to_fetch": 2,
        "given_up": 0,
    }
    assert found["orthanc"]["contacted_at"] is None
    assert status(house)["sources"] == found
    house.engine.dispose()


def test_without_sources_the_status_is_as_before(tmp_path):
    house = open_house(prepared(settings(tmp_path)))
    assert "sources" not in status(house)
    house.engine.dispose()


def test_a_patient_number_never_stands_in_a_url(tmp_path):
    with pytest.raises(ValueError, match="URL"):
        settings(tmp_path, {**web("dicomweb"), "priors": 2})


def test_two_sources_of_one_name_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        settings(tmp_path, web("orthanc"), web("orthanc"))
