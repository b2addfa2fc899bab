"""One answer for every outcome, and nothing of the message in it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan import er7
from hoichan.adapters.sink_mllp import VERDICTS, error_codes
from hoichan.encoding.hl7_ack import encode_ack
from hoichan.errors import (
    HoichanError,
    MessageUnreadable,
    MessageUnsupported,
    RecordsUnavailable,
    StudyUnknown,
)

NOW = datetime(2026, 11, 20, 8, 15, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
ORDER = b"MSH|^~\\&|RIS|BV|HOICHAN|79001|20261120||ORM^O01^ORM_O01|42|T|2.3.1\rPID|||MARKER||MARKER\r"


@pytest.mark.parametrize(
    ("error", "code", "reasons"),
    [
        (None, "AA", ()),
        (MessageUnsupported(), "AR", ("200",)),
        (MessageUnreadable("MARKER"), "AE", ("101",)),
        (RecordsUnavailable(), "AR", ("207",)),
        (StudyUnknown(), "AE", ("207",)),
        (HoichanError(), "AE", ("207",)),
    ],
)
def test_every_outcome_has_its_answer(error, code, reasons):
    content = encode_ack(ORDER, error, NOW)
    answer = er7.read(content)
    acknowledgement = answer.first("MSA")
    assert acknowledgement is not None
    assert (acknowledgement.text(1), acknowledgement.text(2)) == (code, "42")
    assert error_codes(answer) == reasons
    assert code in VERDICTS and b"MARKER" not in content


def test_the_answer_goes_back_where_the_message_came_from():
    header = er7.read(encode_ack(ORDER, None, NOW)).header
    assert [header.text(number) for number in (3, 4, 5, 6)] == ["HOICHAN", "79001", "RIS", "BV"]
    assert header.raw(9) == "ACK^O01^ACK"
    assert (header.text(7), header.text(11), header.text(12)) == ("20261120081500+0700", "T", "2.3.1")
    assert len(header.text(10)) == 20


@given(st.binary())
def test_anything_is_answered(content):
    answer = er7.read(encode_ack(content, MessageUnreadable(), NOW))
    assert [segment.name for segment in answer.segments] == ["MSH", "MSA", "ERR"]
