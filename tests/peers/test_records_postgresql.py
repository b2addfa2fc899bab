"""On PostgreSQL: workers' counts add up, and the hot questions can be answered by their indexes."""

import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.config import disable_value_validation

from hoichan.adapters import database, search_sql
from hoichan.adapters.database import migrate, open_database
from hoichan.adapters.transactions import transaction
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.errors import UserUnknown, ValueNotKept
from hoichan.intake.names import words_of
from hoichan.settings import FolderDestination, Settings, load
from hoichan.testing.daily import looks, one_study, rounds
from hoichan.testing.database import prepared
from hoichan.testing.datasets import film
from hoichan.testing.ports import FakeEncoder, FakeRunner
from hoichan.testing.reading import a_record, fill
from hoichan.testing.reports import a_film, a_manifest, a_study
from hoichan.testing.spool import bring
from hoichan.types import StudyState
from service.pipeline import analyse
from service.recording import Recorder
from service.wiring import open_house
from tests.contracts.test_vitals import VitalsContract
from tests.peers import postgresql
from tests.unit.adapters.plans import LONG, Asked

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not postgresql.is_available(), reason="PostgreSQL's server is not installed"),
]


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        started = postgresql.PostgreSQL(Path(folder))
        yield started
        started.stop()


class TestVitals(VitalsContract):
    @pytest.fixture
    def engine(self, server, request):
        engine = open_database(server.database(f"vitals{abs(hash(request.node.name))}"))
        migrate(engine)
        yield engine
        engine.dispose()

    @pytest.fixture
    def vitals(self, engine):
        return VitalsSql(engine)


