from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from hoichan.errors import AuditRecordInvalid, ConfigurationError
from hoichan.guard.audit import (
    EVENTS,
    GENESIS,
    Audited,
    AuditRecord,
    Head,
    Outcome,
    append,
    canonical_bytes,
    chain,
    head,
    verify,
)

KEY = b"k" * 32
HASH_OF_THE_FIRST = "fbbc0e0c8d28e7fb54a5d96a7360ba66c313fcd770827697b1c332d47e629746"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def record(number=0, **changes):
    values = {
        "what": Audited.VIEWED,
        "when": NOON + timedelta(seconds=number),
        "who": "bs.an",
        "role": "radiologist",
        "source": "10.0.0.8",
        "uids": ("1.2.3",),
    }
    return AuditRecord(**{**values, **changes})


def log(length):
    records = []
    for number in range(length):
        records.append(append(records, record(number), KEY))
    return records


def test_a_log_that_nobody_touched_is_whole():
    assert verify([], KEY) is None
    assert verify(log(5), KEY) is None
    assert verify(log(5), KEY, head(log(3))) is None


@given(st.integers(1, 8), st.data())
@settings(max_examples=60, deadline=None)
def test_every_change_is_found_at_its_place(length, data):
    records = log(length)
    at = data.draw(st.integers(0, length - 1))
    field, value = data.draw(
        st.sampled_from(
            [
                ("what", Audited.RESULT_SIGNED),
                ("when", NOON - timedelta(microseconds=1)),
                ("who", "bs.binh"),
                ("role", "auditor"),
                ("source", ""),
                ("outcome", Outcome.MAJOR_FAILURE),
                ("uids", ("1.2.3", "1.2.4")),
                ("detail", "x"),
            ]
        )
    )
    records[at] = replace(records[at], record=replace(records[at].record, **{field: value}))
    assert verify(records, KEY) == at


@given(st.integers(2, 8), st.data())
@settings(max_examples=40, deadline=None)
def test_taking_out_putting_in_and_moving_are_found(length, data):
    at = data.draw(st.integers(0, length - 2))
    taken = log(length)
    del taken[at]
    assert verify(taken, KEY) == at
    doubled = log(length)
    doubled.insert(at + 1, doubled[at])
    assert verify(doubled, KEY) == at + 1
    moved = log(length)
    moved[at], moved[at + 1] = moved[at + 1], moved[at]
    assert verify(moved, KEY) == at


@given(st.integers(1, 8), st.data())
@settings(max_examples=30, deadline=None)
def test_cutting_off_is_seen_by_an_exported_head(length, data):
    records = log(length)
    left = data.draw(st.integers(0, length - 1))
    assert verify(records[:left], KEY) is None
    assert verify(records[:left], KEY, head(records)) == left


def test_a_log_written_anew_is_seen_by_an_exported_head():
    anew = []
    for number in range(4):
        anew.append(append(anew, record(number, who="bs.binh"), KEY))
    assert verify(anew, KEY) is None
    assert verify(anew, KEY, head(log(3))) == 2
    assert verify([], KEY, Head(length=0, hash=b"x" * 32)) == 0
    assert verify(log(2), KEY, Head(length=0, hash=GENESIS)) is None


def test_without_the_key_nothing_can_be_forged():
    assert verify(log(2), b"o" * 32) == 0
    with pytest.raises(ConfigurationError):
        chain(GENESIS, record(), b"short")
    with pytest.raises(AuditRecordInvalid):
        chain(b"", record(), KEY)


def test_canonical_bytes_are_these_for_ever():
    """A change here breaks every log that was ever written."""
    made = record(who="bác sĩ", when=datetime(2026, 11, 21, 19, tzinfo=timezone(timedelta(hours=7))))
    assert canonical_bytes(made) == (
        rb'{"format":1,"what":"study_viewed","when":"2026-11-21T12:00:00.000000Z","who":"b\u00e1c s\u0129",'
        rb'"role":"radiologist","source":"10.0.0.8","outcome":"0","uids":["1.2.3"],"detail":""}'
    )
    assert chain(GENESIS, record(), KEY).hex() == HASH_OF_THE_FIRST


def test_fields_cannot_flow_into_each_other():
    one, other = record(who="a", role='b","source":"c'), record(who="a", role="b", source="c")
    assert canonical_bytes(one) != canonical_bytes(other)
    assert canonical_bytes(record(uids=("1", "2"))) != canonical_bytes(record(uids=('1","2',)))


@pytest.mark.parametrize(
    "changes",
    [
        {"when": datetime(2026, 11, 21)},
        {"who": ""},
        {"role": ""},
        {"detail": "x" * 257},
        {"uids": ("1" * 257,)},
    ],
)
def test_a_record_that_says_too_little_or_too_much_is_refused(changes):
    with pytest.raises(AuditRecordInvalid):
        record(**changes)


def test_every_event_has_a_code_of_the_standard():
    assert set(EVENTS) == set(Audited)
    known = {code.value: code.meaning for code in codes.DCM.concepts.values()}
    for event in EVENTS.values():
        assert event.action in "CRUDE"
        for code in (event.event_id, event.event_type):
            assert code is None or known[code.code_value] == code.code_meaning
