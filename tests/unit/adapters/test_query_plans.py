"""What the service asks all day finds its rows by an index, so that a long record costs no more."""

import re

import pytest
import sqlalchemy as sa

from hoichan.adapters.halted_read import halted
from hoichan.adapters.sight import EVERYTHING
from hoichan.testing.daily import looks, one_study, rounds
from hoichan.testing.reading import a_record, fill
from hoichan.types import StudyState
from tests.unit.adapters.plans import Asked, complaints, sqlite_plan


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    record = a_record(tmp_path_factory.mktemp("plans"))
    fill(record)
    yield record
    record.engine.dispose()


@pytest.fixture
def asked(record):
    with Asked(record.engine) as asked:
        yield asked


def check(record, asked):
    assert asked.statements
    with record.engine.connect() as connection:
        found = [
            f"{line}\n    in {statement}"
            for statement, parameters in asked.statements
            for line in complaints(sqlite_plan(connection, statement, parameters), statement)
        ]
    assert found == []


def test_the_whole_way_of_a_study(record, asked):
    one_study(record, "planned")
    check(record, asked)


def test_what_workers_ask_all_day(record, asked):
    for ask in rounds(record).values():
        ask()
    check(record, asked)


def test_what_the_page_asks_of_one_study(record, asked):
    uid = one_study(record, "looked at")
    asked.statements.clear()
    for ask in looks(record, uid).values():
        ask()
    check(record, asked)


def test_what_halted_is_found_by_its_state(record, asked):
    with record.engine.connect() as connection:
        found, count = halted(connection, EVERYTHING, 100)
    assert len(found) == count == 1
    check(record, asked)


@pytest.mark.parametrize("state", [None, *StudyState])
@pytest.mark.parametrize("where", ["first", "after", "before"])
def test_the_reading_list_walks_an_index_in_its_order(record, asked, state, where):
    place = record.reading.reading_list(limit=3).next
    asked.statements.clear()
    record.reading.reading_list(state=state, **({} if where == "first" else {where: place}))
    check(record, asked)
    (listing,) = [one for one in asked.statements if "ORDER BY studies.tier" in one[0]]
    with record.engine.connect() as connection:
        plan = sqlite_plan(connection, *listing)
    index = "ix_studies_open_order" if state is None else "ix_studies_state_order"
    assert any(index in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)
    if where != "first":
        assert any(re.match(rf"SEARCH studies USING INDEX {index} \(.*[<>]", step) for step in plan)


def test_a_question_without_an_index_is_told(record):
    with record.engine.connect() as connection:
        statement = "SELECT * FROM studies WHERE study_description = ?"
        assert complaints(sqlite_plan(connection, statement, ("x",)), statement) == ["SCAN studies"]
        counting = str(sa.select(sa.func.count()).select_from(sa.table("instances")))
        assert complaints(sqlite_plan(connection, counting, ()), counting)
