from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.errors import ConfigurationError
from hoichan.guard.pseudonyms import Pseudonyms, is_valid_uid, is_well_known

ONE, OTHER = Pseudonyms(bytes(32)), Pseudonyms(b"\1" * 32)


@given(st.text(max_size=64))
@settings(deadline=None)
def test_the_same_input_gives_the_same_and_another_key_another(text):
    assert ONE.uid(text) == Pseudonyms(bytes(32)).uid(text) != OTHER.uid(text)
    assert ONE.patient_id(text) == Pseudonyms(bytes(32)).patient_id(text) != OTHER.patient_id(text)
    assert ONE.shift(text) == Pseudonyms(bytes(32)).shift(text)


@given(st.text(max_size=64))
@settings(deadline=None)
def test_what_comes_out_is_valid(text):
    assert is_valid_uid(ONE.uid(text))
    assert len(ONE.uid(text)) <= 44
    assert len(ONE.patient_id(text)) == 16
    assert timedelta(days=-3_650) <= ONE.shift(text) <= timedelta(days=-1)
    assert timedelta(days=-1) < ONE.shift_of_time(text) < timedelta(0)


def test_purposes_do_not_meet():
    assert ONE.uid("a") != ONE.uid("b")
    assert ONE.patient_id("a") != ONE.patient_id("b")


def test_every_date_moves_and_every_shift_is_used():
    shifts = {ONE.shift(str(number)).days for number in range(60_000)}
    assert shifts == set(range(-3_650, 0))


def test_a_short_key_is_refused():
    with pytest.raises(ConfigurationError):
        Pseudonyms(b"0" * 31)


def test_registered_uids_are_known():
    assert is_well_known("1.2.840.10008.1.2.1")
    assert is_well_known("1.2.840.10008.1.4.1.1")
    assert not is_well_known("1.2.840.10008.999.1")
    assert not is_well_known("")


@pytest.mark.parametrize("text", ["", "1..2", "01.2", "1.2.", "1" * 65, "1.2.MARKER", "1.2\n"])
def test_malformed_uids_are_not_valid(text):
    assert not is_valid_uid(text)
