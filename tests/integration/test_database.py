"""The database: migrations, safe settings of SQLite, and clear words when it cannot be opened."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from hoichan.adapters import database as migrations
from hoichan.adapters.database import HEAD, migrate, open_database, schema_version
from hoichan.adapters.schema import metadata, trail, users
from hoichan.errors import ConfigurationError, RecordsUnavailable, StorageUnusable
from hoichan.testing.database import migrated


@pytest.fixture
def engine(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'a' / 'records.sqlite'}")
    yield opened
    opened.dispose()


def test_an_empty_database_is_brought_to_the_newest_schema(engine):
    assert schema_version(engine) is None
    assert migrate(engine) is None
    assert schema_version(engine) == HEAD
    assert migrate(engine) == HEAD


@pytest.fixture
def repaired(tmp_path):
    """A database that another process holds for itself, as one does that repairs it after a crash."""
    file = tmp_path / "repaired.sqlite"
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    yield f"sqlite:///{file}", holder
    holder.close()


def test_whoever_opens_waits_for_the_repair_of_the_journal(repaired, monkeypatch):
    url, holder = repaired
    assert migrations.BUSY_SECONDS >= 30  # a busy machine takes its time after a crash
    monkeypatch.setattr(migrations, "BUSY_SECONDS", 0.0)
    with pytest.raises(StorageUnusable):
        open_database(url)
    monkeypatch.setattr(migrations, "BUSY_SECONDS", 60.0)
    end = threading.Timer(0.2, holder.close)
    end.start()
    open_database(url).dispose()
    end.join(60)


def _migrate_together(url, barrier, told):
    engine = open_database(url)
    barrier.wait(120)
    told.put(migrate(engine))
    engine.dispose()


def test_processes_that_start_together_migrate_once(engine, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier, told = spawn.Barrier(3), spawn.Queue()
    arguments = (f"sqlite:///{tmp_path / 'a' / 'records.sqlite'}", barrier, told)
    processes = [spawn.Process(target=_migrate_together, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(str(told.get(timeout=60)) for _ in processes) == [HEAD, HEAD, "None"]
    assert schema_version(engine) == HEAD


def test_the_migrations_make_exactly_the_tables_of_the_schema(engine):
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def _stand_at(engine, version):
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def test_a_database_of_the_first_version_keeps_its_rows(engine):
    _stand_at(engine, "0001")
    assert schema_version(engine) == "0001"
    row = {
        "study_instance_uid": "1.2.3",
        "at": datetime(2026, 11, 20, 8, tzinfo=UTC),
        "event": "instances_received",
        "details": {"instances": 2},
    }
    with engine.begin() as connection:
        connection.execute(trail.insert().values(row))
    assert migrate(engine) == "0001"
    with engine.connect() as connection:
        assert connection.execute(sa.select(trail)).mappings().one() == {"id": 1, **row}
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.execute(sa.select(users)).all() == []


def test_sqlite_survives_a_power_cut_and_several_processes(engine):
    with engine.connect() as connection:
        pragma = {
            name: connection.execute(sa.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnusable, match="cannot be written"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'records.sqlite'}")


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "records.sqlite").write_bytes(b"no database at all " * 1000)
    with pytest.raises(StorageUnusable, match="hoichan restore"):
        open_database(f"sqlite:///{tmp_path / 'records.sqlite'}")


def test_a_database_of_a_newer_program_is_left_alone(engine):
    migrate(engine)
    newer = f"{int(HEAD) + 1:04d}"
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :newer"), {"newer": newer})
    with pytest.raises(ConfigurationError, match=f"{newer}.*newer program") as caught:
        migrate(engine)
    assert HEAD in str(caught.value)
    assert schema_version(engine) == newer


def test_a_server_that_does_not_answer_is_told_without_its_words():
    with pytest.raises(RecordsUnavailable, match=r"storage\.database") as caught:
        migrate(open_database("postgresql+psycopg://MARKER@127.0.0.1:1/hoichan"))
    assert "MARKER" not in str(caught.value)


def test_a_bad_url_is_told():
    with pytest.raises(ConfigurationError, match=r"storage\.database"):
        open_database("nonsense")


def test_the_values_of_a_row_are_in_no_error_text(engine):
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
        connection.execute(sa.text("INSERT INTO nowhere VALUES (:name)"), {"name": "MARKER"})
    assert "MARKER" not in str(caught.value)


def test_a_copy_for_tests_is_what_the_migrations_make(tmp_path):
    made, copied = (open_database(f"sqlite:///{tmp_path / name}.db") for name in ("made", "copied"))
    migrate(made)
    migrated(copied)

    def schema(engine):
        with engine.connect() as connection:
            told = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master").all()
            return sorted(map(str, told)), connection.exec_driver_sql("PRAGMA journal_mode").scalar()

    assert schema(copied) == schema(made)
    assert schema_version(copied) == HEAD
    migrated(copied)  # a record that is there already is left as it is
    assert schema_version(copied) == HEAD
    made.dispose()
    copied.dispose()
