"""Ending an association, also one that ended in a way that pynetdicom does not notice."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest
from pynetdicom import AE, build_context, evt

from hoichan.adapters.associations import Checkpoint, associate, release
from hoichan.testing.house import wait_until

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def port():
    entity = AE()
    entity.ae_title, entity.require_called_aet = "ANY-SCP", True
    entity.add_supported_context(VERIFICATION)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    yield server.socket.getsockname()[1]
    server.shutdown()


@pytest.fixture
def association(port):
    made = associate(AE(), "127.0.0.1", port, contexts=[build_context(VERIFICATION)])
    assert made.is_established
    return made


def test_a_living_association_is_released(association):
    release(association)
    assert association.is_released


@pytest.mark.timeout(30)
def test_one_that_was_aborted_while_it_was_made_is_not_waited_for(association):
    association.abort()
    association.is_established, association._is_paused = True, False  # as the race leaves it
    release(association)
    assert not association.is_released


def test_a_rejection_that_comes_before_we_look_is_one(port):
    """pynetdicom then finds its connection closed, and believes that there was none."""

    def wait_for_the_end(event):
        wait_until(lambda: not event.assoc.dul.is_alive(), seconds=60, what="it is rejected")

    made = associate(
        AE(),
        "127.0.0.1",
        port,
        ae_title="OTHER",
        contexts=[build_context(VERIFICATION)],
        evt_handlers=[(evt.EVT_REQUESTED, wait_for_the_end)],
    )
    assert made.is_rejected and not made.is_established
    assert (made.acceptor.primitive.result, made.acceptor.primitive.diagnostic) == (0x01, 0x07)


def test_one_that_was_never_made_is_nothing_to_end(port):
    release(associate(AE(), "127.0.0.1", port, contexts=[build_context("1.2.840.10008.5.1.4.1.1.2")]))


@pytest.fixture
def reactor():
    """What pynetdicom's reactor says of itself."""
    return SimpleNamespace(_is_paused=False)


def test_our_associations_keep_nothing_back(association):
    wire = association.dul.socket.socket
    assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert association.send_c_echo().Status == 0
    release(association)


def test_our_associations_hold_their_reactor(association):
    assert isinstance(association._reactor_checkpoint, Checkpoint)
    assert association.send_c_echo().Status == 0
    release(association)


def test_a_reactor_that_goes_on_no_longer_says_that_it_stands(reactor):
    checkpoint = Checkpoint(reactor)
    reactor._is_paused = True  # pynetdicom says so before it asks whether it may go on
    assert checkpoint.wait(60)
    assert not reactor._is_paused


def test_it_stands_until_the_answer_is_here(reactor):
    checkpoint = Checkpoint(reactor)
    checkpoint.clear()
    assert not reactor._is_paused
    gone_on = threading.Event()

    def stand():
        checkpoint.wait(60)
        gone_on.set()

    thread = threading.Thread(target=stand)
    thread.start()
    wait_until(lambda: reactor._is_paused, seconds=60, what="standing")
    reactor._is_paused = False  # as a report that was served beside it does when it ends
    wait_until(lambda: reactor._is_paused, seconds=60, what="standing still")
    checkpoint.clear()  # the next question, asked while it still stands
    assert reactor._is_paused and not gone_on.is_set()
    checkpoint.set()
    assert gone_on.wait(60) and not reactor._is_paused
    thread.join(60)


def test_it_does_not_stand_for_ever(reactor):
    checkpoint = Checkpoint(reactor)
    checkpoint.clear()
    assert not checkpoint.wait(0.001)
    assert not reactor._is_paused
