"""What is turned away before and by the network's own gate."""

import numpy as np
import pytest

from hoichan.analysis.films import Film
from hoichan.analysis.gate import GATE_CLASSES, check_gate, check_pixels
from hoichan.codes import LOOKS, REFUSALS, refusal_words
from hoichan.errors import InputOutOfDomain
from hoichan.types import RefusalCode


def film(pixels):
    return Film(grey=np.asarray(pixels, dtype=np.float32), spacing_mm=None)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((600, 500)),
        np.ones((600, 500)),
        np.full((600, 500), 0.4) + np.random.default_rng(0).normal(0, 0.001, (600, 500)),
        np.repeat([[0.0, 1.0]], 300, axis=0).repeat(150, axis=1),
        np.full((600, 500), np.nan),
    ],
    ids=["black", "white", "grey", "two levels", "not a number"],
)
def test_empty_films_are_turned_away(pixels):
    with pytest.raises(InputOutOfDomain) as caught:
        check_pixels(film(pixels))
    assert caught.value.reason == RefusalCode.PIXELS_OUT_OF_RANGE


@pytest.mark.parametrize("shape", [(600, 500), (500, 600), (860, 700), (700, 1100)])
def test_a_film_with_something_on_it_passes(shape):
    check_pixels(film(np.random.default_rng(0).random(shape)))


@pytest.mark.parametrize("shape", [(430, 700), (300, 800), (900, 300)])
def test_two_films_side_by_side_are_turned_away_by_their_shape(shape):
    with pytest.raises(InputOutOfDomain, match="shape") as caught:
        check_pixels(film(np.random.default_rng(0).random(shape)))
    assert caught.value.reason == RefusalCode.NOT_FRONTAL_CHEST


def test_at_or_above_the_operating_point_it_is_a_frontal_chest():
    assert check_gate((0.8, 0.1, 0.05, 0.05), 0.8) == 0.8
    assert check_gate((0.9,), 0.5) == 0.9


@pytest.mark.parametrize(
    ("probabilities", "looks"),
    [
        ((0.1, 0.7, 0.1, 0.1), "not_upright"),
        ((0.1, 0.1, 0.7, 0.1), "inverted"),
        ((0.1, 0.1, 0.1, 0.7), "other_object"),
        ((0.1, 0.1, 0.1, 0.1, 0.6), "mirrored"),
        ((0.1, 0.6, 0.1, 0.1, 0.1), "not_upright"),
        ((0.1,), "other_object"),
    ],
)
def test_below_it_the_refusal_says_what_it_looks_like(probabilities, looks):
    with pytest.raises(InputOutOfDomain, match=f"looks={looks}") as caught:
        check_gate(probabilities, 0.5)
    assert caught.value.reason == RefusalCode.NOT_FRONTAL_CHEST


def test_each_way_of_being_refused_has_its_words():
    assert set(LOOKS) == set(GATE_CLASSES[1:])
    for looks in GATE_CLASSES[1:]:
        with pytest.raises(InputOutOfDomain) as caught:
            check_gate([float(name == looks) for name in GATE_CLASSES], 0.5)
        words = refusal_words(caught.value.reason, str(caught.value))
        for language in ("vi", "en"):
            plain = REFUSALS[RefusalCode.NOT_FRONTAL_CHEST][language]
            assert words[language] == f"{plain} {LOOKS[looks][language]}"


def test_a_shape_that_no_film_has_is_told_in_words():
    with pytest.raises(InputOutOfDomain) as caught:
        check_pixels(film(np.random.default_rng(0).random((300, 800))))
    assert LOOKS["other_object"]["vi"] in refusal_words(caught.value.reason, str(caught.value))["vi"]


def test_no_other_refusal_takes_the_words_of_a_film():
    for code in RefusalCode:
        if code is not RefusalCode.NOT_FRONTAL_CHEST:
            assert refusal_words(code, "looks=inverted") == dict(REFUSALS[code])
    assert refusal_words(RefusalCode.NOT_FRONTAL_CHEST) == dict(REFUSALS[RefusalCode.NOT_FRONTAL_CHEST])
    assert refusal_words(RefusalCode.NOT_FRONTAL_CHEST, "looks=odd frontal_chest=0.1")["en"].endswith("film.")
