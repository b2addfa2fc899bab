"""The doors are shut while too much waits, and opened again without anybody's help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.work_sql import WorkSql
from hoichan.intake.pressure import PLACE
from hoichan.settings import Work
from hoichan.testing import FakeSpool
from hoichan.testing.reading import a_record, arrive, assemble
from service.valve import Valve, free_memory


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def test_it_follows_the_queue(record):
    spool = FakeSpool()
    settings = Work(most_waiting=2, memory_reserve_bytes=0)
    valve = Valve(WorkSql(record.engine, record.clock), spool.notes, record.clock, settings)
    uids = []
    told = []
    for number in range(3):
        study = assemble(record, replace(arrive(record, f"waits{number}"), closed_by="quiet_time"))
        uids.append(study.study_instance_uid)
        told.append(valve.step())
    assert told == [None, None, "queue"]
    assert spool.notes.read(PLACE)["reason"] == "queue"
    record.studies.fail(uids[0], 1, code="x")
    assert valve.step() == "queue"  # not at the limit itself
    record.studies.fail(uids[1], 1, code="x")
    assert valve.step() is None
    assert spool.notes.read(PLACE) is None
    spool.close()


def test_it_shuts_before_memory_is_gone(record):
    spool = FakeSpool()
    settings = Work(memory_reserve_bytes=1 << 60)
    valve = Valve(WorkSql(record.engine, record.clock), spool.notes, record.clock, settings)
    assert valve.step() == "memory"
    spool.close()


def test_the_memory_of_a_group_counts_where_it_is_less(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    memory = tmp_path / "meminfo"
    assert free_memory(memory, tmp_path) == 4000 * 1024
    for name, text in (("max", "2000000"), ("current", "1900000"), ("stat", "anon 5\ninactive_file 50000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory(memory, tmp_path) == 150_000
    (tmp_path / "memory.max").write_text("max")
    assert free_memory(memory, tmp_path) == 4000 * 1024
    assert free_memory(tmp_path / "nothing", tmp_path / "nothing") is None
