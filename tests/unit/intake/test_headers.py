import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from hoichan.errors import NotDicom
from hoichan.intake.headers import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    PIXEL_DATA,
    Syntax,
    find,
    inflated,
    items,
    syntax_of,
    walk,
)
from hoichan.testing.datasets import encode, film

JPEG = "1.2.840.10008.1.2.4.70"


def walked(data, uid):
    plain = inflated(data, uid)
    return {e.tag: plain[e.start : e.start + e.length] for e in walk(plain, syntax_of(uid))}


@pytest.mark.parametrize("uid", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_every_native_syntax_gives_the_same_elements(uid):
    found = walked(encode(film(), uid), uid)
    assert found[0x00100020] == b"BN0001"
    assert sorted(found) == [int(element.tag) for element in film()]


def nested(depth, *, undefined):
    inner = Dataset()
    inner.PatientID = "X"
    for _ in range(depth):
        outer = Dataset()
        outer.OtherPatientIDsSequence = Sequence([inner])
        inner.is_undefined_length_sequence_item = undefined
        outer["OtherPatientIDsSequence"].is_undefined_length = undefined
        inner = outer
    return inner


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("uid", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_nested_sequences_are_stepped_over_and_can_be_opened(uid, undefined):
    data = encode(nested(3, undefined=undefined), uid)
    (sequence,) = walk(data, syntax_of(uid))
    assert sequence.start + sequence.length == len(data)
    (item,) = items(data, syntax_of(uid), sequence)
    assert [element.tag for element in item] == [0x00101002]


def test_bottomless_nesting_is_refused():
    with pytest.raises(NotDicom, match="deeply"):
        list(walk(encode(nested(40, undefined=True)), syntax_of(EXPLICIT_LITTLE)))


def test_an_unknown_vr_of_undefined_length_is_read_as_implicit():
    inner = encode(nested(1, undefined=True), IMPLICIT_LITTLE)
    data = struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + inner[8:]
    (element,) = walk(data, syntax_of(EXPLICIT_LITTLE))
    assert element.undefined
    assert len(list(items(data, syntax_of(EXPLICIT_LITTLE), element))) == 1


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_cut_anywhere_is_noticed_or_falls_between_two_elements(data):
    whole = encode(film())
    borders = {e.start + e.length for e in walk(whole, syntax_of(EXPLICIT_LITTLE))} | {0}
    cut = data.draw(st.integers(0, len(whole) - 1))
    if cut in borders:
        return
    with pytest.raises(NotDicom):
        list(walk(whole[:cut], syntax_of(EXPLICIT_LITTLE)))


@given(
    st.binary(max_size=400),
    st.sampled_from([IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, JPEG]),
)
@settings(max_examples=300, deadline=None)
def test_garbage_ends_in_elements_or_in_notdicom(data, uid):
    with suppress(NotDicom):
        walked(data, uid)


@given(st.data(), st.sampled_from([IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]))
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_end_in_elements_or_in_notdicom(data, uid):
    mutant = bytearray(encode(film(), uid))
    for _ in range(data.draw(st.integers(1, 8))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    with suppress(NotDicom):
        walked(bytes(mutant), uid)


def encapsulated(value):
    return encode(film(pixels=None)) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + value


END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_encapsulated_pixels_pass():
    data = encapsulated(encapsulate([b"frame one ", b"frame two "]) + END)
    assert PIXEL_DATA in walked(data, JPEG)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage that is no item",
        END,
        struct.pack("<HHI", 0xFFFE, 0xE000, 0) + END,
        encapsulate([b"frame"]),
        encapsulate([b"frame of some length"])[:-6],
        struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + END,
    ],
    ids=["nothing", "garbage", "no item", "no fragment", "no end", "cut off", "undefined item"],
)
def test_encapsulated_garbage_is_refused(value):
    with pytest.raises(NotDicom):
        walked(encapsulated(value), JPEG)


def test_native_pixels_in_an_encapsulated_syntax_are_refused():
    with pytest.raises(NotDicom, match="transfer syntax"):
        walked(encode(film()), JPEG)


def test_encapsulated_pixels_in_a_native_syntax_are_refused():
    with pytest.raises(NotDicom, match="transfer syntax"):
        walked(encapsulated(encapsulate([b"frame"]) + END), EXPLICIT_LITTLE)


def test_a_deflated_data_set_that_is_cut_off_is_refused():
    with pytest.raises(NotDicom, match="deflated"):
        inflated(encode(film(), DEFLATED)[:-20], DEFLATED)


def test_padding_of_zeros_after_the_last_element_is_tolerated():
    assert PIXEL_DATA in walked(encode(film()) + b"\0\0", EXPLICIT_LITTLE)


def test_stopping_early_reads_nothing_behind():
    whole = encode(film())
    tags = [e.tag for e in walk(whole[:-10], syntax_of(EXPLICIT_LITTLE), stop_at=PIXEL_DATA)]
    assert tags and max(tags) < PIXEL_DATA


def test_syntaxes_are_told_apart():
    assert syntax_of(IMPLICIT_LITTLE) == Syntax(implicit=True, little=True, native=True)
    assert syntax_of(EXPLICIT_BIG) == Syntax(implicit=False, little=False, native=True)
    assert syntax_of(JPEG) == Syntax(implicit=False, little=True, native=False)


def told(elements):
    """The elements, and the text of the error that ended them."""
    found = []
    try:
        found.extend(elements)
    except NotDicom as error:
        return found, str(error)
    return found, None


@given(st.data(), st.sampled_from([IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, JPEG]))
@settings(max_examples=150, deadline=None)
def test_finding_some_is_walking_over_all(data, uid):
    """Whole, cut off, or with a flipped byte: the same elements, the same error, in the same order."""
    written = EXPLICIT_LITTLE if uid == JPEG else uid  # native pixels in JPEG: refused by both
    whole = bytearray(encode(film(), written))
    whole += encode(nested(2, undefined=data.draw(st.booleans())), written)
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    wanted = {0x00080016, 0x00080018, 0x0020000D, PIXEL_DATA, 0x00101002}
    walked_over, error = told(walk(cut, syntax_of(uid)))
    assert told(find(cut, syntax_of(uid), wanted)) == ([e for e in walked_over if e.tag in wanted], error)
