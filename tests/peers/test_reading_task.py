"""A FHIR server that nobody of us wrote hears that somebody has begun to read, and whose insurance it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hoichan.adapters.sink_fhir import FhirSink
from hoichan.encoding.fhir import encode_fhir
from hoichan.encoding.fhir_parts import INSURANCE_NUMBER, PATIENT_REFERENCE
from hoichan.encoding.fhir_task import begun_task
from hoichan.encoding.source import document_context
from hoichan.privacy import Phi
from hoichan.reporting import plan
from hoichan.reporting.deliveries import plan_reading
from hoichan.settings import FhirDestination, Site
from hoichan.testing import a_film, a_report, a_study
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT
from hoichan.types import Document, DocumentKind
from tests.peers import emr as emr_module

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not emr_module.is_available(), reason="make .venv-emr/.emr"),
]
SITE = Site(name="BV Kiểm Thử", facility_code="79001", identifier_base="https://ai.example.vn")
CARD = "DN4790123456789"


def kept(kind, content):
    return Document(
        kind=kind, uid="1", sop_class_uid=None, media_type="application/fhir+json", content=content
    )


def test_a_task_goes_on_once_and_keeps_what_the_server_made_of_it(tmp_path):
    study = a_study()
    study = replace(study, patient=replace(study.patient, insurance_number=Phi(CARD)))
    report = a_report(study)
    context = document_context(study, report, source=a_film(), site=SITE, software_version="1")
    content = encode_fhir(context, SITE, b"\xff\xd8")
    subject = json.loads(content)["entry"][-1]["resource"]["for"]["reference"]
    doctor = {
        "type": "Practitioner",
        "identifier": {"system": "https://ai.example.vn/id/licence", "value": "012345"},
    }
    begun = begun_task(content, doctor=doctor, begun_at="2026-11-20T08:32:00+07:00")
    with emr_module.Emr(tmp_path) as emr:
        emr.create_patient(subject.removeprefix(PATIENT_REFERENCE).partition("|")[0], PATIENT_ID)
        to = FhirDestination(name="emr", kind="fhir", url=emr.url)
        result, note = kept(DocumentKind.FHIR, content), kept(DocumentKind.FHIR_TASK, begun)
        (first,) = plan(report, study, [to], [result], REPORTED_AT)
        (second,) = plan_reading(report, [to], note, REPORTED_AT)
        assert FhirSink(to).deliver(first, [result]) == "200"
        (asked,) = emr.search("Task")
        assert FhirSink(to).deliver(second, [note]) == "200"
        assert FhirSink(to).deliver(second, [note]) == "is in-progress"
        (task,) = emr.search("Task")
        (filed,) = emr.search("DiagnosticReport")
    assert (asked["status"], task["status"], task["owner"]) == ("requested", "in-progress", doctor)
    assert (task["focus"], task["for"], task["id"]) == (asked["focus"], asked["for"], asked["id"])
    assert task["focus"]["reference"] == f"DiagnosticReport/{filed['id']}"
    assert filed["subject"]["identifier"]["system"] == INSURANCE_NUMBER
    assert filed["subject"]["identifier"]["value"] == CARD
