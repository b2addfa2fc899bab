"""JSON of somebody else: every text in it can be kept and said back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.intake.json_bodies import loaded

values = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda more: st.lists(more) | st.dictionaries(st.text(), more),
)


@given(values)
def test_what_is_written_is_read(value):
    assert loaded(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "body", [b'"\\ud800"', b'{"a": ["\\udfff"]}', b'{"\\ud83d": 1}', b'"\xed\xa0\x80"', b"{", b""]
)
def test_half_of_a_letter_is_no_text(body):
    with pytest.raises(ValueError):
        loaded(body)
