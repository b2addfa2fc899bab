import pytest

from dicom_listener.senders import is_allowed
from hoichan.settings import LOOPBACK_SENDERS, Sender

ROOM = Sender(ae_title="CR_ROOM1", host="10.0.0.0/24")
ANY = Sender(ae_title="*", host="192.168.1.7")
SIX = Sender(ae_title="CT", host="fd00::/64")


@pytest.mark.parametrize(
    ("ae_title", "address", "allowed"),
    [
        ("CR_ROOM1", "10.0.0.9", True),
        (" CR_ROOM1 ", "10.0.0.9", True),
        ("CR_ROOM1", "::ffff:10.0.0.9", True),
        ("CR_ROOM1", "10.0.1.9", False),
        ("CR_ROOM2", "10.0.0.9", False),
        ("cr_room1", "10.0.0.9", False),
        ("WHOEVER", "192.168.1.7", True),
        ("WHOEVER", "192.168.1.8", False),
        ("CT", "fd00::5", True),
        ("CT", "fd00::5%eth0", True),
        ("CT", "fe80::5", False),
        ("CR_ROOM1", "", False),
        ("CR_ROOM1", "not an address", False),
        ("*", "10.0.0.9", False),
    ],
)
def test_title_and_network_must_both_fit(ae_title, address, allowed):
    assert is_allowed((ROOM, ANY, SIX), ae_title=ae_title, address=address) is allowed


def test_an_empty_list_lets_nobody_in():
    assert not is_allowed((), ae_title="X", address="127.0.0.1")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_lets_this_machine_in(address):
    assert is_allowed(LOOPBACK_SENDERS, ae_title="X", address=address)
