"""Accounts, sessions and failed sign-ins, on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names
an empty database."""

import os
from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters.database import open_database
from hoichan.adapters.external_sql import ExternalAccounts
from hoichan.adapters.people_sql import Lifetime, PeopleSql, Subject, digest, neighbourhood
from hoichan.adapters.schema import metadata, sessions, sign_in_failures
from hoichan.errors import AccountRefused, RecordsUnavailable, UserExists, UserUnknown
from hoichan.guard.passwords import Patience
from hoichan.guard.roles import Role
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
LIFETIME = Lifetime(idle=timedelta(minutes=30), longest=timedelta(hours=12))
PATIENCE = Patience(free=3, first_seconds=2, longest_seconds=60)


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
def clock():
    return FakeClock()


@pytest.fixture
def people(engine, clock):
    return PeopleSql(engine, clock)


def an(people, name="bs.an", role=Role.RADIOLOGIST):
    return people.add(name, display_name="BS. Trần An", role=role, password_hash="hash")


# ---------------------------------------------------------------------- accounts
def test_an_account_is_kept_and_listed(people):
    assert not people.any_user()
    made = an(people)
    assert people.any_user()
    assert (made.role, made.display_name, made.disabled_at) == (Role.RADIOLOGIST, "BS. Trần An", None)
    an(people, "aud", Role.AUDITOR)
    assert [user.user_name for user in people.users()] == ["aud", "bs.an"]
    assert people.password_hash("bs.an") == "hash"


def test_a_name_is_used_once(people):
    an(people)
    people.disable("bs.an")
    with pytest.raises(UserExists, match=r"bs\.an"):
        an(people)


def test_an_account_of_the_issuer_is_linked_at_once_or_not_made(people, engine, clock):
    external = ExternalAccounts(engine, clock)
    person = {"display_name": "BS. An", "role": Role.RADIOLOGIST, "password_hash": "x"}
    external.add("https://login.example", "7", "bs.an", **person)
    assert external.user_of("https://login.example", "7") == "bs.an" and external.is_external("bs.an")
    with pytest.raises(UserExists):  # the same person came in by another window: no second account is left
        external.add("https://login.example", "7", "bs.an.2", **person)
    with pytest.raises(UserExists):  # somebody else has the name: nobody is linked to it
        external.add("https://login.example", "8", "bs.an", **person)
    with pytest.raises(AccountRefused):
        external.add("https://login.example", "8", "Bs An", **person)
    assert [user.user_name for user in people.users()] == ["bs.an"]
    assert external.user_of("https://login.example", "8") is None


@pytest.mark.parametrize(
    ("name", "role", "reason"), [("Bs An", Role.AUDITOR, "name"), ("an", Role.LOCAL, "role")]
)
def test_what_cannot_be_an_account_is_refused(people, name, role, reason):
    with pytest.raises(AccountRefused) as caught:
        an(people, name, role)
    assert caught.value.reason == reason
    assert not people.any_user()


def test_an_unknown_name_is_said_so(people):
    for ask in (people.user, people.disable, people.enable, lambda name: people.set_password(name, "x")):
        with pytest.raises(UserUnknown):
            ask("nobody")
    assert people.password_hash("nobody") is None


def test_a_closed_account_has_no_password_and_can_be_opened(people):
    an(people)
    people.disable("bs.an")
    assert people.password_hash("bs.an") is None
    assert people.user("bs.an").disabled_at is not None
    assert people.any_user()  # the page stays closed
    people.enable("bs.an")
    assert people.password_hash("bs.an") == "hash"


# ---------------------------------------------------------------------- sessions
def test_a_session_is_known_by_its_id_and_only_its_digest_is_kept(people, engine):
    an(people)
    one, other = people.begin_session("bs.an"), people.begin_session("bs.an")
    assert one != other and len(one) >= 43  # 256 bits
    assert people.signed_in(one, LIFETIME, by_hand=True).user_name == "bs.an"
    assert people.signed_in(one + "x", LIFETIME, by_hand=True) is None
    with engine.connect() as connection:
        kept = connection.execute(sa.select(sessions.c.session_sha256)).scalars().all()
    assert set(kept) == {digest(one), digest(other)}
    people.end_session(one)
    assert people.signed_in(one, LIFETIME, by_hand=True) is None
    assert people.signed_in(other, LIFETIME, by_hand=True) is not None


def test_a_session_ends_when_it_is_not_used(people, clock):
    an(people)
    session = people.begin_session("bs.an")
    for _ in range(3):
        clock.advance(29 * 60)
        assert people.signed_in(session, LIFETIME, by_hand=True)
    clock.advance(30 * 60)
    assert people.signed_in(session, LIFETIME, by_hand=True) is None


