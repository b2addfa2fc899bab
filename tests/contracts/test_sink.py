"""What every sink promises, the fake and the real ones alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import httpx2
import pytest
from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dicomweb import DicomwebSink
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.adapters.sink_folder import FolderSink
from hoichan.errors import Refused, Unreachable
from hoichan.ports import Sink
from hoichan.reporting import plan
from hoichan.settings import (
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Settings,
)
from hoichan.testing import FakeSink, FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT

STUDY = a_study()
REPORT = a_report(STUDY)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    return DocumentEncoder(FolderOfFilms(folder), Settings()).encode(STUDY, REPORT)


@dataclass
class Receiver:
    """A sink, what stands on the other side, and how to make that side say no or nothing."""

    sink: Sink
    destination: DicomDestination | DicomwebDestination | FhirDestination | FolderDestination
    held: Callable[[], set[str]]  # identities of what the other side holds
    say: Callable[[str], None]  # "yes" | "later" | "never"
    can_refuse: bool = True


@pytest.fixture(params=["fake", "folder", "dicom", "dicomweb", "fhir"])
def receiver(request, tmp_path) -> Iterator[Receiver]:
    yield from {"fake": fake, "folder": folder, "dicom": dicom, "dicomweb": dicomweb, "fhir": fhir}[
        request.param
    ](tmp_path)


def fake(tmp_path):
    sink = FakeSink()

    def say(answer: str) -> None:
        sink.failures = {"yes": [], "later": [Unreachable("x", "y")], "never": [Refused("x", "y")]}[answer]

    destination = FolderDestination(name="share", kind="folder", path=tmp_path)
    yield Receiver(sink, destination, lambda: set(sink.taken), say)


def folder(tmp_path):
    destination = FolderDestination(name="share", kind="folder", path=tmp_path / "out")

    def say(answer: str) -> None:
        if answer == "later":
            (tmp_path / "out").write_text("a file stands where the folder should")
        elif (tmp_path / "out").is_file():
            (tmp_path / "out").unlink()

    def held() -> set[str]:
        return {str(path) for path in (tmp_path / "out").rglob("*.*") if path.is_file()}

    yield Receiver(FolderSink(destination), destination, held, say, can_refuse=False)


def dicom(_):
    instances, status = set(), [0x0000]

    def store(event):
        if status[0] == 0x0000:
            instances.add(str(event.dataset.SOPInstanceUID))
        return status[0]

    ae = AE(ae_title="PACS")
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    destination = DicomDestination(
        name="pacs",
        kind="dicom",
        host="127.0.0.1",
        port=server.server_address[1],
        ae_title="PACS",
        images="assume",
    )

    def say(answer: str) -> None:
        status[0] = {"yes": 0x0000, "later": 0xA700, "never": 0xC000}[answer]

    yield Receiver(DimseSink(destination, "HOICHAN"), destination, lambda: instances, say)
    server.shutdown()


def fhir(_):
    bodies, status = set(), [200]

    def handle(request: httpx2.Request) -> httpx2.Response:
        if status[0] == 200:
            bodies.add(request.content.decode())
        return httpx2.Response(status[0], text=f"about {PATIENT_ID}")

    def say(answer: str) -> None:
        status[0] = {"yes": 200, "later": 503, "never": 422}[answer]

    destination = FhirDestination(name="emr", kind="fhir", url="http://127.0.0.1/fhir")
    sink = FhirSink(destination, transport=httpx2.MockTransport(handle))
    yield Receiver(sink, destination, lambda: bodies, say)


def dicomweb(_):
    instances, status = set(), [200]

    def handle(request: httpx2.Request) -> httpx2.Response:
        parts = request.read().split(b"Content-Type: application/dicom\r\n\r\n")[1:]
        assert int(request.headers["content-length"]) == len(request.content)
        uids = [str(dcmread(BytesIO(part), stop_before_pixels=True).SOPInstanceUID) for part in parts]
        if status[0] == 200:
            instances.update(uids)
        failed = [
            {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [0xC000]}}
            for uid in uids
        ]
        told = {"00081199" if status[0] == 200 else "00081198": {"vr": "SQ", "Value": failed}}
        return httpx2.Response(status[0], json=told, headers={"Warning": f"about {PATIENT_ID}"})

    def say(answer: str) -> None:
        status[0] = {"yes": 200, "later": 503, "never": 409}[answer]

    destination = DicomwebDestination(
        name="pacs2", kind="dicomweb", url="http://127.0.0.1/dicom-web", wait_for_images_seconds=0
    )
    sink = DicomwebSink(destination, transport=httpx2.MockTransport(handle))
    yield Receiver(sink, destination, lambda: instances, say)


def delivery(receiver, documents):
    (planned,) = plan(REPORT, STUDY, [receiver.destination], documents, REPORTED_AT)
    return planned


def test_a_taken_report_is_acknowledged_in_a_word(receiver, documents):
    acknowledgement = receiver.sink.deliver(delivery(receiver, documents), documents)
    assert acknowledgement
    assert PATIENT_ID not in acknowledgement
    assert receiver.held()


def test_twice_is_once(receiver, documents):
    first = receiver.sink.deliver(delivery(receiver, documents), documents)
    held = set(receiver.held())
    assert receiver.sink.deliver(delivery(receiver, documents), documents) == first
    assert set(receiver.held()) == held


def test_later_can_be_tried_again_with_success(receiver, documents):
    receiver.say("later")
    with pytest.raises(Unreachable) as caught:
        receiver.sink.deliver(delivery(receiver, documents), documents)
    assert caught.value.retryable
    assert PATIENT_ID not in str(caught.value)
    receiver.say("yes")
    assert receiver.sink.deliver(delivery(receiver, documents), documents)


def test_never_is_said_without_patient_data(receiver, documents):
    if not receiver.can_refuse:
        pytest.skip("a folder never refuses: it is writable or not yet")
    receiver.say("never")
    with pytest.raises(Refused) as caught:
        receiver.sink.deliver(delivery(receiver, documents), documents)
    assert not caught.value.retryable
    assert PATIENT_ID not in str(caught.value)
