"""What we say when an association is asked for, byte by byte (PS3.8 9.3.3, PS3.7 annex D)."""

import struct
import time
from contextlib import contextmanager

import pytest

from dicom_listener import Door
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.settings import Listener
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY
from tests.chaos.door import connected
from tests.chaos.wire import ASSOCIATE_AC, VERIFICATION, Ended, Peer, associate

MAXIMUM_LENGTH, ASYNC_OPERATIONS, USER_IDENTITY, IDENTITY_ANSWER = 0x51, 0x53, 0x58, 0x59
USER_INFORMATION = 0x50
COMMITMENT, MPPS, IAN = "1.2.840.10008.1.20.1", "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.5.1.4.33"
STUDY_ROOT_FIND, WORKLIST = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31"
KINDS = [(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE), (VERIFICATION, IMPLICIT_LITTLE)]


@contextmanager
def peer_of(**settings):
    spool = FakeSpool()
    door = Door(spool, Listener(port=0, **settings))
    peer = Peer(connected(door.open(), timeout=60))
    try:
        yield peer
    finally:
        peer.close()
        door.close()
        spool.close()


def user_items(body):
    """Sub-items of the user information of an A-ASSOCIATE-AC, by their type."""
    at, found = 68, {}
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        if kind == USER_INFORMATION:
            inner = at + 4
            while inner < at + 4 + length:
                sub, size = struct.unpack_from(">BxH", body, inner)
                found[sub] = body[inner + 4 : inner + 4 + size]
                inner += 4 + size
        at += 4 + length
    return found


def accepted(peer, *more):
    """What we answer to a request whose user information has these sub-items, too."""
    request = associate(KINDS)
    extra = b"".join(struct.pack(">BxH", kind, len(body)) + body for kind, body in more)
    at = request.rindex(struct.pack(">BxHI", MAXIMUM_LENGTH, 4, 131072)) - 4
    (length,) = struct.unpack_from(">H", request, at + 2)
    request = request[: at + 2] + struct.pack(">H", length + len(extra)) + request[at + 4 :] + extra
    request = request[:2] + struct.pack(">I", len(request) - 6) + request[6:]
    peer.connection.sendall(request)
    kind, body = peer.read()
    assert kind == ASSOCIATE_AC
    return user_items(body)


@pytest.mark.parametrize(("settings", "told"), [({}, 0), ({"maximum_pdu_size": 32_768}, 32_768)])
def test_maximum_pdu(settings, told):
    with peer_of(**settings) as peer:
        assert struct.unpack(">I", accepted(peer)[MAXIMUM_LENGTH]) == (told,)


def test_asynchronous_operations_are_not_agreed_upon():
    with peer_of() as peer:
        window = accepted(peer, (ASYNC_OPERATIONS, struct.pack(">HH", 8, 8))).get(ASYNC_OPERATIONS)
        assert window in (None, struct.pack(">HH", 1, 1))  # none means one at a time (PS3.7 D.3.3.3)


def test_user_identity_is_ignored():
    with peer_of() as peer:
        name = b"MARKER"
        identity = struct.pack(">BBH", 1, 1, len(name)) + name + struct.pack(">H", 0)
        assert IDENTITY_ANSWER not in accepted(peer, (USER_IDENTITY, identity))


def test_an_idle_association_ends():
    with peer_of(network_timeout_seconds=2) as peer:
        began = time.monotonic()
        peer.associate(KINDS)
        with pytest.raises(Ended):  # by itself: the wire waits longer
            peer.read()
        assert time.monotonic() - began > 1


def test_our_services_are_taken_and_no_others():
    ours = [VERIFICATION, COMMITMENT, MPPS, IAN, COMPUTED_RADIOGRAPHY]
    with peer_of() as peer:
        peer.associate([(one, IMPLICIT_LITTLE) for one in [*ours, STUDY_ROOT_FIND, WORKLIST]])
        assert [sop_class for sop_class, _ in peer.accepted] == ours
        assert peer.echo().status == 0x0000


def test_an_unknown_transfer_syntax_is_not_taken():
    with peer_of() as peer:
        peer.associate([(COMPUTED_RADIOGRAPHY, "1.2.3.4.5"), (VERIFICATION, IMPLICIT_LITTLE)])
        assert list(peer.accepted) == [(VERIFICATION, IMPLICIT_LITTLE)]