def test_a_page_that_asks_by_itself_keeps_no_session_alive(people, clock):
    an(people)
    session = people.begin_session("bs.an")
    clock.advance(20 * 60)
    assert people.signed_in(session, LIFETIME, by_hand=False)
    clock.advance(10 * 60)
    assert people.signed_in(session, LIFETIME, by_hand=False) is None


def test_a_session_ends_after_a_shift_whatever_is_done(people, clock):
    an(people)
    session = people.begin_session("bs.an")
    for _ in range(12 * 3 - 1):
        clock.advance(20 * 60)
        assert people.signed_in(session, LIFETIME, by_hand=True)
    clock.advance(20 * 60)
    assert people.signed_in(session, LIFETIME, by_hand=True) is None


def test_a_disk_that_takes_nothing_keeps_nobody_out_who_is_in(people, engine, clock):
    if engine.dialect.name != "sqlite":
        pytest.skip("SQLite's way to be read-only")
    an(people)
    session = people.begin_session("bs.an")
    with engine.connect() as connection:  # the pool gives this one out again
        connection.exec_driver_sql("PRAGMA query_only=ON")
    clock.advance(20 * 60)
    assert people.signed_in(session, LIFETIME, by_hand=True)
    clock.advance(10 * 60)
    assert people.signed_in(session, LIFETIME, by_hand=True) is None


@pytest.mark.parametrize("change", ["disable", "set_password"])
def test_a_changed_account_is_out_everywhere(people, change):
    an(people)
    session = people.begin_session("bs.an")
    people.disable("bs.an") if change == "disable" else people.set_password("bs.an", "other")
    assert people.signed_in(session, LIFETIME, by_hand=True) is None


def test_a_renewed_hash_ends_no_session(people):
    an(people)
    session = people.begin_session("bs.an")
    people.keep_newer_hash("bs.an", "newer")
    assert people.password_hash("bs.an") == "newer"
    assert people.signed_in(session, LIFETIME, by_hand=True)


def test_sessions_that_are_over_are_swept(people, clock):
    an(people)
    people.begin_session("bs.an")
    clock.advance(29 * 60)
    kept = people.begin_session("bs.an")
    clock.advance(60)
    (ended,) = people.ended_sessions(LIFETIME)
    assert (ended.user_name, ended.was_idle) == ("bs.an", True)
    assert people.ended_sessions(LIFETIME) == []
    assert people.signed_in(kept, LIFETIME, by_hand=True)


# ---------------------------------------------------------------------- failed sign-ins
def waits(people, count, name="bs.an", subject=Subject.ACCOUNT):
    return [people.try_sign_in(subject, name, PATIENCE).total_seconds() for _ in range(count)]


def test_pauses_begin_after_the_free_tries_and_grow(people, clock):
    assert waits(people, 3) == [0, 0, 0]
    assert waits(people, 2) == [2, 2]  # not counted: the pause does not grow while one waits
    clock.advance(2)
    assert waits(people, 2) == [0, 4]
    clock.advance(4)
    assert waits(people, 2) == [0, 8]


def test_accounts_and_addresses_are_counted_apart(people):
    waits(people, 4)
    assert waits(people, 1, "bs.binh") == [0]
    assert waits(people, 1, subject=Subject.ADDRESS) == [0]


def test_the_right_password_and_a_day_wipe_the_slate(people, clock):
    waits(people, 4)
    people.succeeded("bs.an", "10.0.0.7")
    assert waits(people, 4) == [0, 0, 0, 2]
    clock.advance(24 * 3600)
    assert waits(people, 3) == [0, 0, 0]


def test_one_right_password_does_not_forgive_an_address_its_guesses(people):
    assert waits(people, 3, "10.0.0.7", Subject.ADDRESS) == [0, 0, 0]
    people.succeeded("bs.an", "10.0.0.7")
    assert waits(people, 2, "10.0.0.7", Subject.ADDRESS) == [0, 2]


def test_a_new_password_ends_the_pause(people):
    an(people)
    waits(people, 4)
    people.set_password("bs.an", "other")
    assert waits(people, 1) == [0]


def test_what_was_typed_as_a_name_is_not_kept(people, engine):
    waits(people, 1, "my password by mistake")
    with engine.connect() as connection:
        assert "mistake" not in repr(connection.execute(sa.select(sign_in_failures)).all())


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_stands_for_its_neighbourhood(address, counted_as):
    assert neighbourhood(address) == counted_as


def test_a_database_that_does_not_answer_may_be_asked_again(people, engine):
    metadata.drop_all(engine)
    if engine.dialect.name == "postgresql":
        pytest.skip("a missing table is a fault of ours there")
    for ask in (people.any_user, lambda: people.begin_session("bs.an")):
        with pytest.raises(RecordsUnavailable):
            ask()
