"""Associations that a second process of the listener takes: what they leave is what one process leaves."""

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from pynetdicom import build_context

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import read_meta
from hoichan.meters import Key, Tally
from hoichan.settings import Sender
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.house import wait_until
from tests.helped import helped
from tests.integration.test_lane import CONTEXT, SECONDS, bare, break_off, parts, read_pdu, told
from tests.integration.test_listener import Process, association, opened, send
from tests.integration.test_storage_commitment import CONTEXTS, Hearing, ask, request
from tests.unit.dicom_listener.test_lane import pdu, pdv

SUCCESS = b"\0\0\0\x09\2\0\0\0\0\0"  # (0000,0900)
TITLE = "CR_ROOM1"


def sent(wire, data_set):
    """The answer to one object, whole."""
    wire.sendall(pdu(told(data_set), pdv(encode(data_set), 2, context=CONTEXT)))
    return read_pdu(wire)


def with_helper(wire, helpers):
    """Sends one object; the association is the helper's when it returns."""
    assert SUCCESS in sent(wire, film(instance="first"))
    wait_until(lambda: helpers.shares == (0, 1), seconds=SECONDS, what="the helper has it")


def test_of_two_modalities_each_process_has_one(tmp_path):
    spool = DiskSpool(tmp_path)
    with helped(spool, margin=2) as helpers, opened(spool, helpers) as port, ExitStack() as stack:
        one, two = (stack.enter_context(association(port)) for _ in range(2))
        assert send(one, film(instance="1")).Status == 0x0000
        wait_until(lambda: helpers.shares == (1, 0), seconds=SECONDS, what="it is counted, after its answer")
        assert send(two, film(instance="2")).Status == 0x0000
        wait_until(lambda: helpers.shares == (1, 1), seconds=SECONDS, what="one is handed over")
        assert [send(made, film(instance=str(n))).Status for n in range(3, 9) for made in (one, two)] == [
            0
        ] * 12
        stack.close()
        wait_until(lambda: helpers.shares == (0, 0), seconds=SECONDS, what="both are over")
    assert len(spool.listing(film().StudyInstanceUID)) == 8


def test_when_there_is_a_crowd_all_come_back_and_some_go_again_after_it(tmp_path):
    spool = DiskSpool(tmp_path)
    with helped(spool, crowd=2) as helpers, opened(spool, helpers) as port, ExitStack() as stack:
        one = stack.enter_context(association(port))
        assert send(one, film(instance="0")).Status == 0x0000
        wait_until(lambda: helpers.shares == (0, 1), seconds=SECONDS, what="the helper has it")
        with association(port) as two, association(port) as three:
            assert send(two, film(instance="1")).Status == 0x0000
            assert send(three, film(instance="2")).Status == 0x0000
            wait_until(lambda: helpers.shares == (3, 0), seconds=SECONDS, what="the helper gave back")
            for number, made in enumerate([one, two, three], start=3):
                assert send(made, film(instance=str(number))).Status == 0x0000
            assert helpers.shares == (3, 0)
        wait_until(lambda: helpers.shares == (1, 0), seconds=SECONDS, what="two are over")
        assert send(one, film(instance="6")).Status == 0x0000
        wait_until(lambda: helpers.shares == (0, 1), seconds=SECONDS, what="the helper has it again")
        assert send(one, film(instance="7")).Status == 0x0000
    assert len(spool.listing(film().StudyInstanceUID)) == 8


def test_the_bytes_the_mark_and_the_counts_are_those_of_one_process(tmp_path):
    spool, tally = DiskSpool(tmp_path), Tally()
    senders = (Sender(ae_title="BARE", host="127.0.0.1"),)
    films = [
        film(study=study, instance=str(n), pixels=bytes([n]) * 70_000) for study in "ab" for n in range(9)
    ]
    with helped(spool) as helpers, opened(spool, helpers, tally, senders=senders) as port:
        with bare(port) as wire:
            with_helper(wire, helpers)
            wire.sendall(
                b"".join(pdu(told(one), pdv(encode(one), 2, context=CONTEXT)) for one in [*films, films[0]])
            )
            for _ in range(len(films) + 1):
                assert SUCCESS in read_pdu(wire)
            assert spool.is_open(films[0].StudyInstanceUID) and spool.is_open(films[-1].StudyInstanceUID)
        for study in spool.every_study():
            wait_until(lambda: not spool.is_open(study), seconds=SECONDS, what="it is closed")  # noqa: B023
    for one in films:
        paths = {path.stem: path for path in (tmp_path / "studies").rglob("*.dcm")}
        content = paths[one.SOPInstanceUID].read_bytes()
        assert content[read_meta(content).offset :] == encode(one)
    counts = tally.take()
    assert counts[Key("instances_received_total", ("BARE", "stored"))] == len(films) + 1
    assert counts[Key("instances_received_total", ("BARE", "duplicate"))] == 1
    assert parts(tmp_path) == []


def test_an_echo_comes_back_to_the_first_process():
    spool = FakeSpool()
    contexts = [build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE), build_context("1.2.840.10008.1.1")]
    with (
        helped(spool) as helpers,
        opened(spool, helpers) as port,
        association(port, contexts=contexts) as made,
    ):
        for number in range(5):
            assert send(made, film(instance=str(number))).Status == 0x0000
            assert made.send_c_echo().Status == 0x0000
    assert len(spool.listing(film().StudyInstanceUID)) == 5


