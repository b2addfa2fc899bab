from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.guard import dates

BACK = timedelta(days=-20, minutes=-61)


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("20261121", "20261031"),
        ("2026.11.21", "20261031"),
        ("2026-11-21", "20261031"),
        ("20261121 ", "20261031"),
    ],
)
def test_dates_move_in_every_form(text, moved):
    assert dates.move_date(text, BACK) == moved


@pytest.mark.parametrize(
    "text", ["", "2026", "20261321", "00010105", "MARKER", "20261121MARKER", "２０２６1121"]
)
def test_what_is_no_date_does_not_move(text):
    assert dates.move_date(text, BACK) is None
    assert dates.move_date_and_time(text, "120000", BACK) is None


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("20261121120000", "20261101105900"),
        ("20261121120059.123456+0700", "20261101105959.123456+0700"),
        ("202611211200", "202611011059"),
        ("20261121", "20261031"),
        ("20261121+0700", "20261031+0700"),
    ],
)
def test_moments_keep_their_precision(text, moved):
    assert dates.move_datetime(text, BACK) == moved


@pytest.mark.parametrize("text", ["2026", "202611", "2026112112", "20261121250000", "MARKER", ""])
def test_what_is_less_than_a_day_does_not_move(text):
    assert dates.move_datetime(text, BACK) is None


def test_a_time_turns_around_midnight_and_takes_the_day_along():
    assert dates.move_time("003015.5", BACK) == "232915.5"
    assert dates.move_date_and_time("20261121", "003015.5", BACK) == ("20261031", "232915.5")
    assert dates.move_date_and_time("20261121", "00:30:15", BACK) == ("20261031", "232915")
    assert dates.move_time("07", BACK) is None


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(-4_000, -1))
@settings(deadline=None)
def test_a_date_moves_back_by_the_days_and_forth_again(day, days):
    by = timedelta(days=days)
    moved = dates.move_date(f"{day:%Y%m%d}", by)
    assert moved == f"{day + by:%Y%m%d}"
    assert dates.move_date(moved, -by) == f"{day:%Y%m%d}"


def test_offsets():
    assert dates.is_zone("+0700")
    assert not dates.is_zone("+7")
    assert not dates.is_zone("+9999")


def test_full_years():
    assert dates.full_years("19701121", "20261120") == 55
    assert dates.full_years("19701121", "20261121") == 56
    assert dates.full_years("20270101", "20261121") is None
    assert dates.full_years("", "20261121") is None
