"""Holds and removals on PostgreSQL: the same answers as on SQLite; what is decided twice is decided once."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hoichan.adapters.retention_sql import DONE, RetentionSql
from hoichan.reporting.retention import RecordClass, Verdict
from hoichan.settings import Settings
from service.wiring import open_house
from tests.peers import postgresql
from tests.unit.service.test_backup import answer, receive

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not postgresql.is_available(), reason="PostgreSQL's server is not installed"),
]


def go(facts):
    return Verdict(study_instance_uid=facts.study_instance_uid, rule="test", kept=None)


def test_holds_and_removals_on_postgresql(tmp_path):
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        server = postgresql.PostgreSQL(Path(folder))
        try:
            database = server.database("retention")
            house = open_house(
                Settings.model_validate({"storage": {"data_dir": tmp_path, "database": database}})
            )
            stored = receive(house, "study")
            answer(house, stored)
            uid, now = stored.study_instance_uid, datetime.now(UTC) + timedelta(seconds=5)
            retention = RetentionSql(house.engine)
            number = retention.add_hold(patient_id="BN0001", reason="claim", by="uid:0", at=now)
            (facts,) = retention.candidates(now, {stored.sop_instance_uid})
            assert facts.on_hold and facts.quarantined and facts.undelivered == 1
            assert retention.is_held(uid) and retention.lift_hold(number, by="uid:0", at=now)
            retention.classify(uid, RecordClass.DEATH, by="uid:0", at=now)
            retention.classify(uid, RecordClass.GENERAL, by="uid:0", at=now)
            (facts,) = retention.candidates(now, set())
            assert not facts.on_hold and facts.record_class is RecordClass.GENERAL
            removal = retention.mark(uid, go, set(), now)
            assert removal is not None and retention.mark(uid, go, set(), now) is None
            assert [image.path for image in retention.images(removal)] == [stored.path]
            assert retention.marked() == [removal] and list(retention.candidates(now, set())) == []
            assert retention.end(removal, DONE, at=now, files=1, size_bytes=5 * 1024**3)
            assert not retention.end(removal, DONE, at=now)
            assert retention.done_of([uid]) == {uid: removal}
            events = [line.event for line in house.studies.trail(uid)]
            assert events[-5:] == [
                "hold_added",
                "hold_lifted",
                "record_class_set",
                "record_class_set",
                "images_removed",
            ]
            house.engine.dispose()
        finally:
            server.stop()
