"""Drift: seen when it is there, and rarely when it is not."""

import numpy as np
import pytest

from hoichan.analysis.drift import State, compare, compare_shares, film_figures, ks_distance, psi
from hoichan.analysis.films import Film


def test_the_distance_is_that_of_the_textbook():
    # by hand: after 2, one sample has two thirds below and the other nothing
    distance, p = ks_distance([1.0, 2.0, 5.0], [3.0, 4.0, 6.0])
    assert distance == pytest.approx(2 / 3)
    assert 0.3 < p < 0.9
    assert ks_distance([1.0, 2.0], [1.0, 2.0]) == (0.0, 1.0)


def test_the_p_value_is_uniform_when_nothing_changed():
    rng = np.random.default_rng(5)
    found = [ks_distance(rng.normal(size=200), rng.normal(size=80))[1] for _ in range(400)]
    for level in (0.05, 0.2, 0.5):
        assert level / 2 < np.mean(np.array(found) < level) < level + 0.03  # never too ready to alarm


def test_the_p_value_agrees_with_the_table():
    # the critical distance at 5 % is 1.358 * sqrt((n + m) / (n * m)) for large samples
    n = 5000
    a = np.arange(n) / n
    _, p = ks_distance(a, a + 1.358 * np.sqrt(2 / n))
    assert p == pytest.approx(0.05, abs=0.005)


def test_the_index_of_two_known_shares():
    reference = np.repeat([0.0, 1.0], 500)
    week = np.concatenate([np.zeros(250), np.ones(750)])
    index, bins = psi(reference, week)
    assert bins >= 4  # two values, and what lies beyond them
    assert index == pytest.approx(
        (0.75 - 0.5) * np.log(0.75 / 0.5) + (0.25 - 0.5) * np.log(0.25 / 0.5), abs=0.01
    )


def test_a_shift_is_seen_and_quiet_weeks_are_quiet():
    rng = np.random.default_rng(7)
    reference = rng.normal(size=400)
    assert compare(reference, rng.normal(0.8, 1.0, size=100)).state is State.ALARM
    assert compare(reference, rng.normal(0.0, 2.5, size=150)).state is State.ALARM
    states = [compare(rng.normal(size=400), rng.normal(size=40)).state for _ in range(500)]
    assert states.count(State.ALARM) <= 1
    assert states.count(State.WATCH) <= 10


def test_few_films_say_nothing():
    assert compare(np.zeros(49), np.ones(500)).state is State.FEW
    found = compare(np.zeros(500), np.ones(19))
    assert (found.state, found.week_value, found.psi) == (State.FEW, 1.0, None)
    assert compare([], []).week_value is None
    assert compare_shares((0, 0), (0, 0)).state is State.FEW


def test_a_measure_that_never_moves_is_steady():
    found = compare(np.full(100, 3.0), np.full(50, 3.0))
    assert (found.state, found.psi) == (State.STEADY, pytest.approx(0.0, abs=0.01))
    assert compare(np.full(100, 3.0), np.full(50, 4.0)).state is State.ALARM


def test_shares():
    assert compare_shares((30, 300), (12, 100)).state is State.STEADY
    assert compare_shares((30, 300), (40, 100)).state is State.ALARM
    assert compare_shares((3000, 30000), (1150, 10000)).state is State.WATCH  # certain, and small
    assert compare_shares((0, 300), (0, 100)).state is State.STEADY


def test_figures_of_a_film():
    ramp = np.tile(np.linspace(0, 1, 201, dtype=np.float32), (100, 1))
    figures = film_figures(Film(grey=ramp, spacing_mm=None))
    assert figures["brightness"] == pytest.approx(0.5)
    assert figures["sharpness"] == pytest.approx(1 / 200)
    assert figures["dark"] == pytest.approx(0.05, abs=0.005)
    assert (figures["aspect"], figures["megapixels"]) == (pytest.approx(100 / 201), pytest.approx(0.0201))
    large = film_figures(Film(grey=np.zeros((4000, 3000), dtype=np.float32), spacing_mm=None))
    assert (large["contrast"], large["dark"]) == (0.0, 1.0)
