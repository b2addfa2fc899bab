"""A report that becomes final, is amended and withdrawn, at an EMR and a PACS that nobody of us wrote."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.encoding.retraction import BY_A_READER, retraction_uid, withdraw
from hoichan.reporting import plan
from hoichan.reporting.deliveries import plan_retraction
from hoichan.reporting.signed import signed_report
from hoichan.settings import DicomDestination, FhirDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT
from hoichan.testing.reviews import SIGNED_AT, SIGNER, a_review
from hoichan.types import ReviewKind
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module

pytestmark = pytest.mark.peers
NUMBERS = "https://hoichan.invalid/id/patient"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))


class Story:
    """One study, and what each step sends."""

    def __init__(self, folder):
        film = a_film(92)
        (folder / "film.dcm").write_bytes(as_bytes(film))
        self.study = a_study(film)
        self.encoder = DocumentEncoder(FolderOfFilms(folder), Settings())
        self.report = a_report(self.study)
        self.first = a_review(self.report, self.study)
        self.second = a_review(
            self.report,
            self.study,
            [self.first],
            kind=ReviewKind.AMENDMENT,
            reason="Đo lại.",
            now=SIGNED_AT + timedelta(hours=1),
        )

    def send(self, sink, destination, report):
        documents = self.encoder.encode(self.study, report)
        (delivery,) = plan(report, self.study, [destination], documents, REPORTED_AT)
        for _ in range(2):  # once more, as after a crash
            sink.deliver(delivery, documents)
        return documents

    def signed(self, review):
        return signed_report(self.report, review, self.study, time="08:32 20/11/2026")


def test_an_emr_has_one_report_and_sees_it_become_final_amended_and_wrong(tmp_path):
    if not emr_module.is_available():
        pytest.skip("sekmet-fhir is not installed: make .venv-emr/.emr")
    story = Story(tmp_path)
    (tmp_path / "emr").mkdir()
    with emr_module.Emr(tmp_path / "emr") as emr:
        emr.create_patient(NUMBERS, PATIENT_ID)
        destination = FhirDestination(name="emr", kind="fhir", url=emr.url)
        sink = FhirSink(destination)
        story.send(sink, destination, story.report)
        (report,) = emr.search("DiagnosticReport")
        assert report["status"] == "partial"
        story.send(sink, destination, story.signed(story.first))
        (report,) = emr.search("DiagnosticReport")
        assert report["status"] == "final"
        assert report["resultsInterpreter"][0]["display"] == SIGNER.full_name
        assert "meta" not in report or "security" not in report["meta"]
        statuses = sorted((one["code"]["text"], one["status"]) for one in emr.search("Observation"))
        assert statuses == sorted(
            [
                ("Tràn dịch màng phổi", "final"),
                ("Đông đặc phổi", "final"),
                ("Bóng tim to", "cancelled"),
                ("Nốt mờ phổi", "final"),  # added by the person
                ("Nốt mờ phổi", "preliminary"),  # the machine's, below its threshold: nobody spoke of it
                ("Tràn khí màng phổi", "preliminary"),
            ]
        )
        documents = story.send(sink, destination, story.signed(story.second))
        (report,) = emr.search("DiagnosticReport")
        assert report["status"] == "amended"
        withdrawn = withdraw(documents, language="vi", now=NOW, words=BY_A_READER)
        uid = retraction_uid(story.second.report_uid)
        (back,) = plan_retraction(uid, story.study.study_instance_uid, [destination], withdrawn, REPORTED_AT)
        sink.deliver(back, withdrawn)
        (report,) = emr.search("DiagnosticReport")
        assert (report["status"], report["conclusion"]) == ("entered-in-error", BY_A_READER["vi"])


def test_a_pacs_files_the_signed_report_in_its_study(tmp_path):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    story = Story(tmp_path)
    (tmp_path / "pacs").mkdir()
    with orthanc_module.Orthanc(tmp_path / "pacs") as pacs:
        destination = DicomDestination(
            name="pacs",
            kind="dicom",
            host="127.0.0.1",
            port=pacs.port,
            ae_title="PACS",
            wait_for_images_seconds=0,
        )
        sink = DimseSink(destination, "HOICHAN")
        for report in (story.report, story.signed(story.first), story.signed(story.second)):
            story.send(sink, destination, report)
        uids = pacs.uids(story.study.study_instance_uid, "SR")
        assert len(uids) == 3
        kept = {uid: dcmread(BytesIO(pacs.file(uid))) for uid in uids}
        assert kept[story.first.report_uid].VerificationFlag == "VERIFIED"
        amended = kept[story.second.report_uid]
        assert amended.PreliminaryFlag == "FINAL"
        assert str(amended.VerifyingObserverSequence[0].VerifyingObserverName) == "Lê^Châu^Minh"
        assert len(amended.PredecessorDocumentsSequence) == 2
