"""Our answers to C-STORE, line by line (PS3.4 table B.2-1), over a real association.

The corpus are the files that come with pydicom, many of them malformed on purpose, and mutants of them: each
must get one of our statuses, and after each the door must still store a good film.
"""

import random
import threading
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt
from pynetdicom.dimse_primitives import C_STORE

from dicom_listener import Door
from dicom_listener.statuses import answer_to
from hoichan.adapters.associations import associate
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import HoichanError
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import read_meta
from hoichan.settings import Listener
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film

COMPUTED_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.2"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
OURS = {0x0000, 0xA900, 0xC000}
KNOWN_CLASSES = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}


class Modality:
    """Sends raw bytes as a data set, right or wrong, as no decent library would."""

    def __init__(self, port):
        self._port = port
        self._association = None
        self._contexts = ()
        self._sockets = []

    def send(self, data_set, *, sop_class, sop_instance, syntax, negotiated=None):
        negotiated = negotiated or sop_class
        if (negotiated, syntax) not in self._contexts:
            self.hang_up()
            self._contexts = ((negotiated, syntax),)
            entity = AE(ae_title="MODALITY")
            self._association = associate(
                entity,
                "127.0.0.1",
                self._port,
                contexts=[build_context(negotiated, syntax)],
                evt_handlers=[(evt.EVT_CONN_OPEN, lambda e: self._sockets.append(e.assoc.dul.socket.socket))],
            )
            self._association._reactor_checkpoint.clear()  # nobody but us takes the answers
            settled = threading.Event()
            while not settled.wait(0.02) and not self._association._is_paused:
                pass
        assert self._association.is_established
        (context,) = self._association.accepted_contexts
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
        request.DataSet = BytesIO(data_set)
        self._association.dimse.send_msg(request, context.context_id)
        _, answer = self._association.dimse.get_msg(block=True)
        assert answer is not None, "no answer"
        return answer

    def hang_up(self):
        if self._association is not None and self._association.is_established:
            self._association._reactor_checkpoint.set()
            self._association.release()
        while self._sockets:
            self._sockets.pop().close()
        self._contexts = ()


@pytest.fixture
def spool():
    fake = FakeSpool()
    yield fake
    fake.close()


@pytest.fixture
def modality(spool):
    door = Door(spool, Listener(port=0))
    sender = Modality(door.open())
    yield sender
    sender.hang_up()
    door.close()


def status(modality, data_set, *, sop_class=COMPUTED_RADIOGRAPHY, sop_instance=None, syntax=EXPLICIT_LITTLE):
    answer = modality.send(
        data_set, sop_class=sop_class, sop_instance=sop_instance or film().SOPInstanceUID, syntax=syntax
    )
    if answer.Status == 0x0000:
        assert answer.ErrorComment is None
    else:
        assert 0 < len(answer.ErrorComment) <= 64
    assert answer.AffectedSOPInstanceUID == (sop_instance or film().SOPInstanceUID)
    return answer.Status


def without(keyword):
    data_set = film()
    delattr(data_set, keyword)
    return encode(data_set)


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_stored_is_0000(modality, syntax):
    assert status(modality, encode(film(), syntax), syntax=syntax) == 0x0000


def test_the_same_again_is_0000(modality, spool):
    assert [status(modality, encode(film())) for _ in range(3)] == [0x0000] * 3
    assert len(spool.listing(film().StudyInstanceUID)) == 1


def test_other_content_under_a_known_instance_is_0000_and_set_aside(modality, spool):
    status(modality, encode(film()))
    assert status(modality, encode(film(pixels=b"\7\0" * 64))) == 0x0000
    assert [reason for reason, _ in spool.quarantine.values()] == ["changed_content"]


def test_no_room_is_a700(modality, spool):
    spool.full = True
    assert status(modality, encode(film())) == 0xA700
    spool.full = False
    assert status(modality, encode(film())) == 0x0000


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_headless_is_a900(modality, spool, keyword):
    assert status(modality, without(keyword)) == 0xA900
    assert [reason for reason, _ in spool.quarantine.values()] == ["intake.incomplete_object"]


def test_another_sop_class_is_a900(modality, spool):
    assert status(modality, encode(film()), sop_class=COMPUTED_TOMOGRAPHY) == 0xA900
    assert [reason for reason, _ in spool.quarantine.values()] == ["intake.wrong_sop_class"]


