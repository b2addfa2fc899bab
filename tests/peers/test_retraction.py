"""A report that lies with the wrong patient, taken back at an EMR and a PACS that nobody of us wrote."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.encoding.retraction import WITHDRAWN, retraction_uid, withdraw
from hoichan.reporting import plan
from hoichan.reporting.deliveries import plan_retraction
from hoichan.settings import DicomDestination, FhirDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module

pytestmark = pytest.mark.peers
NUMBERS = "https://hoichan.invalid/id/patient"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))


@pytest.fixture
def made(tmp_path):
    film = a_film(91)
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    study = a_study(film)
    report = a_report(study)
    documents = DocumentEncoder(FolderOfFilms(tmp_path), Settings()).encode(study, report)
    return study, report, documents


def take_back(sink, destination, made):
    study, report, documents = made
    (delivery,) = plan(report, study, [destination], documents, REPORTED_AT)
    sink.deliver(delivery, documents)
    withdrawn = withdraw(documents, language="vi", now=NOW)
    uid = retraction_uid(report.report_uid)
    (back,) = plan_retraction(uid, study.study_instance_uid, [destination], withdrawn, REPORTED_AT)
    return [sink.deliver(back, withdrawn) for _ in range(2)]  # once more, as after a crash


def test_an_emr_marks_the_report_and_makes_no_second_one(made, tmp_path):
    if not emr_module.is_available():
        pytest.skip("sekmet-fhir is not installed: make .venv-emr/.emr")
    (tmp_path / "emr").mkdir()
    with emr_module.Emr(tmp_path / "emr") as emr:
        emr.create_patient(NUMBERS, PATIENT_ID)
        patient = f"Patient/{emr.search('Patient')[0]['id']}"
        destination = FhirDestination(name="emr", kind="fhir", url=emr.url)
        assert take_back(FhirSink(destination), destination, made) == ["200", "200"]
        for kind in ("DiagnosticReport", "Observation", "Media"):
            found = emr.search(kind)
            assert {one["status"] for one in found} == {"entered-in-error"}, kind
            assert {one["subject"]["reference"] for one in found} == {patient}, kind  # as the EMR has it
            assert {one["meta"]["versionId"] for one in found} == {"3"}, kind
        (report,) = emr.search("DiagnosticReport")
        assert report["conclusion"] == WITHDRAWN["vi"]
        assert len(emr.search("Observation")) == len(made[1].findings)


def test_a_pacs_takes_the_rejection_note(made, tmp_path):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    with orthanc_module.Orthanc(tmp_path) as pacs:
        destination = DicomDestination(
            name="pacs",
            kind="dicom",
            host="127.0.0.1",
            port=pacs.port,
            ae_title="PACS",
            wait_for_images_seconds=0,
        )
        take_back(DimseSink(destination, "HOICHAN"), destination, made)
        uid = made[0].study_instance_uid
        assert {kind: len(pacs.uids(uid, kind)) for kind in ("SR", "OT", "KO")} == {"SR": 1, "OT": 1, "KO": 1}