@pytest.mark.parametrize("end", ["reset", "closed", "aborted", "spoilt", "silent"])
def test_an_object_that_breaks_off_leaves_nothing(tmp_path, end):
    spool, large = DiskSpool(tmp_path), film(instance="large", pixels=bytes(1 << 20))
    patience = 3 if end == "silent" else 60
    with (
        helped(spool) as helpers,
        opened(spool, helpers, network_timeout_seconds=patience) as port,
        bare(port) as wire,
    ):
        with_helper(wire, helpers)
        wire.sendall(pdu(told(large)) + pdu(pdv(encode(large)[: 1 << 19], 0, context=CONTEXT)))
        if end != "silent":
            wait_until(lambda: parts(tmp_path), seconds=SECONDS, what="it arrives")
        break_off(wire, end)
        wait_until(lambda: not parts(tmp_path), seconds=SECONDS, what="nothing is left")
        study = film().StudyInstanceUID
        wait_until(lambda: not spool.is_open(study), seconds=SECONDS, what="the study is closed")
    assert len(spool.listing(study)) == 1


def test_a_full_disk_is_a700_and_the_association_goes_on():
    spool, large = FakeSpool(), film(instance="large", pixels=bytes(1 << 20))
    with helped(spool) as helpers, opened(spool, helpers) as port, bare(port) as wire:
        with_helper(wire, helpers)
        spool.full = True
        assert b"\0\0\0\x09\2\0\0\0\0\xa7" in sent(wire, large)
        spool.full = False
        assert SUCCESS in sent(wire, large)


def test_what_a_helper_could_not_tell_the_house_is_told_when_it_comes_again(tmp_path):
    spool, one = DiskSpool(tmp_path), film(study="other", instance="one")
    fresh, away = tmp_path / "fresh", tmp_path / "away"
    with helped(DiskSpool(tmp_path)) as helpers, opened(spool, helpers) as port:
        with bare(port) as wire:
            with_helper(wire, helpers)
            fresh.rename(away)
            assert b"\0\0\0\x09\2\0\0\0\0\xa7" in sent(wire, one)
            away.rename(fresh)
        wait_until(lambda: helpers.shares == (0, 0), seconds=SECONDS, what="the association is over")
        with bare(port) as wire:  # the first process has the first object of every association
            assert SUCCESS in sent(wire, one)
    assert one.StudyInstanceUID in spool.take_fresh()


def test_a_commitment_asked_on_the_same_association_knows_what_the_helper_filed():
    spool, hearing = FakeSpool(), Hearing()
    senders = (Sender(ae_title=TITLE, host="127.0.0.1"),)
    with (
        helped(spool) as helpers,
        opened(spool, helpers, senders=senders) as port,
        association(port, contexts=CONTEXTS, more_handlers=hearing.handlers) as made,
    ):
        for number in range(5):
            data_set = film(instance=str(number))
            assert send(made, data_set).Status == 0x0000
            asked = request((COMPUTED_RADIOGRAPHY, data_set.SOPInstanceUID), transaction=f"1.2.{number + 1}")
            assert ask(made, asked) == 0x0000
            assert send(made, film(instance=f"{number} more")).Status == 0x0000
            kind, transaction, *_ = hearing.heard.get(timeout=SECONDS)
            assert (kind, transaction) == (1, f"1.2.{number + 1}")


def test_a_sender_with_a_rate_stays_where_it_is_counted():
    spool = FakeSpool()
    senders = (Sender(ae_title=TITLE, host="127.0.0.1", instances_per_minute=2),)
    with helped(spool) as helpers, opened(spool, helpers, senders=senders) as port, association(port) as made:
        statuses = [send(made, film(instance=str(number))).Status for number in range(3)]
        assert statuses == [0x0000, 0x0000, 0xA700]
        assert helpers.shares == (1, 0)


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def last_of(pid):
    """The processes below one that have none below themselves."""
    return [last for child in children_of(pid) for last in (last_of(child) or [child])]


def helpers_of(pid, number=2):
    """The helpers of a listener, once there are so many."""
    return wait_until(
        lambda: len(found := last_of(pid)) == number and found, seconds=SECONDS, what=f"{number} helpers"
    )


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def listener(tmp_path):
    started = Process(tmp_path, more="processes = 3\n")
    yield started
    started.end(signal.SIGKILL)


def test_a_helper_that_is_killed_aborts_what_it_had_and_the_listener_goes_on(listener, tmp_path):
    port = listener.port
    study, killed = film().StudyInstanceUID, 0
    with ExitStack() as stack:
        wires = [stack.enter_context(bare(port)) for _ in range(6)]
        for round_ in "ab":  # the second answer comes after the first was counted and handed over
            for number, wire in enumerate(wires):
                assert SUCCESS in sent(wire, film(instance=f"{round_} {number}"))
        for pid in helpers_of(listener.popen.pid):
            os.kill(pid, signal.SIGKILL)
            killed += 1
        ends = [sent(wire, film(instance=f"after {number}"))[:1] for number, wire in enumerate(wires)]
    assert killed == 2 and ends.count(b"\7") == 4 and ends.count(b"\4") == 2
    with bare(port) as wire:
        assert SUCCESS in sent(wire, film(instance="later"))
    spool = DiskSpool(tmp_path / "data" / "spool")
    wait_until(lambda: not spool.is_open(study), seconds=SECONDS, what="the study is closed")
    assert len(spool.listing(study)) == 15
    assert any(json.loads(line)["event"] == "helper_lost" for line in listener.log.read_text().splitlines())


def test_helpers_end_with_their_listener(listener):
    assert listener.port
    helpers = helpers_of(listener.popen.pid)
    listener.popen.kill()
    assert len(helpers) == 2
    wait_until(lambda: all(map(is_gone, helpers)), seconds=SECONDS, what="they have ended")
