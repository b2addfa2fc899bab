"""What workers count together, on SQLite here and on PostgreSQL in tests/peers."""

import threading

import pytest
import sqlalchemy as sa

from hoichan.adapters.database import open_database
from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.schema import workers
from hoichan.adapters.schema_vitals import worker_facts
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.errors import RecordsUnavailable
from hoichan.meters import Key
from hoichan.testing.database import migrated

REPORTS = Key("reports_total", ("with_findings",))
BUCKET = Key("inference_duration_seconds", ("Phổi",), "3")


class VitalsContract:
    def test_counts_of_all_workers_add_up(self, vitals):
        vitals.add({REPORTS: 2, BUCKET: 1})
        vitals.add({})
        vitals.add({REPORTS: 0.5})
        assert vitals.totals() == {REPORTS: 2.5, BUCKET: 1}

    def test_workers_that_tell_at_once_lose_nothing(self, vitals):
        def tell():
            for _ in range(10):
                vitals.add({REPORTS: 1, BUCKET: 1})

        threads = [threading.Thread(target=tell) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert vitals.totals() == {REPORTS: 30, BUCKET: 30}

    def test_what_a_worker_says_stands_beside_its_heartbeat(self, vitals, engine):
        HeartbeatsSql(engine).beat("one")
        (worker,) = vitals.workers()
        assert (worker.executor_id, worker.facts) == ("one", {})
        vitals.tell("one", {"models": [], "version": "0"})
        vitals.tell("one", {"models": ["a"], "version": "0"})
        (worker,) = vitals.workers()
        assert worker.facts == {"models": ["a"], "version": "0"}
        assert 0 <= worker.age_seconds < 30

    def test_who_is_gone_for_a_day_is_forgotten(self, vitals, engine):
        for name in ("gone", "here"):
            HeartbeatsSql(engine).beat(name)
            vitals.tell(name, {})
        with engine.begin() as connection:
            for table, column in ((workers, "seen_at"), (worker_facts, "told_at")):
                connection.execute(
                    sa.text(
                        f"UPDATE {table.name} SET {column} = '2020-01-01 00:00:00' WHERE executor_id = 'gone'"
                    )
                )
        vitals.tell("here", {})
        assert [worker.executor_id for worker in vitals.workers()] == ["here"]
        with engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(worker_facts)).scalar() == 1

    def test_the_clocks_of_one_machine_agree(self, vitals):
        assert abs(vitals.skew_seconds()) < 1


class TestSqlite(VitalsContract):
    @pytest.fixture
    def engine(self, tmp_path):
        engine = open_database(f"sqlite:///{tmp_path / 'vitals.sqlite'}")
        migrated(engine)
        yield engine
        engine.dispose()

    @pytest.fixture
    def vitals(self, engine):
        return VitalsSql(engine)

    def test_a_database_that_is_away_is_told(self, tmp_path):
        vitals = VitalsSql(sa.create_engine(f"sqlite:///{tmp_path / 'no' / 'folder.sqlite'}"))
        for ask in (vitals.totals, vitals.workers, vitals.skew_seconds, lambda: vitals.add({REPORTS: 1})):
            with pytest.raises(RecordsUnavailable):
                ask()
