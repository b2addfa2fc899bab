"""What pynetdicom cannot read ends the association for both sides, at once, with its marks."""

from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from dicom_listener import Door
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.settings import Listener
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.house import wait_until
from tests.chaos.door import connected
from tests.chaos.wire import COMMAND, DATA_SET_TYPE, MESSAGE_ID, Ended, Peer, command, message

KIND = (COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)


@contextmanager
def peer_of(spool):
    door = Door(spool, Listener(port=0, network_timeout_seconds=3600))  # no idle peer ends within a test
    peer = Peer(connected(door.open(), timeout=60))
    try:
        peer.associate([KIND])
        yield peer
    finally:
        peer.close()
        door.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        command({COMMAND: 0x7777, MESSAGE_ID: 1, DATA_SET_TYPE: 0x0101}),
        command({MESSAGE_ID: 1}),
        b"\0\0\0\0\xff\xff\xff\xff",
        b"\0",
    ],
    ids=["no such command", "no command", "wild length", "cut off"],
)
def test_a_command_that_nobody_can_read(nonsense):
    spool = FakeSpool()
    with capture_logs() as lines, peer_of(spool) as peer:
        one = film()
        stored = peer.store(KIND, encode(one), sop_class=KIND[0], sop_instance=one.SOPInstanceUID)
        assert stored.status == 0x0000
        assert spool.is_open(one.StudyInstanceUID)
        peer.connection.sendall(message(1, nonsense))
        with pytest.raises(Ended):
            peer.answer()
        wait_until(lambda: not spool.is_open(one.StudyInstanceUID), seconds=60, what="the study is closed")
    assert "uncaught" not in [line["event"] for line in lines]
    spool.close()
