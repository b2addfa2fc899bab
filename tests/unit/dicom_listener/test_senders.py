import pytest

from dicom_listener.senders import sender_of
from dicom_listener.tls import Certificate
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
    found = sender_of((ROOM, ANY, SIX), ae_title=ae_title, address=address)
    assert (found is not None) is allowed


def test_an_empty_list_lets_nobody_in():
    assert sender_of((), ae_title="X", address="127.0.0.1") is None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_lets_this_machine_in(address):
    assert sender_of(LOOPBACK_SENDERS, ae_title="X", address=address)


PRINT = "ab" * 32
SHOWN = Certificate(sha256=PRINT, common_name="ct-room")


@pytest.mark.parametrize(
    ("wanted", "certificate", "allowed"),
    [
        ({}, None, True),
        ({}, SHOWN, True),
        ({"certificate_cn": "ct-room"}, SHOWN, True),
        ({"certificate_cn": "ct-room"}, None, False),
        ({"certificate_cn": "mr-room"}, SHOWN, False),
        ({"certificate_sha256": ["0" * 64, ":".join(["AB"] * 32)]}, SHOWN, True),
        ({"certificate_sha256": [PRINT]}, None, False),
        ({"certificate_sha256": ["0" * 64]}, SHOWN, False),
        ({"certificate_sha256": [PRINT], "certificate_cn": "mr-room"}, SHOWN, False),
    ],
)
def test_the_certificate_must_be_the_agreed_one_and_no_later_entry_waives_it(wanted, certificate, allowed):
    senders = (Sender(ae_title="CT", host="10.0.0.0/8", **wanted), Sender(ae_title="*", host="0.0.0.0/0"))
    found = sender_of(senders, ae_title="CT", address="10.0.0.1", certificate=certificate)
    assert found == (senders[0] if allowed else None)
