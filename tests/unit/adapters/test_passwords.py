"""argon2id hashes of passwords."""

import unicodedata

import pytest
from argon2 import extract_parameters

from hoichan.adapters.passwords import Passwords

SECRET = "mưa rơi trên phố Huế"


@pytest.fixture(scope="module")
def passwords():
    return Passwords(time_cost=1, memory_kib=64)


def test_the_cost_is_that_of_the_standard():
    assert Passwords().hashed(SECRET).startswith("$argon2id$v=19$m=65536,t=3,p=")


def test_the_right_password_matches_and_no_other(passwords):
    kept = passwords.hashed(SECRET)
    assert passwords.matches(SECRET, kept) == (True, None)
    assert passwords.matches(unicodedata.normalize("NFD", SECRET), kept) == (True, None)
    assert passwords.matches(SECRET + " ", kept) == (False, None)
    assert passwords.hashed(SECRET) != kept
    assert SECRET not in kept


def test_a_hash_of_lower_cost_is_renewed_when_the_password_is_at_hand(passwords):
    right, newer = Passwords(time_cost=2, memory_kib=64).matches(SECRET, passwords.hashed(SECRET))
    assert right
    assert ",t=2," in newer


def test_a_name_that_nobody_has_costs_what_the_others_cost(passwords):
    kept = extract_parameters(passwords.hashed(SECRET))
    assert extract_parameters(passwords._nobody) == kept


def test_nobody_never_matches(passwords):
    assert passwords.matches("nobody has this password", None) == (False, None)
    assert passwords.matches(SECRET, "a row that something else wrote") == (False, None)