@pytest.fixture(scope="module")
def record(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    storage = {"data_dir": folder, "reserve_bytes": 0, "database": server.database("plans")}
    record = a_record(folder, Settings.model_validate({"storage": storage}))
    fill(record)
    yield record
    record.engine.dispose()


def plans(record, ask):
    """The plans of everything that is asked, where reading a whole table is dearer than anything else."""
    with Asked(record.engine) as asked:
        ask()
    assert asked.statements
    with record.engine.connect() as connection:
        for way in ("seqscan", "bitmapscan", "sort"):  # over so few rows they would be the cheapest
            connection.exec_driver_sql(f"SET enable_{way} = off")
        for statement, parameters in asked.statements:
            found = connection.exec_driver_sql("EXPLAIN " + statement, parameters)
            yield statement, "\n".join(row[0] for row in found)


def whole_tables(plan):
    return re.findall(rf"Seq Scan on (?:{LONG})\b", plan)


def test_no_question_needs_a_whole_table(record):
    uid = one_study(record, "planned")

    def ask_all():
        one_study(record, "again")
        for ask in (*rounds(record).values(), *looks(record, uid).values()):
            ask()

    for statement, plan in plans(record, ask_all):
        assert whole_tables(plan) == [], statement


@pytest.mark.parametrize("state", [None, StudyState.SIGNED])
def test_the_reading_list_is_not_sorted(record, state):
    place = record.reading.reading_list(limit=3).next
    for where in ({}, {"after": place}, {"before": place}):
        listing = [
            plan
            for statement, plan in plans(
                record, lambda w=where: record.reading.reading_list(state=state, **w)
            )
            if "ORDER BY studies.tier" in statement
        ]
        (plan,) = listing
        assert ("ix_studies_open_order" if state is None else "ix_studies_state_order") in plan
        assert "Sort" not in plan


def test_every_way_of_searching_finds_the_same(record, monkeypatch):
    (entry, *_) = record.reading.reading_list(limit=1).entries
    family, *others = words_of(entry.patient.patient_name.reveal())
    texts = [family, family[:2], " ".join([others[-1], family]), f"{family} zzz"]

    def found():
        return [[one.study_instance_uid for one in record.reading.search(text)] for text in texts]

    exact = found()
    assert all(exact[:3]) and exact[3] == []
    monkeypatch.setattr(search_sql, "FEW", 0)
    assert found() == exact  # walked by time
    monkeypatch.setattr(search_sql, "WALKED", 1)
    assert found() == exact  # among the keys of the rarer word


def test_the_last_two_deliveries_of_a_study_may_end_at_the_same_moment(record):
    study = a_study(a_film("both at once", rows=16, columns=16))
    record.studies.add_arrivals(study, study.instances)
    current = record.studies.current(study.study_instance_uid)
    analyse(
        record.studies.assemble(replace(current, closed_by="quiet_time")),
        manifests=[a_manifest()],
        runner=FakeRunner(record.clock),
        encoder=FakeEncoder(),
        studies=record.studies,
        destinations=[FolderDestination(name=name, kind="folder", path=name) for name in ("pacs", "emr")],
        clock=record.clock,
    )
    both = threading.Barrier(2)

    def meet(connection, cursor, statement, *_):
        if "count(" in statement and "deliveries" in statement:  # whether any is still open
            with suppress(threading.BrokenBarrierError):
                both.wait(2)  # the second never comes while it waits for the first to commit

    sa.event.listen(record.engine, "before_cursor_execute", meet)
    try:
        rows = record.studies.deliveries(study.study_instance_uid)
        with ThreadPoolExecutor(2) as workers:
            told = [workers.submit(record.studies.acknowledged, row.idempotency_key, "here") for row in rows]
            assert len(told) == 2 and [one.result(60) for one in told] == [None, None]
    finally:
        sa.event.remove(record.engine, "before_cursor_execute", meet)
    assert record.reading.study(study.study_instance_uid).entry.state is StudyState.DELIVERED


@pytest.mark.parametrize("rested_seconds", [0.0, 3600.0])
def test_a_connection_that_the_server_has_ended_is_replaced(server, monkeypatch, rested_seconds):
    """Before it is used where it rested; after one failure where it did not."""
    monkeypatch.setattr(database, "RESTED_SECONDS", rested_seconds)
    url = server.database(f"ended{int(rested_seconds)}")
    ours, other = open_database(url), open_database(url)
    try:
        with ours.connect() as connection:
            ended = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with other.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": ended})
        if rested_seconds:
            with pytest.raises(sa.exc.OperationalError), ours.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        with ours.connect() as connection:
            assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() != ended
    finally:
        ours.dispose()
        other.dispose()


@pytest.mark.parametrize("name", ["bs.an\0", "\0", "bs.an"])
def test_a_name_that_no_column_can_hold_is_that_of_nobody(record, name):
    with pytest.raises(UserUnknown):
        record.people.user(name)
    assert record.people.role(name) is None


TEXTS = ("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "Modality", "Manufacturer")
TEXTS += ("StudyDescription", "SeriesDescription", "BodyPartExamined", "ViewPosition", "StudyID")


@pytest.fixture(scope="module")
def house(server, tmp_path_factory):
    address = {"HOICHAN_STORAGE__DATABASE": server.database("texts")}
    folder = tmp_path_factory.mktemp("texts")
    house = open_house(prepared(load(data_dir=folder / "data", environment=address)))
    yield house
    house.engine.dispose()


@pytest.mark.parametrize("keyword", TEXTS)
@pytest.mark.parametrize("text", ["A\0B", "A\0", "\0"], ids=["within", "at the end", "alone"])
def test_no_text_of_an_image_keeps_it_from_the_record(house, keyword, text):
    data_set = film(study=f"{keyword} {text[:9]!r}")
    with disable_value_validation():
        data_set.pop(keyword, None)
        setattr(data_set, keyword, text)
        bring(house.spool, data_set)
    Recorder(house.spool, house.studies, house.settings).record(data_set.StudyInstanceUID)
    assert len(house.studies.current(data_set.StudyInstanceUID).instances) == 1


def test_a_value_that_the_database_cannot_hold_is_told_as_that(record):
    with pytest.raises(ValueNotKept) as told, transaction(record.engine) as connection:
        connection.execute(sa.text("SELECT :text"), {"text": "Nguyễn\0"})
    assert "Nguyễn" not in str(told.value) and told.value.__cause__ is None
