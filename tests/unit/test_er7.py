"""Any text survives the delimiters, and whatever comes in is read or refused, never stumbled over."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hoichan import er7
from hoichan.errors import MessageUnreadable

MSH = r"MSH|^~\&|RIS|BV|HOICHAN|79001|20261120081500||ORM^O01|42|P|2.5.1"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
AWKWARD = st.text("|^~\\&\r\n\"XEFSTR.br0D'ộ ")


@given(TEXTS | AWKWARD)
@example('""')
@example("\\.br\\")
@example("\\X0D\\\\")
@example("a\r\nb\x0b\x1c|^~\\&")
def test_any_text_survives(text):
    escaped = er7.escape(text)
    assert er7.unescape(escaped) == text
    assert not re.search(r"[|^~&\x00-\x1f\x7f]", escaped)
    assert escaped != er7.NULL


@given(st.lists(TEXTS | AWKWARD, min_size=1, max_size=5))
def test_fields_components_and_repetitions_do_not_run_into_each_other(texts):
    line = er7.segment("ZZZ", {2: texts[0], 4: tuple(texts), 5: [*texts], 7: ("", tuple(texts))})
    (_, read) = er7.read(f"{MSH}\r{line}\r".encode()).segments

    def seen(text):
        return unicodedata.normalize("NFC", text).strip()

    assert read.text(2) == seen(texts[0])
    assert [read.text(4, number) for number in range(1, len(texts) + 1)] == [seen(text) for text in texts]
    assert [read.text(7, 2, number) for number in range(1, len(texts) + 1)] == [seen(text) for text in texts]
    kept = [text for text in texts if text]
    assert [read.part(each, 1) for each in read.repetitions(5)] == [seen(text) for text in kept]


def test_a_value_stands_at_its_number():
    assert er7.segment("PID", {1: "1", 3: [("7", "", "", "BV", "MR")], 8: "F"}) == "PID|1||7^^^BV^MR|||||F"
    assert er7.segment("MSH", {3: "A", 10: "42"}) == r"MSH|^~\&|A|||||||42"
    assert er7.segment("NTE", {1: "1", 3: ""}) == "NTE|1"


def test_the_header_counts_its_delimiter_as_field_1():
    message = er7.read(f"{MSH}\r".encode())
    assert (message.header.raw(1), message.header.raw(2), message.header.text(9, 2)) == ("|", r"^~\&", "O01")
    assert message.control_id == "42"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_any_end_of_a_segment_is_read(end):
    message = er7.read(end.join(["\ufeff" + MSH, "PID|1||7", "", "trailing words", "OBX|1"]).encode())
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "OBX"]


def test_other_delimiters_are_read():
    message = er7.read(b"MSH$%*!@$RIS\rPID$1$$7%x@y!T!z*8")
    pid = message.first("PID")
    assert pid is not None
    assert (pid.text(3), pid.text(3, 2), pid.text(3, 2, 2)) == ("7", "x", "y@z")
    assert len(pid.repetitions(3)) == 2


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\H\b\N\c", "abc"),
        (r"a\.br\b\.sp2\c", "a\nb\nc"),
        (r"\X4E67\ \XC3A2\u", "Ng âu"),
        (r"C:\path\file", r"C:\path\file"),
        (r"half \F", r"half \F"),
        (r"\Z12\ \F\ ", r"\Z12\ | "),
    ],
)
def test_sequences_of_the_standard_are_taken_and_others_left(raw, text):
    assert er7.unescape(raw) == text


@pytest.mark.parametrize(
    ("page", "declared"), [("utf-8", "8859/1"), ("utf-8", ""), ("cp1258", ""), ("latin-1", "8859/1")]
)
def test_letters_are_read_whatever_is_declared(page, declared):
    name = "Trà" if page == "latin-1" else "Trần"
    spelled = unicodedata.normalize("NFC", name)
    if page == "cp1258":  # writes base letter and tone apart
        spelled = spelled.replace("ầ", "â\u0300")
    content = f"{MSH}||||||{declared}\rPID|||||{spelled}".encode(page)
    pid = er7.read(content).first("PID")
    assert pid is not None and pid.text(5) == name


@pytest.mark.parametrize(
    "content", [b"", b"MSH", b"MSH|", b"MSH|^^\\&|A", b"MSHA^~", b"PID|1", b"\xff\xfe", b"AA"]
)
def test_what_is_no_message_is_refused(content):
    with pytest.raises(MessageUnreadable):
        er7.read(content)


@given(st.binary() | st.binary().map(lambda tail: b"MSH|^~\\&|" + tail))
def test_anything_is_read_or_refused(content):
    try:
        message = er7.read(content)
    except MessageUnreadable:
        return
    for segment in message.segments:
        for number in range(len(segment.fields) + 2):
            assert isinstance(segment.text(number), str)


def test_a_message_cannot_be_printed():
    message = er7.read(f"{MSH}\rPID|||MARKER".encode())
    for thing in (message, message.first("PID")):
        assert "MARKER" not in f"{thing!r} {thing}"


def test_vietnamese_becomes_ascii():
    assert (
        er7.transliterate("Tràn dịch màng phổi – ĐỖ Ứng “đ” ≥ 5") == 'Tran dich mang phoi - DO Ung "d" >= 5'
    )


@given(TEXTS)
def test_a_transliterated_text_is_ascii_and_still_escaped(text):
    assert er7.transliterate(text).isascii()
    assert not re.search(r"[|^~&\r\n]", er7.escape(er7.transliterate(text)))
