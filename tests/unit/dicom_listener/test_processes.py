import json
import os
import socket
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest

from dicom_listener.lane import Step
from dicom_listener.processes import Helpers, as_many_as_fit
from dicom_listener.statuses import Answer

AGREED = {"title": "CT", "contexts": {"1": ["1.2", "1.2.840.10008.1.2"]}, "unmarked": []}


@contextmanager
def helpers(number=1, margin=2, crowd=None):
    """So many helpers, and the ends at which they would listen."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(number)]
    made = Helpers([ours for ours, _ in pairs], margin=margin, crowd=crowd)
    try:
        yield made, [theirs for _, theirs in pairs]
    finally:
        made.close()
        for _, theirs in pairs:
            theirs.close()


@contextmanager
def connection():
    here, there = socket.socketpair()
    with here, there:
        yield here


@contextmanager
def taken(end):
    """What a helper gets: the channel, and what it was told."""
    message, handles, _, _ = socket.recv_fds(end, 1 << 17, 2)
    os.close(handles[0])
    with Connection(handles[1]) as channel:
        yield channel, json.loads(message)


def test_one_modality_stays_and_of_two_one_goes():
    with helpers() as (made, (end,)), connection() as wire:
        made.count(1)
        assert not made.has_room and made.take(wire, AGREED, b"") is None
        made.count(1)
        assert made.has_room
        away = made.take(wire, AGREED, b"unread")
        assert made.shares == (1, 1)
        with taken(end) as (channel, agreed):
            assert (agreed, channel.recv_bytes()) == (AGREED, b"unread")
        away.close()
        away.close()
        assert made.shares == (1, 0)


def test_the_one_with_least_to_do_gets_it():
    with helpers(3) as (made, _), connection() as wire:
        made.count(8)
        while made.take(wire, AGREED, b"") is not None:
            pass
        assert made.shares == (2, 2, 2, 2)


def test_they_are_woken_without_a_connection_and_nobody_minds_one_that_has_gone():
    with helpers(2) as (made, (one, other)):
        other.close()
        made.wake()
        message, handles, _, _ = socket.recv_fds(one, 1 << 17, 2)
        assert (message, handles) == (b"{}", [])
        assert made.shares == (0, 0, 0)


def test_a_helper_that_has_gone_gets_nothing_more():
    with helpers() as (made, (end,)), connection() as wire:
        made.count(3)
        end.close()
        assert made.take(wire, AGREED, b"") is None
        assert made.shares == (3,) and not made.has_room


def test_what_a_helper_says_is_heard_and_answered():
    opened, told, unmarked = [], [], []

    def hear():
        return away.hear(
            lambda study: opened.append(study) or study == "1.2",
            lambda *both: told.append(both),
            unmarked.extend,
        )

    with helpers() as (made, (end,)), connection() as wire:
        made.count(2)
        away = made.take(wire, AGREED, b"")
        with taken(end) as (channel, _):
            assert channel.recv_bytes() == b""
            for study, answer in (("1.2", True), ("1.3", False)):
                channel.send_bytes(json.dumps({"open": study}).encode())
                assert hear() is None and json.loads(channel.recv_bytes()) == {"open": answer}
            away.call_back()
            away.call_back()
            assert json.loads(channel.recv_bytes()) == {"back": 1} and not channel.poll()
            one = {"answer": {"status": 0, "comment": ""}, "details": {"study": "1.2"}}
            channel.send_bytes(json.dumps({"told": [one], "unmarked": ["1.4"]}).encode())
            assert hear() is None
            channel.send_bytes(json.dumps({"over": "BROKEN"}).encode())
            channel.send_bytes(b"rest")
            assert hear() == (Step.BROKEN, b"rest")
    assert opened == ["1.2", "1.3"] and unmarked == ["1.4"]
    assert told == [(Answer(status=0, comment=""), {"study": "1.2"})]
    assert made.shares == (1,)


def test_a_helper_that_dies_is_heard():
    with helpers() as (made, (end,)), connection() as wire:
        made.count(2)
        away = made.take(wire, AGREED, b"")
        with taken(end):
            pass
        with pytest.raises((EOFError, OSError)):
            away.hear(bool, print, print)


@pytest.mark.parametrize(
    ("processors", "processes"),
    [
        (None, (1, None)),
        (1, (1, None)),
        (2, (2, 8)),
        (3, (2, 8)),
        (4, (2, None)),
        (7, (3, None)),
        (64, (4, None)),
    ],
)
def test_there_are_as_many_as_leave_half_of_the_machine_to_others(monkeypatch, processors, processes):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert as_many_as_fit() == processes


def test_a_crowd_is_left_to_one_process_until_half_of_it_has_gone():
    with helpers(crowd=4) as (made, (end,)), connection() as wire:
        made.count(4)
        away = made.take(wire, AGREED, b"")
        with taken(end):
            assert made.shares == (3, 1) and made.has_room and not made.is_crowded
            made.count(1)
            assert made.is_crowded and not made.has_room and made.take(wire, AGREED, b"") is None
            away.close()  # called back
            made.count(1)
            made.count(-2)
            assert made.shares == (3, 0) and made.is_crowded
            made.count(-1)
            assert not made.is_crowded and made.has_room


def test_without_a_bound_there_is_no_crowd():
    with helpers() as (made, _):
        made.count(100)
        assert not made.is_crowded and made.has_room


def test_one_that_joins_opens_the_spool_and_takes_its_share():
    with helpers(0) as (made, _), connection() as wire:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            made.count(2)
            assert not made.has_room
            made.join(ours)
            assert theirs.recv(1 << 17) == b"{}"
            assert made.has_room and made.take(wire, AGREED, b"") is not None
            assert made.shares == (1, 1)


def test_one_that_parts_gets_nothing_more_and_what_it_had_is_counted_no_more():
    with helpers() as (made, (end,)), connection() as wire:
        made.count(2)
        away = made.take(wire, AGREED, b"")
        (ours,) = made._load
        made.part(ours)
        made.part(ours)
        assert made.shares == (1,) and made.take(wire, AGREED, b"") is None
        away.close()
        assert made.shares == (1,)
        with taken(end):
            assert end.recv(1) == b""


def test_who_joins_after_the_end_hears_the_end():
    with helpers() as (made, _):
        made.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            made.join(ours)
            assert theirs.recv(1) == b"" and made.shares == (0,)
