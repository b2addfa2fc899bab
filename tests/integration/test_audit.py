"""The audit log, on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names an empty database."""

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.database import open_database
from hoichan.adapters.schema import audit, metadata
from hoichan.errors import ConfigurationError, RecordsUnavailable
from hoichan.guard.audit import GENESIS, Audited, AuditRecord, Head, Outcome, chain
from hoichan.testing.database import migrated

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def a_record(number=0, **changes):
    values = {
        "what": Audited.VIEWED,
        "when": NOON + timedelta(seconds=number),
        "who": "bs.an",
        "role": "radiologist",
        "source": "10.0.0.8",
        "uids": (f"1.2.{number}", "1.2.3.4"),
        "detail": "picture",
    }
    return AuditRecord(**{**values, **changes})


@pytest.fixture(params=KINDS)
def engine(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    if request.param == "postgresql":
        url = os.environ["HOICHAN_TEST_POSTGRESQL"]
    engine = open_database(url)
    migrated(engine)
    yield engine
    if request.param == "postgresql":
        metadata.drop_all(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE alembic_version"))
    engine.dispose()


@pytest.fixture
def log(engine, tmp_path):
    return AuditSql(engine, tmp_path / "data" / "audit.key")


@pytest.fixture
def filled(log):
    for number in range(5):
        log.append(a_record(number))
    return log


def tamper(engine, statement):
    """What somebody does who owns the database: the triggers go first."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER IF EXISTS audit_no_update")
            connection.exec_driver_sql("DROP TRIGGER IF EXISTS audit_no_delete")
        else:
            connection.exec_driver_sql("DROP TRIGGER IF EXISTS audit_append_only ON audit")
        connection.execute(statement)


# ---------------------------------------------------------------------- writing and reading
def test_an_empty_log_is_intact(log):
    assert log.verify() is None
    assert log.head() == Head(length=0, hash=GENESIS)


def test_what_is_written_is_read_back_and_intact(filled, engine, tmp_path):
    total, lines = filled.search(Wanted(), limit=2)
    assert (total, [line.position for line in lines]) == (5, [5, 4])
    assert lines[0].record == a_record(4)
    assert filled.verify() is None
    other = AuditSql(engine, tmp_path / "data" / "audit.key")
    assert other.append(a_record(5)) == 6
    assert filled.verify() is None
    assert filled.head() == other.head()


@pytest.mark.parametrize("uids", [(), ("1.2.3",), ("1.2.3", "4.5", "6.7")])
def test_every_shape_of_record_is_kept(log, uids):
    record = a_record(uids=uids, detail="", outcome=Outcome.MINOR_FAILURE)
    log.append(record)
    assert log.search(Wanted(), limit=9)[1][0].record == record
    assert log.verify() is None


def test_many_at_once_make_one_chain(log, engine, tmp_path):
    def write(number):
        other = AuditSql(engine, tmp_path / "data" / "audit.key")
        for step in range(5):
            other.append(a_record(number * 5 + step))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert log.head().length == 20
    assert log.verify() is None


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        (Wanted(who="bs.binh"), [7]),
        (Wanted(study_instance_uid="1.2.3"), [4]),
        (Wanted(what=Audited.LOGIN), [6]),
        (Wanted(since=NOON + timedelta(seconds=3)), [7, 6, 5, 4]),
        (Wanted(until=NOON + timedelta(seconds=1)), [1]),
        (Wanted(who="bs.an", what=Audited.VIEWED, since=NOON + timedelta(seconds=4)), [5]),
        (Wanted(who="' OR 1=1 --"), []),
    ],
)
def test_records_are_found(filled, wanted, positions):
    filled.append(a_record(5, what=Audited.LOGIN, uids=()))
    filled.append(a_record(6, who="bs.binh"))
    total, lines = filled.search(wanted, limit=100)
    assert [line.position for line in lines] == positions
    assert total == len(positions)


def test_a_log_longer_than_one_reading_is_verified_to_its_end(log, engine):
    for number in range(7):
        log.append(a_record(number))
    with engine.begin() as connection:
        rows = connection.execute(sa.select(audit)).mappings().all()
        before = bytes.fromhex(rows[-1]["hash"])
        key, more = log._key(), []
        for position in range(8, 2011):
            before = chain(before, a_record(6), key)
            more.append({**rows[6], "position": position, "hash": before.hex()})
        connection.execute(audit.insert(), more)
    assert log.verify() is None
    tamper(engine, audit.update().where(audit.c.position == 2005).values(who="x"))
    assert log.verify() == 2004


# ---------------------------------------------------------------------- tampering
@pytest.mark.parametrize("verb", ["UPDATE audit SET who = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
def test_the_database_itself_refuses_a_change(filled, engine, verb):
    if verb.startswith("TRUNCATE") and engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text(verb))
    assert filled.verify() is None


@pytest.mark.parametrize(
    ("change", "index"),
    [
        ({"who": "bs.binh"}, 2),
        ({"at": NOON}, 2),
        ({"what": "exported"}, 2),
        ({"outcome": "4"}, 2),
        ({"study_instance_uid": None}, 2),
        ({"more_uids": []}, 2),
        ({"detail": ""}, 2),
        ({"source": ""}, 2),
        ({"role": "auditor"}, 2),
        ({"hash": "0" * 64}, 2),
        ({"hash": "no hash"}, 2),
        ({"what": "unheard of"}, 2),
        ({"who": ""}, 2),
        ({"position": 99}, 2),  # moved to the end
    ],
)
def test_a_changed_record_is_found_at_its_place(filled, engine, change, index):
    tamper(engine, audit.update().where(audit.c.position == 3).values(change))
    assert filled.verify() == index
    assert filled.position(index) == (4 if "position" in change else 3)


@pytest.mark.parametrize(("gone", "index"), [(1, 0), (3, 2)])
def test_a_record_taken_out_is_found_at_its_place(filled, engine, gone, index):
    tamper(engine, audit.delete().where(audit.c.position == gone))
    assert filled.verify() == index


def test_records_cut_off_are_found_by_the_exported_head(filled, engine):
    exported = filled.head()
    filled.append(a_record(5))
    assert filled.verify(exported) is None
    tamper(engine, audit.delete().where(audit.c.position >= 4))
    assert filled.verify() is None
    assert filled.verify(exported) == 3


def test_a_log_written_anew_under_another_key_is_found(filled, engine, tmp_path):
    exported = filled.head()
    tamper(engine, audit.delete())
    forged = AuditSql(engine, tmp_path / "forged.key")
    for number in range(5):
        forged.append(a_record(number, who="nobody"))
    assert forged.verify() is None
    assert filled.verify() == 0
    assert forged.verify(exported) == 4


# ---------------------------------------------------------------------- the key
def test_the_key_is_made_once_and_for_us_only(log, engine, tmp_path):
    file = tmp_path / "data" / "audit.key"
    assert not file.exists()
    log.append(a_record())
    kept = file.read_bytes()
    assert len(bytes.fromhex(kept.decode())) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    AuditSql(engine, file).append(a_record(1))
    assert file.read_bytes() == kept
    assert [one.name for one in file.parent.iterdir()] == ["audit.key"]


def test_a_lost_key_is_not_made_anew(filled, engine, tmp_path):
    file = tmp_path / "data" / "audit.key"
    file.unlink()
    with pytest.raises(ConfigurationError, match="backup"):
        AuditSql(engine, file).append(a_record())
    assert not file.exists()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [(None, 0o644, "chmod 600"), ("abc", 0o600, "cannot be read"), ("ab" * 8, 0o600, "damaged")],
)
def test_a_key_that_cannot_be_trusted_is_told(filled, engine, tmp_path, content, mode, words):
    file = tmp_path / "data" / "audit.key"
    if content:
        file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=words):
        AuditSql(engine, file).check()


def test_a_folder_that_cannot_be_written_is_told(engine, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be"):
        AuditSql(engine, tmp_path / "file" / "audit.key").check()


def test_a_database_that_does_not_answer_may_be_asked_again(log, engine):
    if engine.dialect.name == "postgresql":
        pytest.skip("a missing table is a fault of ours there")
    log.check()
    metadata.drop_all(engine)
    for ask in (log.head, log.verify, lambda: log.append(a_record())):
        with pytest.raises(RecordsUnavailable):
            ask()
