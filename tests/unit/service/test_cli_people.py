"""`hoichan user`: accounts from the shell."""

import json

import pytest
from typer.testing import CliRunner

from hoichan.errors import AccountRefused, UserExists, UserUnknown
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


@pytest.mark.parametrize("role", ["local", "doctor", ""])
def test_a_role_that_is_none_is_used_wrongly(hoichan, role):
    assert hoichan("add", "bs.an", "--role", role, stdin=SECRET).exit_code == 2


def test_no_command_takes_a_password_as_an_argument(hoichan):
    assert hoichan("add", "bs.an", "--role", "auditor", "--password", "x").exit_code == 2
    assert "--password" not in hoichan("add", "--help").stdout
