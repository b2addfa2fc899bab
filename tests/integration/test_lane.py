"""C-STORE requests in every form that the wire knows, at a real door."""

import socket
from contextlib import contextmanager

import pytest
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import read_meta
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, PRIVATE_CLASS, encode, film
from hoichan.testing.house import wait_until
from tests.integration.test_listener import association, opened, send
from tests.unit.dicom_listener.test_lane import pdu, pdv, store_command

SECONDS = 60
CONTEXT = 1


@contextmanager
def bare(port):
    """An accepted association as a bare socket."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "BARE", "HOICHAN"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16382, "1.2.3"
    request.user_information = [length, implementation]
    context = build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)
    context.context_id = CONTEXT
    request.presentation_context_definition_list = [context]
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as wire:
        wire.sendall(A_ASSOCIATE_RQ(request).encode())
        assert read_pdu(wire)[:1] == b"\2"
        yield wire


def read_pdu(wire):
    head = wire.recv(6, socket.MSG_WAITALL)
    return head + wire.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)


def told(data_set):
    return pdv(store_command(data_set.SOPClassUID, data_set.SOPInstanceUID), 3, context=CONTEXT)


def parts(folder):
    return list((folder / "part").glob("*.part"))


def break_off(wire, end):
    """End an association in the middle of an object; silence is ended by the door."""
    if end == "aborted":
        wire.sendall(pdu(b"\0\0\0\0", kind=7))
    elif end == "spoilt":
        wire.sendall(pdu(pdv(b"data", 2, context=CONTEXT + 2)))
        assert read_pdu(wire)[:1] == b"\7"  # A-ABORT
    elif end == "reset":
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.close()
    elif end == "closed":
        wire.close()
    else:
        assert wire.recv(6)[:1] in (b"\7", b"")


@pytest.mark.parametrize("maximum_pdu_size", [0, 128, 4096, 16382])
def test_a_film_is_whole_whatever_the_size_of_its_fragments(tmp_path, maximum_pdu_size):
    spool = DiskSpool(tmp_path)
    with opened(spool, maximum_pdu_size=maximum_pdu_size) as port, association(port) as made:
        for pixels in (bytes(range(256)) * 40, bytes(range(256)) * 40, bytes(256) * 40):
            assert send(made, film(pixels=pixels)).Status == 0x0000  # 128: the command is in fragments too
    (spooled,) = spool.listing(film().StudyInstanceUID)
    content = spool.file(spooled.path).read_bytes()
    assert content[read_meta(content).offset :] == encode(film(pixels=bytes(range(256)) * 40))
    assert len(list((tmp_path / "quarantine").glob("*.json"))) == 1 and parts(tmp_path) == []


def test_objects_and_echoes_take_turns_on_one_association():
    spool = FakeSpool()
    contexts = [build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE), build_context("1.2.840.10008.1.1")]
    with opened(spool) as port, association(port, contexts=contexts) as made:
        for number in range(5):
            assert made.send_c_echo().Status == 0x0000
            assert send(made, film(instance=str(number))).Status == 0x0000
    assert len(spool.listing(film().StudyInstanceUID)) == 5


def test_who_does_not_wait_for_answers_gets_them_all():
    spool = FakeSpool()
    films = [film(instance=str(number)) for number in range(20)]
    with opened(spool) as port, bare(port) as wire:
        wire.sendall(b"".join(pdu(told(one), pdv(encode(one), 2, context=CONTEXT)) for one in films))
        for _ in films:
            assert b"\0\0\0\x09\2\0\0\0\0\0" in read_pdu(wire)  # (0000,0900) Status, Success
    assert len(spool.listing(film().StudyInstanceUID)) == 20


@pytest.mark.parametrize("end", ["reset", "closed", "aborted", "spoilt", "silent"])
def test_an_object_that_breaks_off_leaves_nothing(tmp_path, end):
    spool, large = DiskSpool(tmp_path), film(pixels=bytes(1 << 20))
    with opened(spool, network_timeout_seconds=3 if end == "silent" else 60) as port, bare(port) as wire:
        wire.sendall(pdu(told(large)) + pdu(pdv(encode(large)[: 1 << 19], 0, context=CONTEXT)))
        if end != "silent":  # else it may be over before we look
            wait_until(lambda: parts(tmp_path), seconds=SECONDS, what="it arrives")
        break_off(wire, end)
        wait_until(lambda: not parts(tmp_path), seconds=SECONDS, what="nothing is left")
    assert spool.every_study() == [] and spool.take_fresh() == []


def test_a_disk_that_fills_up_within_an_object_is_a700_and_the_association_goes_on():
    spool, large = FakeSpool(), film(pixels=bytes(1 << 20))
    with opened(spool) as port, bare(port) as wire:
        data = encode(large)
        wire.sendall(pdu(told(large)) + pdu(pdv(data[:1000], 0, context=CONTEXT)))
        spool.full = True
        wire.sendall(pdu(pdv(data[1000:], 2, context=CONTEXT)))
        assert b"\0\0\0\x09\2\0\0\0\0\xa7" in read_pdu(wire)
        spool.full = False
        wire.sendall(pdu(told(large)) + pdu(pdv(data, 2, context=CONTEXT)))
        assert b"\0\0\0\x09\2\0\0\0\0\0" in read_pdu(wire)
    assert len(spool.listing(large.StudyInstanceUID)) == 1


@pytest.mark.parametrize("maximum_pdu_size", [0, 128])
def test_a_private_sop_class_is_taken_where_it_is_named(maximum_pdu_size):
    spool, odd = FakeSpool(), film()
    odd.SOPClassUID = PRIVATE_CLASS
    contexts = [build_context(PRIVATE_CLASS, EXPLICIT_LITTLE)]
    with opened(spool) as port, association(port, contexts=contexts) as made:
        assert made.accepted_contexts == []
    settings = {"private_sop_classes": (PRIVATE_CLASS,), "maximum_pdu_size": maximum_pdu_size}
    with opened(spool, **settings) as port, association(port, contexts=contexts) as made:
        assert send(made, odd).Status == 0x0000
    (spooled,) = spool.listing(odd.StudyInstanceUID)
    assert read_meta(spool.file(spooled.path).read_bytes()).sop_class_uid == PRIVATE_CLASS
    spool.close()
