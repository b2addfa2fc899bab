"""What a password must be, and how pauses grow."""

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.guard.passwords import ACCOUNT_PATIENCE, ADDRESS_PATIENCE, LONGEST, normalised, weakness


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("ngắn quá", "too_short"),
        ("", "too_short"),
        ("á" * 300, "too_long"),
        ("abababababab", "too_simple"),
        ("aaaaaaaaaaaaaaa", "too_simple"),
        ("bs.an1234567", "like_the_name"),
        ("BS.AN-2026-11", "like_the_name"),
        ("mưa rơi trên phố Huế", None),
        ("bs.an thích uống cà phê sữa", None),
        ("correct horse battery", None),
    ],
)
def test_weak_passwords_are_named(password, reason):
    assert weakness(password, "bs.an") == reason


def test_two_keyboards_write_the_same_password():
    text = "Đường về quê ngoại"
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text))


@given(st.text(max_size=LONGEST + 5))
def test_any_text_gets_an_answer(text):
    assert weakness(text, "bs.an") in {None, "too_short", "too_long", "too_simple", "like_the_name"}


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0), (4, 0), (5, 2), (6, 4), (7, 8), (12, 256), (14, 900), (10_000, 900)]
)
def test_pauses_double_up_to_a_quarter_of_an_hour(failures, seconds):
    assert ACCOUNT_PATIENCE.pause(failures).total_seconds() == seconds


def test_an_address_is_shared_by_many_and_may_fail_more_often():
    assert ADDRESS_PATIENCE.pause(19).total_seconds() == 0
    assert ADDRESS_PATIENCE.pause(20).total_seconds() == 2


def test_one_failure_is_forgotten_every_so_often():
    assert ACCOUNT_PATIENCE.remembered(7, timedelta(minutes=59)) == 7
    assert ACCOUNT_PATIENCE.remembered(7, timedelta(hours=2)) == 5
    assert ADDRESS_PATIENCE.remembered(3, timedelta(hours=2)) == 0
