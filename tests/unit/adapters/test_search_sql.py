"""Search: what people type finds the study, and walks an index."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters import search_sql
from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.testing.database import migrated
from hoichan.testing.datasets import described, film
from hoichan.testing.ports import FakeClock
from tests.unit.adapters.plans import Asked, sqlite_plan

NAMES = {
    "hanh": ("Trần^Hạnh^Thị", "BN-0012", "XR2611200042"),
    "one_word": ("TRAN THI HANH", "BN 0012", "XR2611200043"),
    "an": ("Nguyễn^An^Văn", "7001", "CT.55"),
    "dang": ("Đặng^Hường^Thị Mỹ", "7002", ""),
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
    migrated(engine)
    clock = FakeClock()
    studies = StudiesSql(engine, ObjectsDisk(folder / "objects"), clock)
    for study, (name, number, accession) in NAMES.items():
        data_set = film(study=study)
        data_set.PatientName, data_set.PatientID, data_set.AccessionNumber = name, number, accession
        arrived = described(data_set, received_at=clock.now())
        studies.add_arrivals(arrived, arrived.instances)
        clock.advance(60)
    yield engine
    engine.dispose()


def found(engine, text, **window):
    by_uid = {film(study=study).StudyInstanceUID: study for study in NAMES}
    with engine.connect() as connection:
        rows = search_sql.find(connection, text, **{"limit": 50, **window})
    return [by_uid[row["study_instance_uid"]] for row in rows]


@pytest.mark.parametrize(
    ("text", "studies"),
    [
        ("tran thi hanh", ["one_word", "hanh"]),  # newest first
        ("Trần Thị Hạnh", ["one_word", "hanh"]),
        ("HANH", ["one_word", "hanh"]),
        ("hanh tran", ["one_word", "hanh"]),
        ("tran hanh", ["one_word", "hanh"]),  # not next to each other
        ("tra th han", ["one_word", "hanh"]),
        ("thi my", ["dang"]),
        ("dang huong", ["dang"]),
        ("đặng", ["dang"]),
        ("van an", ["an"]),
        ("bn0012", ["one_word", "hanh"]),
        ("BN-0012", ["one_word", "hanh"]),
        ("700", ["dang", "an"]),
        ("XR2611200042", ["hanh"]),
        ("ct 55", ["an"]),
        ("tran an", []),
        ("hanh hanh", []),
        ("x", []),
        ("%", []),
        ("' OR 1=1 --", []),
        ("", []),
    ],
)
def test_what_people_type_finds_the_study(record, text, studies):
    assert found(record, text) == studies


def test_a_study_uid_is_found_by_its_beginning(record):
    uid = film(study="an").StudyInstanceUID
    assert found(record, uid) == ["an"]
    assert found(record, f" {uid} ") == ["an"]
    assert found(record, "2.25.1.9.9.9.9") == []


def test_pages_follow_each_other(record):
    assert found(record, "tran", limit=1) == ["one_word"]
    assert found(record, "tran", limit=1, offset=1) == ["hanh"]
    assert found(record, "tran", limit=1, offset=2) == []


@pytest.mark.parametrize("text", ["tran thi hanh", "hanh tran", "bn0012", "2.25.1.2.3"])
def test_no_query_walks_a_whole_table(record, text):
    plans = []
    with record.connect() as connection:

        @sa.event.listens_for(connection, "before_cursor_execute", retval=True)
        def explain(_connection, cursor, statement, parameters, *_):
            plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))
            return statement, parameters

        search_sql.find(connection, text, limit=50)
    assert plans
    assert not [step for step in plans if step.startswith(("SCAN studies", "SCAN search_keys"))]


def test_a_late_image_of_another_patient_replaces_nobody(record):
    late = film(study="an", instance="late")
    late.PatientName, late.PatientID, late.PatientBirthDate = "Lê^Bình^Thị", "9999", ""
    arrived = described(late)
    studies = StudiesSql(record, None, FakeClock())
    studies.add_arrivals(arrived, arrived.instances)
    patient = studies.current(arrived.study_instance_uid).patient
    assert (patient.patient_id.reveal(), patient.patient_name.reveal()) == ("7001", "Nguyễn^An^Văn")
    assert found(record, "le thi binh") == found(record, "9999") == ["an"]


@pytest.mark.parametrize(
    "text", ["tran thi hanh", "hanh tran", "tran hanh", "thi", "bn0012", "an van", "zzz", "tran an"]
)
def test_common_words_are_walked_by_time_and_find_the_same(record, monkeypatch, text):
    exact = found(record, text)
    monkeypatch.setattr(search_sql, "FEW", 0)
    assert found(record, text) == exact
    assert found(record, text, limit=1) == exact[:1]
    assert found(record, text, limit=1, offset=1) == exact[1:2]


@pytest.fixture
def common_words(monkeypatch):
    monkeypatch.setattr(search_sql, "FEW", 0)


def plans_of(record, text, mark):
    """The plans of the statements of a search that hold a mark."""
    with Asked(record, tables="search_keys") as asked:
        found(record, text)
    with record.connect() as connection:
        return [sqlite_plan(connection, *one) for one in asked.statements if mark in one[0]]


def test_the_walk_is_along_the_index_of_time(record, common_words):
    plan, _ = plans_of(record, "thi", "received_at DESC")
    assert any("ix_search_keys_by_time" in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)


def test_words_that_hardly_meet_are_found_among_the_keys_of_the_rarer(record, common_words, monkeypatch):
    monkeypatch.setattr(search_sql, "WALKED", 1)  # of the newest key alone nothing comes
    assert found(record, "tran hanh") == ["one_word", "hanh"]
    assert found(record, "thi") == ["dang", "one_word", "an", "hanh"]
    *_, plan = plans_of(record, "tran hanh", "LIKE")
    assert any(
        re.match(r"SEARCH search_keys USING PRIMARY KEY \(kind=\? AND key>\? AND key<\?\)", s) for s in plan
    )


def test_for_words_that_no_name_has_together_nothing_is_walked(record, common_words):
    with Asked(record, tables="search_keys") as asked:
        assert found(record, "tran nguyen") == []
    assert not [text for text, _ in asked.statements if "LIKE" in text]
    with Asked(record, tables="name_pairs") as asked:
        assert found(record, "tran nguyen thi") == []
    with record.connect() as connection:
        plans = [step for one in asked.statements for step in sqlite_plan(connection, *one)]
    assert plans
    assert all(re.match(r"SEARCH name_pairs USING PRIMARY KEY \(first>\? AND first<\?\)", s) for s in plans)


@pytest.mark.parametrize("text", ["tr han", "thi hanh", "hanh thi", "an ng", "my thi dang", "huong thi"])
def test_words_that_meet_in_a_name_are_never_taken_for_strangers(record, common_words, text):
    assert found(record, text)


def test_where_the_rarer_is_common_too_the_newest_are_found(record, common_words, monkeypatch):
    monkeypatch.setattr(search_sql, "WALKED", 1)
    monkeypatch.setattr(search_sql, "FAR", 1)
    assert found(record, "tran hanh") == []


def test_many_keys_of_one_study_do_not_hide_the_others(record):
    every_word = " ".join(["lan"] * 6)
    with record.begin() as connection:
        for number in range(40):
            search_sql.write_keys(
                connection,
                film(study="dang").StudyInstanceUID,
                FakeClock().now() + timedelta(days=1),
                names=[f"{every_word} {number:02}"],
                numbers=[],
            )
        search_sql.write_keys(
            connection, film(study="an").StudyInstanceUID, FakeClock().now(), names=["lan"], numbers=[]
        )
    assert found(record, "lan", limit=2) == ["dang", "an"]
