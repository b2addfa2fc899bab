"""A backup of a house that runs, and the way back into an empty folder."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import KEY_FILE
from hoichan.errors import ConfigurationError, HoichanError, RecordsError, StorageUnusable
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.intake.dataset import read_spooled
from hoichan.reporting.deliveries import plan
from hoichan.reporting.reports import compose
from hoichan.settings import Settings, load
from hoichan.testing.database import prepared
from hoichan.testing.datasets import film
from hoichan.testing.ports import FakeEncoder
from hoichan.testing.spool import bring
from service import backup, cli
from service.wiring import open_house

AT = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


def receive(house, name):
    return bring(house.spool, film(study=name))


def answer(house, stored, encoder=None):
    (spooled,) = house.spool.listing(stored.study_instance_uid)
    part = read_spooled(house.spool, spooled, UTC)
    house.studies.add_arrivals(part, part.instances)
    study = house.studies.assemble(house.studies.current(stored.study_instance_uid))
    report = compose(study, results=[], findings=[], refusals=(), manifests=[], predecessor=None, now=AT)
    documents = (encoder or FakeEncoder()).encode(study, report)
    deliveries = plan(report, study, house.settings.effective_destinations, documents, AT)
    house.studies.save(study, report=report, documents=documents, deliveries=deliveries)
    return report


def viewed(number):
    return AuditRecord(
        what=Audited.VIEWED,
        when=AT,
        who="bs.an",
        role="radiologist",
        source="127.0.0.1",
        uids=(f"1.2.{number}",),
    )


@pytest.fixture
def house(tmp_path):
    opened = open_house(prepared(load(data_dir=tmp_path / "data", environment={})))
    stored = receive(opened, "answered")
    answer(opened, stored)
    receive(opened, "waiting")
    receive(opened, "waiting")  # a duplicate
    opened.audit.append(viewed(1))
    opened.audit.append(viewed(2))
    yield opened
    opened.engine.dispose()


def other(folder):
    return load(data_dir=folder, environment={})


def test_a_restored_house_is_the_house_that_was(house, tmp_path):
    copied = backup.make(house.settings, tmp_path / "backup", None)
    assert copied.with_database
    assert backup.verify(tmp_path / "backup") == []
    backup.restore(other(tmp_path / "new"), tmp_path / "backup")
    back = open_house(other(tmp_path / "new"))
    try:
        (answered,) = [uid for uid in house.spool.every_study() if house.studies.current(uid)]
        assert back.studies.current(answered) == house.studies.current(answered)
        assert back.studies.trail(answered) == house.studies.trail(answered)
        assert back.audit.verify() is None and back.audit.head() == house.audit.head()
        assert set(back.objects.every()) == set(house.objects.every()) != set()
        assert sorted(back.spool.every_study()) == sorted(house.spool.every_study())
        for uid in house.spool.every_study():
            assert back.spool.listing(uid) == house.spool.listing(uid)  # their times, too
            for spooled in house.spool.listing(uid):
                assert (
                    back.spool.file(spooled.path).read_bytes() == house.spool.file(spooled.path).read_bytes()
                )
        (delivery,) = back.studies.deliveries(answered)
        assert len(back.studies.documents(delivery)) == len(delivery.documents)
    finally:
        back.engine.dispose()


def test_a_backup_is_for_its_owner_only_and_any_shell_can_check_it(house, tmp_path):
    backup.make(house.settings, tmp_path / "backup", None)
    modes = {
        oct(path.stat().st_mode & 0o077) for path in [tmp_path / "backup", *(tmp_path / "backup").rglob("*")]
    }
    assert modes == {"0o0"}
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"],
        cwd=tmp_path / "backup",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_backup_made_while_others_write_has_no_row_without_its_file(house, tmp_path):
    stop = threading.Event()
    failures = []

    def work():
        number = 0
        while not stop.is_set() and number < 200:
            number += 1
            try:
                answer(house, receive(house, f"more {number}"))
                house.audit.append(viewed(number))
            except (HoichanError, OSError) as error:
                failures.append(error)
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(3):
            backup.make(house.settings, tmp_path / f"backup{number}", None)
    finally:
        stop.set()
        thread.join(60)
    assert failures == []
    for number in range(3):
        backup.restore(other(tmp_path / f"new{number}"), tmp_path / f"backup{number}")
        back = open_house(other(tmp_path / f"new{number}"))
        with back.engine.connect() as connection:
            digests = set(connection.exec_driver_sql("SELECT sha256 FROM documents").scalars())
            paths = connection.exec_driver_sql("SELECT path FROM instances").scalars().all()
        assert digests <= set(back.objects.every()) and digests
        assert all((tmp_path / f"new{number}" / "spool" / path).exists() for path in paths)
        assert back.audit.verify() is None
        back.engine.dispose()


def test_what_was_changed_taken_out_or_added_is_found(house, tmp_path):
    folder = tmp_path / "backup"
    backup.make(house.settings, folder, None)
    first, second, *_ = sorted((folder / "data" / "objects").rglob("*"), key=lambda path: path.is_dir())
    first.write_bytes(b"other")
    second.unlink()
    (folder / "data" / "added").write_bytes(b"x")
    named = {path.relative_to(folder).as_posix() for path in (first, second, folder / "data" / "added")}
    assert set(backup.verify(folder)) == named


def test_nothing_is_restored_over_anything(house, tmp_path):
    backup.make(house.settings, tmp_path / "backup", None)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "precious").touch()
    with pytest.raises(ConfigurationError, match="not empty"):
        backup.restore(other(tmp_path / "new"), tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="is there already"):
        backup.make(house.settings, tmp_path / "backup", None)


def test_a_backup_or_a_way_back_that_was_cut_off_is_begun_again(house, tmp_path):
    for left in ("backup.part", "new.part"):
        (tmp_path / left / "data").mkdir(parents=True)
        (tmp_path / left / "data" / KEY_FILE).write_text("half")
    backup.make(house.settings, tmp_path / "backup", None)
    backup.restore(other(tmp_path / "new"), tmp_path / "backup")
    assert not (tmp_path / "backup.part").exists() and not (tmp_path / "new.part").exists()
    assert (tmp_path / "new" / KEY_FILE).read_bytes() == (tmp_path / "data" / KEY_FILE).read_bytes()


def test_a_list_that_leads_out_of_the_folder_is_refused(house, tmp_path):
    backup.make(house.settings, tmp_path / "backup", None)
    with (tmp_path / "backup" / "SHA256SUMS").open("a") as sums:
        sums.write("0" * 64 + "  data/../../../etc/passwd\n")
    with pytest.raises(ConfigurationError, match="damaged"):
        backup.restore(other(tmp_path / "new"), tmp_path / "backup")


def test_a_backup_of_a_newer_program_is_refused(house, tmp_path):
    backup.make(house.settings, tmp_path / "backup", None)
    file = tmp_path / "backup" / "backup.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": "9999"}))
    with pytest.raises(ConfigurationError, match="newer program"):
        backup.about(tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="no backup"):
        backup.about(tmp_path)


def test_whoever_removes_images_sees_that_a_backup_runs(house, tmp_path):
    seen = []

    def look(_):
        child = os.fork()  # another process, as the worker is
        if not child:
            os._exit(7 if backup.runs(house.settings.storage.data_dir) else 0)
        seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    assert not backup.runs(house.settings.storage.data_dir)
    backup.make(house.settings, tmp_path / "backup", None, look)
    assert set(seen) == {7} and not backup.runs(house.settings.storage.data_dir)


def test_objects_elsewhere_go_back_to_where_the_settings_have_them(house, tmp_path):
    backup.make(house.settings, tmp_path / "backup", None)
    settings = Settings.model_validate(
        {"storage": {"data_dir": tmp_path / "new", "objects": f"file://{tmp_path}/objects"}}
    )
    backup.restore(settings, tmp_path / "backup")
    assert not (tmp_path / "new" / "objects").exists()
    back = open_house(settings)
    assert set(back.objects.every()) == set(house.objects.every())
    back.engine.dispose()


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(house, tmp_path):
    house.engine.dispose()
    file = tmp_path / "data" / "hoichan.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
    file.write_bytes(bytes(content))
    with pytest.raises((RecordsError, sqlite3.DatabaseError)):
        backup.make(house.settings, tmp_path / "backup", None)
    assert not (tmp_path / "backup").exists()


def test_a_disk_that_is_full_is_told_and_leaves_no_backup(house, tmp_path):
    def full(_size):
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(StorageUnusable, match="disk is full"):
        backup.make(house.settings, tmp_path / "copy", None, full)
    assert not (tmp_path / "copy").exists()


def test_the_commands(house, tmp_path):
    config = tmp_path / "hoichan.toml"
    config.write_text('[site]\nname = "BV"\n', encoding="utf-8")
    run = CliRunner().invoke
    data = ["--data-dir", str(tmp_path / "data")]
    told = run(cli.app, ["backup", str(tmp_path / "backup"), "--config", str(config), "--json", *data])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == {
        "path": str(tmp_path / "backup"),
        "files": len(list(f for f in (tmp_path / "backup").rglob("*") if f.is_file())) - 1,
        "database": True,
        "missing_objects": 0,
    }
    assert (tmp_path / "backup" / "hoichan.toml").read_text(encoding="utf-8") == '[site]\nname = "BV"\n'
    told = run(cli.app, ["restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new")])
    assert told.exit_code == 0 and "are back in" in told.stdout
    (tmp_path / "backup" / "database" / "hoichan.sqlite").write_bytes(b"")
    told = run(cli.app, ["restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "newer")])
    assert isinstance(told.exception, RecordsError) and "database/hoichan.sqlite" in str(told.exception)
    assert not (tmp_path / "newer").exists()
