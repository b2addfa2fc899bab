"""Waits as they were and as they would have been in order of arrival."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hoichan.reporting.waits import Wait, figures, in_order_of_arrival

DAWN = datetime(2026, 11, 21, tzinfo=UTC)


def wait(rank, arrived, read):
    """Minutes after dawn."""
    return Wait(
        rank=rank,
        arrived_at=DAWN + timedelta(minutes=arrived),
        read_at=None if read is None else DAWN + timedelta(minutes=read),
    )


def test_a_critical_study_that_overtakes_two_others():
    told = [wait(2, 0, 40), wait(2, 5, 60), wait(0, 10, 20)]
    critical, routine = figures(told)
    assert (critical.rank, critical.read, critical.median) == (0, 1, 600)
    assert critical.median_by_arrival == 50 * 60  # the last of the three to arrive, read at 60
    assert routine.median == (40 + 55) * 60 / 2
    assert routine.median_by_arrival == (20 + 35) * 60 / 2


def test_in_order_of_arrival_nothing_differs():
    told = [wait(0, 0, 10), wait(2, 1, 20), wait(0, 2, 30)]
    for one in figures(told):
        assert (one.median, one.ninth_decile) == (one.median_by_arrival, one.ninth_decile_by_arrival)


def test_the_unread_are_counted_and_change_no_figure():
    told = [wait(2, 0, None), wait(2, 5, 30)]
    (one,) = figures(told)
    assert (one.read, one.unread, one.median, one.median_by_arrival) == (1, 1, 1500, 1500)
    (none,) = figures([wait(9, 0, None)])
    assert (none.read, none.unread, none.median, none.median_by_arrival) == (0, 1, None, None)
    assert figures([]) == ()


def test_a_clock_that_went_back_is_left_out():
    assert figures([wait(0, 10, 5)]) == ()


LINES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 500), st.none() | st.integers(0, 500)), max_size=40
)


@given(LINES)
def test_the_order_changes_who_waits_not_how_much_is_waited(lines):
    told = [wait(rank, at, None if took is None else at + took) for rank, at, took in lines]
    made = in_order_of_arrival(told)
    assert len(made) == sum(one.read_at is not None for one in told)
    assert all(seconds >= 0 for _, seconds in made)
    real = sum((one.read_at - one.arrived_at).total_seconds() for one in told if one.read_at is not None)
    assert abs(sum(seconds for _, seconds in made) - real) < 1e-6
    assert sum(one.read + one.unread for one in figures(told)) == len(told)
