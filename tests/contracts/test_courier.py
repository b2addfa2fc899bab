"""What every courier promises: bytes as they lie in the file, a word for each, nothing of a patient in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import httpx2
import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context, evt

from hoichan.adapters.couriers import DimseCourier, FolderCourier, StowCourier
from hoichan.errors import Unreachable
from hoichan.intake.headers import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import split
from hoichan.reporting.forwarding import Courier, Errand, ForwardState, Piece
from hoichan.settings import DicomDestination, DicomwebDestination, FolderDestination
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.files import as_file

JPEG = "1.2.840.10008.1.2.4.50"
ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass
class Receiver:
    courier: Courier
    held: Callable[[], dict[str, bytes]]  # data sets by SOP Instance UID, as they arrived
    say: Callable[[str], None]  # yes | later | never | nothing
    can_refuse: bool = True


def dicom(_) -> Iterator[Receiver]:
    kept, word = {}, ["yes"]

    def store(event):
        status = {"yes": 0x0000, "later": 0xA700, "never": 0xC000}[word[0]]
        if not status:
            kept[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return status

    def requested(event):
        if word[0] == "nothing":
            event.assoc.abort()

    ae = AE(ae_title="PACS")
    ae.supported_contexts = [
        build_context(COMPUTED_RADIOGRAPHY, [EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED])
    ]
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_REQUESTED, requested)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    port = server.server_address[1]
    destination = DicomDestination(name="pacs", kind="dicom", host="127.0.0.1", port=port, ae_title="PACS")
    yield Receiver(DimseCourier(destination, "HOICHAN"), lambda: kept, lambda said: word.__setitem__(0, said))
    server.shutdown()


def dicomweb(_) -> Iterator[Receiver]:
    kept, word = {}, ["yes"]

    def handle(request):
        if word[0] == "nothing":
            raise httpx2.ConnectError("cut")
        boundary = b"\r\n--" + request.headers["content-type"].split("boundary=")[1].encode()
        bodies = [part.split(b"\r\n\r\n", 1)[1] for part in request.read().split(boundary)[1:-1]]
        uids = [str(dcmread(BytesIO(body), stop_before_pixels=True).SOPInstanceUID) for body in bodies]
        reason = {"yes": None, "later": 0xA700, "never": 0xC000}[word[0]]
        if reason is None:
            kept.update({uid: split(body).data_set for uid, body in zip(uids, bodies, strict=True)})
        item = {"00081197": {"vr": "US", "Value": [reason]}} if reason else {}
        items = [{"00081155": {"vr": "UI", "Value": [uid]}, **item} for uid in uids]
        tag = "00081198" if reason else "00081199"
        return httpx2.Response(409 if reason else 200, json={tag: {"vr": "SQ", "Value": items}})

    destination = DicomwebDestination(name="pacs2", kind="dicomweb", url="http://127.0.0.1/dicom-web")
    yield Receiver(
        StowCourier(destination, transport=httpx2.MockTransport(handle)),
        lambda: kept,
        lambda said: word.__setitem__(0, said),
    )


def folder(tmp_path) -> Iterator[Receiver]:
    out = tmp_path / "out"

    def held():
        return {one.stem: split(one.read_bytes()).data_set for one in out.rglob("*.dcm")}

    def say(word):
        if word == "nothing":
            out.write_text("a file stands where the folder should")

    destination = FolderDestination(name="share", kind="folder", path=out)
    yield Receiver(FolderCourier(destination), held, say, can_refuse=False)


@pytest.fixture(params=[dicom, dicomweb, folder], ids=lambda one: one.__name__)
def receiver(request, tmp_path):
    yield from request.param(tmp_path)


@pytest.fixture
def pieces(tmp_path):
    return [piece(tmp_path, syntax) for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED)]


def piece(folder, syntax, *, sop_class=COMPUTED_RADIOGRAPHY):
    data_set = film(instance=syntax)
    data_set.SOPClassUID = sop_class
    file = folder / f"{syntax}.dcm"
    file.write_bytes(as_file(data_set, syntax))
    errand = Errand(
        rule="all",
        destination="x",
        study_instance_uid=data_set.StudyInstanceUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
        path=file.name,
    )
    return Piece(
        errand=errand,
        study_instance_uid=errand.study_instance_uid,
        sop_class_uid=sop_class,
        sop_instance_uid=errand.sop_instance_uid,
        transfer_syntax_uid=syntax,
        file=file,
    )


def test_every_object_arrives_byte_for_byte(receiver, pieces):
    words = list(receiver.courier.bring(pieces))
    assert [word.state for word in words] == [ForwardState.SENT] * 3
    assert receiver.held() == {
        one.sop_instance_uid: encode(film(instance=one.transfer_syntax_uid), one.transfer_syntax_uid)
        for one in pieces
    }


def test_twice_is_once(receiver, pieces):
    list(receiver.courier.bring(pieces))
    before = dict(receiver.held())
    assert {word.state for word in receiver.courier.bring(pieces)} == {ForwardState.SENT}
    assert receiver.held() == before


def test_later_and_never(receiver, pieces):
    if not receiver.can_refuse:
        pytest.skip("a folder never refuses: it is writable or not yet")
    receiver.say("later")
    assert all(word.later and word.state is ForwardState.PENDING for word in receiver.courier.bring(pieces))
    receiver.say("never")
    words = list(receiver.courier.bring(pieces))
    assert {word.state for word in words} == {ForwardState.DEAD}
    assert all("Nguy" not in word.detail and "BN0001" not in word.detail for word in words)
    receiver.say("yes")
    assert {word.state for word in receiver.courier.bring(pieces)} == {ForwardState.SENT}


def test_nobody_there_is_unreachable(receiver, pieces):
    receiver.say("nothing")
    with pytest.raises(Unreachable):
        list(receiver.courier.bring(pieces))


@pytest.mark.parametrize("receiver", [dicom], indirect=True)
def test_what_a_pacs_does_not_negotiate_is_said_for_each(receiver, tmp_path):
    good, other = piece(tmp_path, EXPLICIT_LITTLE), piece(tmp_path, IMPLICIT_LITTLE, sop_class=ENCAPSULATED)
    odd = Piece(**{**{name: getattr(good, name) for name in Piece.__slots__}, "transfer_syntax_uid": JPEG})
    words = list(receiver.courier.bring([good, other, odd]))
    assert [word.state for word in words] == [ForwardState.SENT, ForwardState.DEAD, ForwardState.DEAD]
    assert words[1].detail == f"SOP class {ENCAPSULATED} not accepted"
    assert words[2].detail == f"transfer syntax {JPEG} not accepted" and words[2].syntax_refused


@pytest.mark.parametrize("answer", [(1, 1, 3), (2, 3, 2)], ids=["permanent", "transient"])
def test_a_refused_association_says_why_and_whether_for_good(pieces, answer):
    def refuse(event):
        event.assoc.acse.send_reject(*answer)
        event.assoc.kill()

    ae = AE(ae_title="PACS")
    ae.supported_contexts = [build_context(COMPUTED_RADIOGRAPHY)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, refuse)])
    destination = DicomDestination(
        name="pacs", kind="dicom", host="127.0.0.1", port=server.server_address[1], ae_title="PACS"
    )
    detail = f"association rejected (source {answer[1]}, reason {answer[2]})"
    try:
        if answer[0] == 1:
            words = list(DimseCourier(destination, "HOICHAN").bring(pieces))
            assert [(word.detail, word.later, word.not_wanted) for word in words] == [
                (detail, True, True)
            ] * len(pieces)
        else:
            with pytest.raises(Unreachable) as raised:
                list(DimseCourier(destination, "HOICHAN").bring(pieces))
            assert raised.value.detail == detail
    finally:
        server.shutdown()
