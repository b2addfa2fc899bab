import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.errors import IncompleteObject, NotDicom, WrongSopClass
from hoichan.intake.door import identify, is_uid
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film


def identified(data_set, *, syntax=EXPLICIT_LITTLE, sop_class=None, instance=None, data=None):
    return identify(
        encode(data_set, syntax) if data is None else data,
        transfer_syntax_uid=syntax,
        sop_class_uid=sop_class or COMPUTED_RADIOGRAPHY,
        sop_instance_uid=instance or str(data_set.get("SOPInstanceUID", "1.2")),
    )


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_a_whole_film_is_identified(syntax):
    expected = film()
    identity = identified(expected, syntax=syntax)
    assert identity.study_instance_uid == expected.StudyInstanceUID
    assert identity.series_instance_uid == expected.SeriesInstanceUID
    assert identity.sop_instance_uid == expected.SOPInstanceUID
    assert identity.sop_class_uid == expected.SOPClassUID


UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@pytest.mark.parametrize("keyword", UIDS)
def test_a_missing_uid_is_incomplete(keyword):
    data_set = film()
    delattr(data_set, keyword)
    with pytest.raises(IncompleteObject, match="missing"):
        identified(data_set, instance=film().SOPInstanceUID)


@pytest.mark.parametrize("keyword", UIDS)
def test_an_empty_uid_is_incomplete(keyword):
    data_set = film()
    setattr(data_set, keyword, "")
    with pytest.raises(IncompleteObject, match="empty"):
        identified(data_set, instance=film().SOPInstanceUID)


BAD = [b"../../etc/passwd", b"1.2/3", b"1..2 ", b".1", b"1.", b"1.2\\1.3", b"1.2\0.3", b"\xff1.2", b"1" * 66]


@pytest.mark.parametrize("value", BAD)
def test_a_malformed_uid_is_incomplete_and_its_text_is_not_repeated(value):
    good = encode(film())
    old = film().StudyInstanceUID.encode()
    old += b"\0" * (len(old) % 2)
    start = good.index(b"\x20\x00\x0d\x00UI")
    padded = value + b"\0" * (len(value) % 2)
    data = good[: start + 6] + len(padded).to_bytes(2, "little") + padded + good[start + 8 + len(old) :]
    with pytest.raises(IncompleteObject) as caught:
        identified(film(), data=data)
    assert "1.2" not in str(caught.value) and "etc" not in str(caught.value)


def test_the_same_uid_twice_with_two_values_is_incomplete():
    other = film(study="other")
    for keyword in [e.keyword for e in other if e.keyword != "StudyInstanceUID"]:
        delattr(other, keyword)
    with pytest.raises(IncompleteObject, match="twice"):
        identified(film(), data=encode(film()) + encode(other))


def test_another_sop_class_than_the_request_is_wrong():
    with pytest.raises(WrongSopClass):
        identified(film(), sop_class="1.2.840.10008.5.1.4.1.1.2")


def test_another_instance_than_the_request_is_wrong():
    with pytest.raises(WrongSopClass):
        identified(film(), instance="1.2.3")


def test_an_empty_data_set_is_not_dicom():
    with pytest.raises(NotDicom):
        identified(film(), data=b"")


def test_truncated_pixels_are_not_dicom():
    with pytest.raises(NotDicom, match="7FE0,0010"):
        identified(film(), data=encode(film())[:-1])


@given(st.text(max_size=80))
def test_nothing_but_digits_and_dots_is_a_uid(text):
    if is_uid(text):
        assert re.fullmatch(r"[0-9.]{1,64}", text, re.ASCII)
        assert ".." not in text and not text.startswith(".") and not text.endswith(".")


@given(st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,6}){0,8}", fullmatch=True))
def test_dotted_numbers_are_uids(text):
    assert is_uid(text) is (len(text) <= 64)


@pytest.mark.parametrize("text", ["", "1.2\n", "1\u0663", "１.2", "1.2 ", "."])
def test_look_alikes_are_no_uids(text):
    assert not is_uid(text)
