"""Tokens of programs: shown once, kept as a digest, and over when they are over."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.errors import TokenExists, TokenUnknown
from hoichan.guard.scopes import Scope
from hoichan.testing.reading import a_record


@pytest.fixture
def record(tmp_path):
    record = a_record(tmp_path)
    yield record
    record.engine.dispose()


def test_a_token_is_told_once_and_known_again(record):
    text = record.tokens.add("pacs", [Scope.STOW, Scope.READ])
    holder = record.tokens.holder(text)
    assert (holder.name, holder.scopes) == ("pacs", (Scope.READ, Scope.STOW))
    with record.engine.connect() as connection:
        kept = str(connection.execute(sa.text("SELECT * FROM tokens")).all())
    assert text not in kept and text.removeprefix("hoichan_") not in kept


@pytest.mark.parametrize("other", ["", "hoichan_", "hoichan_x", "x" * 9999, "hoichan_" + "á" * 43])
def test_nothing_else_is_a_token(record, other):
    text = record.tokens.add("pacs", [Scope.STOW])
    assert record.tokens.holder(other) is None
    assert record.tokens.holder(text[:-1]) is None and record.tokens.holder(text + "A") is None


def test_a_token_ends_with_its_time(record):
    text = record.tokens.add("pacs", [Scope.STOW], lifetime=timedelta(days=1))
    assert record.tokens.any_token(Scope.STOW) and not record.tokens.any_token(Scope.READ)
    record.clock.advance(86399)
    assert record.tokens.holder(text)
    record.clock.advance(1)
    assert record.tokens.holder(text) is None
    assert not record.tokens.any_token(Scope.STOW)


def test_a_revoked_token_stays_revoked_and_its_name_stays_taken(record):
    text = record.tokens.add("pacs", [Scope.STOW])
    record.tokens.revoke("pacs")
    (first,) = record.tokens.tokens()
    record.clock.advance(60)
    record.tokens.revoke("pacs")
    assert record.tokens.holder(text) is None
    assert [one.revoked_at for one in record.tokens.tokens()] == [first.revoked_at]
    with pytest.raises(TokenExists):
        record.tokens.add("pacs", [Scope.STOW])
    with pytest.raises(TokenUnknown):
        record.tokens.revoke("other")


def test_the_last_use_is_kept_but_not_at_every_use(record):
    text = record.tokens.add("pacs", [Scope.STOW])
    record.tokens.holder(text)
    first = record.tokens.tokens()[0].last_used_at
    record.clock.advance(30)
    record.tokens.holder(text)
    assert record.tokens.tokens()[0].last_used_at == first == record.clock.now() - timedelta(seconds=30)
    record.clock.advance(30)
    record.tokens.holder(text)
    assert record.tokens.tokens()[0].last_used_at == record.clock.now()


@pytest.mark.parametrize(("name", "scopes"), [("Pacs", [Scope.STOW]), ("pacs", [])])
def test_what_is_no_token_is_not_added(record, name, scopes):
    with pytest.raises(ValueError):
        record.tokens.add(name, scopes)
