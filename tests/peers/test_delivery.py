"""A report's way into a PACS and an EMR that nobody of us wrote."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan import codes
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.encoding.sr import COMPREHENSIVE_3D_SR
from hoichan.errors import Refused, Unreachable
from hoichan.reporting import plan
from hoichan.settings import DicomDestination, FhirDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_refused_report, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID, PATIENT_NAME, REPORTED_AT
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module

pytestmark = pytest.mark.peers
NUMBERS = "https://hoichan.invalid/id/patient"


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    with orthanc_module.Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def emr(tmp_path_factory):
    if not emr_module.is_available():
        pytest.skip("sekmet-fhir is not installed: make .venv-emr/.emr")
    with emr_module.Emr(tmp_path_factory.mktemp("emr")) as server:
        server.create_patient(NUMBERS, PATIENT_ID)
        yield server


@pytest.fixture
def sent(tmp_path):
    """Encodes the report of a film and gives it to a sink."""

    def send(sink_of, destination, seed, make=a_report, **changes):
        film = a_film(seed)
        (tmp_path / "film.dcm").write_bytes(as_bytes(film))
        study = a_study(film, **changes)
        report = make(study)
        documents = DocumentEncoder(FolderOfFilms(tmp_path), Settings()).encode(study, report)
        (delivery,) = plan(report, study, [destination], documents, REPORTED_AT)
        return study, report, sink_of(destination).deliver(delivery, documents)

    return send


def dimse(destination):
    return DimseSink(destination, "HOICHAN")


def to_pacs(server, **changes):
    values = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": server.port, "ae_title": "PACS"}
    return DicomDestination(**{**values, "wait_for_images_seconds": 0, **changes})


def to_emr(server, **changes):
    return FhirDestination(**{"name": "emr", "kind": "fhir", "url": server.url, **changes})


@pytest.mark.parametrize("make", [a_report, a_refused_report])
def test_sr_and_picture_are_found_by_qido(pacs, sent, make):
    study, report, acknowledgement = sent(dimse, to_pacs(pacs), f"qido-{make.__name__}", make)
    assert acknowledgement == "0x0000"
    (structured,) = pacs.qido(study.study_instance_uid, Modality="SR")
    assert structured["00080016"]["Value"] == [COMPREHENSIVE_3D_SR]
    assert structured["00080018"]["Value"] == [report.report_uid]
    assert len(pacs.uids(study.study_instance_uid, "OT")) == 1


def test_vietnamese_comes_back_from_the_pacs_unchanged(pacs, sent):
    _, report, _ = sent(dimse, to_pacs(pacs), "vietnamese")
    stored = dcmread(BytesIO(pacs.file(report.report_uid)))
    assert str(stored.PatientName) == PATIENT_NAME
    evaluations = next(
        item for item in stored.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "C0034375"
    )
    texts = [str(item.TextValue) for item in evaluations.ContentSequence if item.ValueType == "TEXT"]
    assert texts == [codes.BANNER["vi"], report.conclusion["vi"], report.disclaimer["vi"]]


def test_twice_to_the_pacs_is_once(pacs, sent):
    sent(dimse, to_pacs(pacs), "twice")
    before = pacs.count()
    sent(dimse, to_pacs(pacs), "twice")
    assert pacs.count() == before


def test_a_pacs_that_does_not_know_its_title_refuses(pacs, sent):
    with pytest.raises(Refused):
        sent(dimse, to_pacs(pacs, ae_title="OTHER"), "title")


def test_the_bundle_is_taken_and_twice_is_once(emr, sent):
    acknowledgements = [sent(FhirSink, to_emr(emr), "emr")[2] for _ in range(2)]
    assert acknowledgements == ["200", "200"]
    study, report, _ = sent(FhirSink, to_emr(emr), "emr")
    (held,) = emr.search("DiagnosticReport", identifier=f"urn:dicom:uid|urn:oid:{report.report_uid}")
    assert held["status"] == "partial"
    assert report.conclusion["vi"] in held["conclusion"]
    assert held["subject"]["reference"].startswith("Patient/")
    (imaging,) = emr.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study.study_instance_uid}")
    assert imaging["numberOfInstances"] == 1
    assert len(held["result"]) == len(report.findings)
    assert len(emr.search("Patient")) == 1


def test_not_analysed_reaches_the_emr_too(emr, sent):
    _, report, _ = sent(FhirSink, to_emr(emr), "refused", a_refused_report)
    (held,) = emr.search("DiagnosticReport", identifier=f"urn:dicom:uid|urn:oid:{report.report_uid}")
    assert "KHÔNG PHÂN TÍCH" in held["conclusion"]


def test_a_later_revision_stands_beside_the_one_it_replaces(emr, sent):
    _, first, _ = sent(FhirSink, to_emr(emr), "revised")

    def later(study):
        return a_report(study, predecessor=first.report_uid)

    _, second, _ = sent(FhirSink, to_emr(emr), "revised", later, revision=2)
    (held,) = emr.search("DiagnosticReport", identifier=f"urn:dicom:uid|urn:oid:{second.report_uid}")
    assert json.dumps(held).count("diagnosticReport-replaces") == 1


def test_an_emr_that_expects_preliminary_gets_it(emr, sent):
    _, report, _ = sent(FhirSink, to_emr(emr, unread_status="preliminary"), "status")
    (held,) = emr.search("DiagnosticReport", identifier=f"urn:dicom:uid|urn:oid:{report.report_uid}")
    assert held["status"] == "preliminary"


def test_an_unknown_patient_is_refused_and_nothing_is_filed(emr, sent):
    before = len(emr.search("DiagnosticReport"))
    with pytest.raises(Refused) as caught:
        sent(FhirSink, to_emr(emr), "stranger", patient_id="NOBODY-KNOWS-ME")
    assert "NOBODY" not in str(caught.value)
    assert len(emr.search("DiagnosticReport")) == before
    assert len(emr.search("Patient")) == 1


def test_an_emr_that_is_down_is_later(emr, sent, tmp_path):
    gone = emr_module.Emr(tmp_path / "gone")  # never started
    with pytest.raises(Unreachable):
        sent(FhirSink, to_emr(gone), "down")
