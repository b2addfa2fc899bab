"""A film's way from a PACS that pushes by itself, back into it and into an EMR; all three are real.

Orthanc sends on everything it has, what we wrote included: nothing here may start a loop.
"""

import json
import socket
import threading
import urllib.request
from contextlib import suppress
from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from hoichan.testing.reports import PATIENT_ID, PATIENT_NAME
from tests.acceptance.packages import write_package
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not orthanc_module.is_available(), reason="Orthanc with DICOMweb is not installed"),
    pytest.mark.skipif(
        not emr_module.is_available(), reason="sekmet-fhir is not installed: make .venv-emr/.emr"
    ),
]
PATIENTS = "https://hoichan.invalid/id/patient"
SECONDS = 90


class ForgetfulProxy:
    """Hands connections on to a server, and loses the answers to the first ones."""

    def __init__(self, port, losses):
        self._target, self._losses = port, losses
        self.lost = 0
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with suppress(OSError):  # the door was closed
            while True:
                client, _ = self._door.accept()
                with client, socket.create_connection(("127.0.0.1", self._target)) as server:
                    forward = threading.Thread(target=self._pour, args=(client, server))
                    forward.start()
                    answer = server.recv(1)
                    if self.lost < self._losses:
                        self.lost += 1
                    else:
                        client.sendall(answer)
                        self._pour(server, client)
                    for end in (client, server):
                        with suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    forward.join()

    @staticmethod
    def _pour(source, sink):
        with suppress(OSError):
            while part := source.recv(1 << 16):
                sink.sendall(part)

    def close(self):
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def emr(tmp_path_factory):
    with emr_module.Emr(tmp_path_factory.mktemp("emr")) as server:
        server.create_patient(PATIENTS, PATIENT_ID)
        yield server


@pytest.fixture(scope="module")
def proxy(emr):
    made = ForgetfulProxy(emr.port, losses=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def stopped_house(tmp_path_factory):
    made = RunningHouse(tmp_path_factory.mktemp("house"))
    write_package(made.data_dir / "models")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, stopped_house):
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc_module.Orthanc(folder, push_to=stopped_house.port, push="everything") as server:
        yield server


@pytest.fixture(scope="module")
def house(stopped_house, orthanc, emr, proxy):
    through_proxy = emr.destination(name="emr", url=f"http://127.0.0.1:{proxy.port}/fhir")
    stopped_house.config.write_text(orthanc.destination() + through_proxy, encoding="utf-8")
    stopped_house.start()
    return stopped_house


@pytest.fixture
def films(tmp_path):
    def write(seed, patient_id=PATIENT_ID):
        film = a_film(seed, rows=320, columns=280)
        film.PatientID = patient_id
        return film.StudyInstanceUID, write_film(film, tmp_path)

    return write


def reports(emr, study):
    """The EMR's reports of one study."""
    found = emr.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study}")
    ours = {f"ImagingStudy/{one['id']}" for one in found}
    return [
        one
        for one in emr.search("DiagnosticReport")
        if ours & {reference["reference"] for reference in one.get("imagingStudy", [])}
    ]


def wait_for_both(house, study, number=2):
    house.wait_for_event(study, "delivery_acknowledged", number=number, seconds=SECONDS)


def test_a_pushed_film_comes_back_as_sr_and_sc_and_reaches_the_emr_once(house, orthanc, emr, proxy, films):
    study, path = films("pushed")
    orthanc.upload(path)
    wait_for_both(house, study)

    (sr_uid,) = orthanc.uids(study, "SR")
    (sc_uid,) = orthanc.uids(study, "OT")
    sr, sc = (dcmread(BytesIO(orthanc.file(uid))) for uid in (sr_uid, sc_uid))
    assert sr.PatientName == sc.PatientName == PATIENT_NAME
    kept = urllib.request.urlopen(f"{house.page}api/v1/studies/{study}/documents/sr", timeout=30).read()
    assert dcmread(BytesIO(kept)) == sr
    (found,) = orthanc.qido(study, Modality="SR")
    assert found["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.88.34"]

    (report,) = reports(emr, study)
    bundle = json.loads(
        urllib.request.urlopen(f"{house.page}api/v1/studies/{study}/documents/fhir", timeout=30).read()
    )
    (ours,) = (e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
    assert report["conclusion"] == ours["conclusion"]
    assert "Tràn dịch màng phổi" in report["conclusion"]
    assert report["status"] == "partial"

    assert proxy.lost == 2  # the EMR had it at the first try, and we did not hear of it
    assert house.events(study).count("delivery_postponed") in (1, 2)  # an answer to a knock may be lost, too
    wait_until(
        lambda: "own_documents_returned" in house.log(), seconds=SECONDS, what="our documents come back"
    )
    assert house.events(study).count("study_assembled") == 1
    assert orthanc.uids(study, "SR") == [sr_uid]


def test_an_unknown_patient_is_a_dead_letter_until_a_person_replays_it(house, orthanc, emr, films):
    study, path = films("unknown patient", patient_id="BN-UNKNOWN-7")
    house.send(path)
    house.wait_for_event(study, "delivery_refused", seconds=SECONDS)
    wait_for_both(house, study, number=1)
    assert len(orthanc.uids(study, "SR")) == 1
    assert house.status()["dead_letters"] == 1
    assert reports(emr, study) == []

    emr.create_patient(PATIENTS, "BN-UNKNOWN-7")
    assert "1 deliveries" in house.run("replay", study, check=True).stdout
    wait_for_both(house, study)
    assert house.status()["dead_letters"] == 0
    assert len(reports(emr, study)) == 1


def test_a_pacs_that_was_down_gets_it_once_when_it_is_up_again(house, orthanc, films):
    study, path = films("PACS down")
    orthanc.stop()
    try:
        house.send(path)
        house.wait_for_event(study, "delivery_postponed", seconds=SECONDS)
        assert house.status()["oldest_undelivered_seconds"] > 0
    finally:
        orthanc.start()
    wait_for_both(house, study)
    assert (len(orthanc.uids(study, "SR")), len(orthanc.uids(study, "OT"))) == (1, 1)
    assert house.status()["oldest_undelivered_seconds"] is None