@pytest.mark.parametrize("data_set_is", ["as requested", "as negotiated"])
def test_a_request_of_another_class_than_its_context_is_a900(modality, data_set_is):
    classes = [COMPUTED_RADIOGRAPHY, COMPUTED_TOMOGRAPHY]
    requested, negotiated = classes if data_set_is == "as requested" else reversed(classes)
    answer = modality.send(
        encode(film()),
        sop_class=requested,
        sop_instance=film().SOPInstanceUID,
        syntax=EXPLICIT_LITTLE,
        negotiated=negotiated,
    )
    assert answer.Status == 0xA900


def test_another_instance_is_a900(modality):
    assert status(modality, encode(film()), sop_instance="1.2.3.4") == 0xA900


@pytest.mark.parametrize("keep", [-1, -60, 200, 9, 1])
def test_truncated_is_c000(modality, spool, keep):
    assert status(modality, encode(film())[:keep]) == 0xC000
    assert [reason for reason, _ in spool.quarantine.values()] == ["intake.not_dicom"]


def test_encapsulated_garbage_is_c000(modality):
    data = encode(film(pixels=None)) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"garbage!" * 20
    assert status(modality, data, syntax=JPEG_2000) == 0xC000


def test_pixels_that_do_not_fill_the_picture_are_kept(modality, spool):
    """Whole as a data set: what they show is a question for the house, which says not analysed."""
    assert status(modality, encode(film(pixels=b"\1\0" * 10))) == 0x0000
    assert len(spool.listing(film().StudyInstanceUID)) == 1


def test_random_bytes_are_c000_or_a900(modality):
    dice = random.Random(7)
    assert {status(modality, dice.randbytes(500)) for _ in range(20)} <= {0xC000, 0xA900}


def test_a_full_disk_under_a_real_spool_is_a700(tmp_path):
    door = Door(DiskSpool(tmp_path, reserve_bytes=1 << 62), Listener(port=0))
    sender = Modality(door.open())
    assert status(sender, encode(film())) == 0xA700
    sender.hang_up()
    door.close()


def corpus():
    """Data sets of pydicom's own test files, with what their file meta says of them."""
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")):
        if not path.is_file():
            continue
        try:
            meta = read_meta(path.read_bytes())
        except HoichanError:
            continue
        if meta.sop_class_uid in KNOWN_CLASSES and meta.transfer_syntax_uid in ALL_TRANSFER_SYNTAXES:
            yield path, meta


def mutants(data, dice):
    """The data set itself, cut somewhere, with flipped bytes, a wild length, and a piece missing."""
    yield data
    yield data[: dice.randrange(1, len(data))]
    flipped = bytearray(data)
    for _ in range(10):
        flipped[dice.randrange(min(len(data), 2000))] = dice.randrange(256)
    yield bytes(flipped)
    at = dice.randrange(len(data) // 2)
    yield data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    yield data[:at] + data[at + dice.randrange(1, 50) :]


def test_whatever_comes_has_a_status(spool):
    dice = random.Random(20261121)
    seen = set()
    for path, meta in corpus():
        whole = path.read_bytes()[meta.offset :]
        for data in mutants(whole, dice):
            try:
                spool.store(
                    data,
                    transfer_syntax_uid=meta.transfer_syntax_uid,
                    sop_class_uid=meta.sop_class_uid,
                    sop_instance_uid=meta.sop_instance_uid or "1.2.3",
                    calling_ae_title="MODALITY",
                )
            except HoichanError as error:
                seen.add(answer_to(error).status)
            else:
                seen.add(0x0000)
    assert seen == OURS


def test_whatever_comes_gets_its_answer_and_service_goes_on(modality):
    dice = random.Random(20261121)
    files = list(corpus())
    assert len(files) > 80
    for path, meta in files[::6]:
        for data in mutants(path.read_bytes()[meta.offset : meta.offset + 300_000], dice):
            answer = modality.send(
                data,
                sop_class=meta.sop_class_uid,
                sop_instance=UID(meta.sop_instance_uid or "1.2.3"),
                syntax=meta.transfer_syntax_uid,
            )
            assert answer.Status in OURS, path.name
    assert status(modality, encode(film())) == 0x0000


def test_the_door_offers_only_verification_and_storage(modality):
    with_find = AE()
    with_find.add_requested_context("1.2.840.10008.5.1.4.1.2.2.1")
    association = associate(with_find, "127.0.0.1", modality._port)
    assert association.accepted_contexts == []
    with_find.shutdown()
