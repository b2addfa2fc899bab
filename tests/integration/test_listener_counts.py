"""The door counts what it answers on real associations, under the names of its configuration."""

from dicom_listener.scp import Door
from hoichan.meters import Key, Tally
from hoichan.settings import Listener, Sender
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import film
from tests.integration.test_listener import association, send


def test_senders_are_counted_by_their_entries():
    tally = Tally()
    senders = (Sender(ae_title="CR_ROOM1", host="127.0.0.1"), Sender(ae_title="DX*", host="127.0.0.1"))
    door = Door(FakeSpool(), Listener(port=0, senders=senders), tally)
    port = door.open()
    try:
        with association(port) as made:
            assert send(made, film()).Status == 0x0000
            assert send(made, film()).Status == 0x0000
        with association(port, title="STRANGER") as made:
            assert made.is_rejected
    finally:
        door.close()
    counts = tally.take()
    assert counts.pop(Key("received_bytes_total", ("CR_ROOM1",))) > 0
    assert counts == {
        Key("instances_received_total", ("CR_ROOM1", "stored")): 1,
        Key("instances_received_total", ("CR_ROOM1", "duplicate")): 1,
        Key("associations_rejected_total", ("calling_ae_title_not_recognised",)): 1,
    }
