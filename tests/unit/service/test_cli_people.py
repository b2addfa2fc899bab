"""`hoichan user`: accounts from the shell."""

import json
import os

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.database import open_database
from hoichan.errors import AccountRefused, ConfigurationError, UserExists, UserUnknown
from service.cli import app

SECRET = "mưa rơi trên phố Huế\n"


@pytest.fixture
def hoichan(tmp_path):
    def run(*arguments, stdin=None):
        return CliRunner().invoke(app, ["user", *arguments, "--data-dir", str(tmp_path)], input=stdin)

    return run


def test_an_account_from_the_first_day_to_the_last(hoichan, tmp_path):
    told = hoichan("add", "bs.an", "--role", "radiologist", "--display-name", "BS. Trần An", stdin=SECRET)
    assert (told.exit_code, told.stdout) == (0, "bs.an can sign in as radiologist.\n")
    (line,) = json.loads(hoichan("list", "--json").stdout)
    assert (line["user_name"], line["role"], line["disabled_at"]) == ("bs.an", "radiologist", None)
    assert hoichan("password", "bs.an", stdin="một mật khẩu khác hẳn\n").exit_code == 0
    assert hoichan("disable", "bs.an").exit_code == 0
    assert "disabled" in hoichan("list").stdout
    assert hoichan("enable", "bs.an").exit_code == 0
    assert "disabled" not in hoichan("list").stdout
    for file in tmp_path.iterdir():
        assert SECRET.strip().encode() not in (file.read_bytes() if file.is_file() else b"")


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        (("add", "bs.an", "--role", "auditor"), "short\n", AccountRefused),
        (("add", "bs.an", "--role", "auditor"), "", AccountRefused),
        (("add", "Bs An", "--role", "auditor"), SECRET, AccountRefused),
        (("password", "nobody"), SECRET, UserUnknown),
        (("disable", "nobody"), None, UserUnknown),
    ],
)
def test_what_cannot_be_done_is_one_of_our_errors(hoichan, arguments, stdin, error):
    told = hoichan(*arguments, stdin=stdin)
    assert isinstance(told.exception, error)
    assert json.loads(hoichan("list", "--json").stdout) == []


def test_a_taken_name(hoichan):
    assert hoichan("add", "bs.an", "--role", "auditor", stdin=SECRET).exit_code == 0
    assert isinstance(hoichan("add", "bs.an", "--role", "auditor", stdin=SECRET).exception, UserExists)


def test_every_change_of_an_account_is_in_the_audit_log(hoichan, tmp_path):
    hoichan("add", "bs.an", "--role", "radiologist", stdin=SECRET)
    hoichan("password", "bs.an", stdin="một mật khẩu khác hẳn\n")
    hoichan("disable", "bs.an")
    hoichan("enable", "bs.an")
    engine = open_database(f"sqlite:///{tmp_path / 'hoichan.sqlite'}")
    log = AuditSql(engine, tmp_path / "audit.key")
    _, lines = log.search(Wanted(), limit=9)
    told = [line.record for line in reversed(lines)]
    assert [one.detail for one in told] == [
        "add bs.an radiologist",
        "password bs.an",
        "disable bs.an",
        "enable bs.an",
    ]
    assert {(one.who, one.role) for one in told} == {(f"uid:{os.getuid()}", "shell")}
    engine.dispose()


def test_nothing_is_changed_that_could_not_be_recorded(hoichan, tmp_path):
    hoichan("add", "bs.an", "--role", "auditor", stdin=SECRET)
    (tmp_path / "audit.key").unlink()
    told = hoichan("add", "bs.binh", "--role", "auditor", stdin=SECRET)
    assert isinstance(told.exception, ConfigurationError)


@pytest.mark.parametrize("role", ["local", "doctor", ""])
def test_a_role_that_is_none_is_used_wrongly(hoichan, role):
    assert hoichan("add", "bs.an", "--role", role, stdin=SECRET).exit_code == 2


def test_no_command_takes_a_password_as_an_argument(hoichan):
    assert hoichan("add", "bs.an", "--role", "auditor", "--password", "x").exit_code == 2
    assert "--password" not in hoichan("add", "--help").stdout


def test_role_facilities_and_second_factor_from_the_shell(hoichan):
    hoichan("add", "bs.an", "--role", "radiologist", stdin=SECRET)
    assert hoichan("role", "bs.an", "clinician").stdout == "bs.an is clinician now.\n"
    (line,) = json.loads(hoichan("list", "--json").stdout)
    assert line["role"] == "clinician"
    assert hoichan("facilities", "bs.an").stdout == "bs.an sees: none.\n"
    assert hoichan("facilities", "bs.an", "--all").stdout == "bs.an sees: all.\n"
    assert isinstance(hoichan("facilities", "bs.an", "79999").exception, AccountRefused)
    assert hoichan("facilities", "bs.an", "79999", "--all").exit_code == 2
    assert hoichan("reset-second-factor", "bs.an").stdout == "bs.an had no second factor.\n"
    assert isinstance(hoichan("reset-second-factor", "nobody").exception, UserUnknown)
