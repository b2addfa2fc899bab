"""A helper of the listener that dies is replaced while the listener runs; nothing unfinished of it stays."""

import json
import os
import select
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.testing.datasets import encode, film
from hoichan.testing.house import wait_until
from tests.integration.test_helpers import SUCCESS, children_of, helpers_of, is_gone, sent
from tests.integration.test_lane import CONTEXT, SECONDS, bare, parts, read_pdu, told
from tests.integration.test_listener import Process
from tests.unit.dicom_listener.test_lane import pdu, pdv

HALF = 1 << 19


@pytest.fixture
def listener(tmp_path):
    started = Process(tmp_path, more="processes = 3\n")
    yield started
    started.end(signal.SIGKILL)


def events(listener, name):
    lines = map(json.loads, listener.log.read_text().splitlines())
    return [line for line in lines if line["event"] == name]


def logged(listener, name):
    """The lines of an event, once there is one."""
    return wait_until(lambda: events(listener, name), seconds=SECONDS, what=name)


def large(instance):
    return film(instance=instance, pixels=bytes(2 * HALF))


def begin(wire, instance):
    one = large(instance)
    wire.sendall(pdu(told(one)) + pdu(pdv(encode(one)[:HALF], 0, context=CONTEXT)))


def finish(wire, instance):
    wire.sendall(pdu(pdv(encode(large(instance))[HALF:], 2, context=CONTEXT)))
    return read_pdu(wire)


def writers(spool):
    """The process of each unfinished object; a helper that starts tries the folder with a file of none."""
    return sorted(int(part.stem.split("-")[1]) for part in parts(spool) if "-" in part.stem)


def of_this(folder):
    """Every living process of the listener of a folder; all of them have its command line."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.fsencode(folder) in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [pid for pid in found if not is_gone(pid)]


def test_a_new_helper_stores_and_what_the_dead_one_left_is_swept(listener, tmp_path):
    port, folder = listener.port, tmp_path / "data" / "spool"
    dead, alive = helpers_of(listener.popen.pid)
    with ExitStack() as stack:
        wires = [stack.enter_context(bare(port)) for _ in range(6)]
        for number, wire in enumerate(wires):
            assert SUCCESS in sent(wire, film(instance=f"first {number}"))
        for number, wire in enumerate(wires):
            begin(wire, f"large {number}")
        everyone = sorted([dead, dead, alive, alive, listener.popen.pid, listener.popen.pid])
        wait_until(lambda: writers(folder) == everyone, seconds=SECONDS, what="two objects at each process")
        os.kill(dead, signal.SIGKILL)
        (replaced,) = logged(listener, "helper_replaced")
        assert sorted(helpers_of(listener.popen.pid)) == sorted([alive, replaced["pid"]])
        (lost,) = [line for line in events(listener, "helper_lost") if "pid" in line]
        assert (lost["pid"], lost["ended"]) == (dead, "SIGKILL")
        left = [pid for pid in everyone if pid != dead]
        wait_until(lambda: writers(folder) == left, seconds=SECONDS, what="its unfinished files are gone")

        aborted = wait_until(
            lambda: len(ready := select.select(wires, [], [], 0)[0]) == 2 and ready,
            seconds=SECONDS,
            what="its two senders hear an abort",
        )
        assert [read_pdu(wire)[:1] for wire in aborted] == [b"\7", b"\7"]
        again = [wires.index(wire) for wire in aborted]
        for number in set(range(6)) - set(again):
            assert SUCCESS in finish(wires[number], f"large {number}")
        for number in again:
            wire = stack.enter_context(bare(port))
            assert SUCCESS in sent(wire, film(instance=f"again {number}"))
            begin(wire, f"large {number}")
            wires[number] = wire
        wait_until(lambda: replaced["pid"] in writers(folder), seconds=SECONDS, what="the new one receives")
        for number in again:
            assert SUCCESS in finish(wires[number], f"large {number}")
    spool, study = DiskSpool(folder), film().StudyInstanceUID
    wait_until(lambda: not spool.is_open(study), seconds=SECONDS, what="the study is closed")
    assert len(spool.listing(study)) == 6 + 6 + 2
    assert parts(folder) == []


def test_nothing_is_left_running_when_the_listener_ends_while_a_helper_is_replaced(listener, tmp_path):
    """The nursery stands still, so that the request for a new helper waits when the listener ends."""
    assert listener.port
    helper, _ = helpers_of(listener.popen.pid)
    (nursery,) = children_of(listener.popen.pid)
    os.kill(helper, signal.SIGKILL)
    wait_until(
        lambda: [line for line in events(listener, "helper_lost") if "pid" in line],
        seconds=SECONDS,
        what="it is missed",
    )
    os.kill(nursery, signal.SIGSTOP)
    logged(listener, "helper_awaited")
    try:
        assert listener.end(signal.SIGTERM) == 0
    finally:
        os.kill(nursery, signal.SIGCONT)
    wait_until(lambda: not of_this(tmp_path), seconds=SECONDS, what="all have ended")


@pytest.mark.parametrize("event", ["helper_swept", "helper_replaced"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_processes_end_with_a_listener_that_replaces_one(listener, tmp_path, event, number):
    assert listener.port
    os.kill(helpers_of(listener.popen.pid)[0], signal.SIGKILL)
    logged(listener, event)
    assert listener.end(number) == (0 if number == signal.SIGTERM else -number)
    wait_until(lambda: not of_this(tmp_path), seconds=SECONDS, what="all have ended")


def test_without_its_nursery_the_listener_says_so_and_goes_on(listener, tmp_path):
    port = listener.port
    helpers = helpers_of(listener.popen.pid)
    (nursery,) = children_of(listener.popen.pid)
    os.kill(nursery, signal.SIGKILL)
    logged(listener, "nursery_lost")
    wait_until(lambda: not children_of(listener.popen.pid), seconds=SECONDS, what="no zombie stays")
    with bare(port) as one, bare(port) as two:
        for number, wire in enumerate([one, two, one, two]):
            assert SUCCESS in sent(wire, film(instance=str(number)))
    assert not any(map(is_gone, helpers))
    assert listener.end(signal.SIGTERM) == 0
    wait_until(lambda: not of_this(tmp_path), seconds=SECONDS, what="all have ended")
