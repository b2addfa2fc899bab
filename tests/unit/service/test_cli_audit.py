"""`hoichan audit`: is the log as it was written?"""

import json

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.schema import audit
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.testing.reading import a_record, fill
from service.cli import app


@pytest.fixture
def record(tmp_path):
    record = a_record(tmp_path)
    yield record
    record.engine.dispose()


@pytest.fixture
def hoichan(record, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["audit", *arguments, "--data-dir", str(tmp_path)])

    return run


def write(record, count):
    for number in range(count):
        record.audit.append(
            AuditRecord(
                what=Audited.LOGIN,
                when=record.clock.now(),
                who=f"u{number}",
                role="auditor",
                source="10.0.0.7",
            )
        )


def cut(record, position):
    with record.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_no_delete")
        connection.execute(audit.delete().where(audit.c.position == position))


def test_an_intact_log(hoichan, record):
    write(record, 3)
    told = hoichan("verify")
    assert (told.exit_code, told.stdout) == (
        0,
        "All 3 records are as they were written.\nAll 0 signed reviews are as they were signed.\n",
    )
    assert json.loads(hoichan("verify", "--json").stdout) == {
        "intact": True,
        "records": 3,
        "first_broken": None,
        "reviews": 0,
        "changed_reviews": [],
        "missing_reviews": [],
        "sealed_pages": 0,
        "bad_pages": {},
    }


def test_a_broken_chain_is_told_with_its_place(hoichan, record):
    write(record, 4)
    cut(record, 2)
    told = hoichan("verify")
    assert (told.exit_code, told.stdout) == (
        1,
        "Record 3 is not as it was written, or one before it is missing.\n",
    )
    assert json.loads(hoichan("verify", "--json").stdout)["first_broken"] == 3


def test_records_cut_off_are_seen_with_an_exported_head(hoichan, record):
    write(record, 4)
    head = hoichan("head").stdout.strip()
    length, _, kept = head.partition(":")
    assert (length, len(kept)) == ("4", 64)
    assert json.loads(hoichan("head", "--json").stdout) == {"length": 4, "hash": kept}
    assert hoichan("verify", "--head", head).exit_code == 0
    cut(record, 4)
    assert hoichan("verify").exit_code == 0
    told = hoichan("verify", "--head", head)
    assert (told.exit_code, told.stdout) == (1, "Records are missing at the end: 3 are here, 4 were there.\n")


@pytest.mark.parametrize("head", ["4", "x:y", "4:abc"])
def test_a_head_that_is_none_is_used_wrongly(hoichan, head):
    assert hoichan("verify", "--head", head).exit_code == 2


def test_an_empty_log_is_intact(hoichan):
    assert hoichan("verify").exit_code == 0
    assert hoichan("head").stdout == f"0:{'0' * 64}\n"


def test_a_replay_at_the_shell_is_recorded(record, tmp_path):
    uids = fill(record)
    told = CliRunner().invoke(app, ["replay", uids["urgent"], "--data-dir", str(tmp_path)])
    assert told.exit_code == 0
    _, lines = record.audit.search(Wanted(), limit=9)
    (only,) = [line.record for line in lines]
    assert (only.what, only.uids, only.role, only.detail) == (
        Audited.SENDING,
        (uids["urgent"],),
        "shell",
        "replay",
    )
