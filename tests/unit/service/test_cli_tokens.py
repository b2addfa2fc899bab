"""`hoichan token`: programs from the shell."""

import json

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.database import open_database
from hoichan.errors import TokenExists, TokenUnknown
from service.cli import app


@pytest.fixture
def hoichan(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["token", *arguments, "--data-dir", str(tmp_path)])

    return run


def test_a_token_from_the_first_day_to_the_last(hoichan, tmp_path):
    told = hoichan("add", "pacs", "--scope", "stow, read")
    token = told.stdout.strip()
    assert told.exit_code == 0 and token.startswith("hoichan_") and len(token) == 51
    (line,) = json.loads(hoichan("list", "--json").stdout)["tokens"]
    assert (line["name"], line["scopes"], line["revoked_at"]) == ("pacs", ["read", "stow"], None)
    assert line["expires_at"] > line["created_at"]
    assert hoichan("revoke", "pacs").exit_code == 0
    assert "revoked" in hoichan("list").stdout
    assert isinstance(hoichan("add", "pacs", "--scope", "stow").exception, TokenExists)
    assert isinstance(hoichan("revoke", "other").exception, TokenUnknown)
    for file in tmp_path.iterdir():
        assert token.encode() not in (file.read_bytes() if file.is_file() else b"")
    engine = open_database(f"sqlite:///{tmp_path / 'hoichan.sqlite'}")
    _, lines = AuditSql(engine, tmp_path / "audit.key").search(Wanted(), limit=10)
    engine.dispose()
    assert [line.record.detail for line in lines] == ["token revoke pacs", "token add pacs stow,read"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "Pacs", "--scope", "stow"),
        ("add", "pacs", "--scope", "everything"),
        ("add", "pacs"),
        ("add", "pacs", "--scope", ","),
        ("add", "pacs", "--scope", "stow", "--days", "-1"),
    ],
)
def test_what_is_used_wrongly(hoichan, arguments):
    assert hoichan(*arguments).exit_code == 2


def test_a_token_may_last_until_it_is_revoked(hoichan):
    hoichan("add", "pacs", "--scope", "stow", "--days", "0")
    assert json.loads(hoichan("list", "--json").stdout)["tokens"][0]["expires_at"] is None
    assert "until revoked" in hoichan("list").stdout
