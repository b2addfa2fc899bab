"""The bundle: valid R4, idempotent, and the same statements as the SR."""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import unquote

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan import codes
from hoichan.encoding.fhir import addressed_to, encode_fhir, has_patient
from hoichan.encoding.fhir_parts import CITIZEN_ID, PATIENT_REFERENCE, patient_reference
from hoichan.encoding.images import picture_uid
from hoichan.encoding.source import document_context
from hoichan.privacy import Phi
from hoichan.settings import Site
from hoichan.testing import a_film, a_finding, a_refused_report, a_report, a_study
from hoichan.testing.reports import PATIENT_ID
from hoichan.types import Study

SITE = Site(name="BV Kiểm Thử", facility_code="79001", identifier_base="https://ai.example.vn")
JPEG = b"\xff\xd8 picture"

BINDINGS = {  # resource type -> element -> the codes R4 allows and we use
    "Device": {"status": {"active"}},
    "ImagingStudy": {"status": {"available"}},
    "Observation": {"status": {"preliminary"}},
    "Media": {"status": {"completed"}},
    "DiagnosticReport": {"status": {"partial", "preliminary"}},
    "Provenance": {},
    "Task": {"status": {"requested"}, "intent": {"order"}, "priority": {"stat", "urgent", "routine"}},
}


def encoded(report=None, study=None, source=None, site=SITE) -> bytes:
    study = study or a_study()
    context = document_context(
        study, report or a_report(study), source=source or a_film(), site=site, software_version="9.9"
    )
    return encode_fhir(context, site, JPEG)


def resources(content: bytes, kind: str) -> list[dict]:
    entries = json.loads(content)["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == kind]


def one(content: bytes, kind: str) -> dict:
    (resource,) = resources(content, kind)
    return resource


def with_patient(number: str, issuer: str | None = None, national: str | None = None) -> Study:
    study = a_study()
    patient = {name: getattr(study.patient, name) for name in study.patient.__slots__}
    patient |= {
        "patient_id": Phi(number),
        "issuer_of_patient_id": issuer,
        "national_id": Phi(national) if national else None,
    }
    fields = {name: getattr(study, name) for name in study.__slots__}
    return Study(**{**fields, "patient": type(study.patient)(**patient)})


def check_bindings(content: bytes) -> None:
    for entry in json.loads(content)["entry"]:
        resource = entry["resource"]
        for element, allowed in BINDINGS[resource["resourceType"]].items():
            assert resource[element] in allowed


@pytest.mark.parametrize("make", [a_report, a_refused_report])
def test_it_is_a_valid_transaction(make):
    study = a_study()
    content = encoded(make(study), study)
    bundle = json.loads(content)
    assert bundle["type"] == "transaction"
    model = Bundle.model_validate(bundle)
    assert json.loads(model.model_dump_json()) == bundle
    check_bindings(content)


def test_every_entry_is_idempotent():
    for entry in json.loads(encoded())["entry"]:
        request = entry["request"]
        if entry["resource"]["resourceType"] == "Provenance":
            assert request == {"method": "PUT", "url": f"Provenance/{entry['resource']['id']}"}
        else:
            system, _, value = request["ifNoneExist"].removeprefix("identifier=").partition("|")
            identifiers = [(item["system"], item["value"]) for item in entry["resource"]["identifier"]]
            assert (system, value) == identifiers[0]
            assert request["method"] == "POST"


def test_references_resolve_inside_the_bundle():
    content = encoded()
    urls = {entry["fullUrl"] for entry in json.loads(content)["entry"]}
    assert len(urls) == len(json.loads(content)["entry"])

    def references(value):
        if isinstance(value, dict):
            if str(value.get("reference", "")).startswith("urn:uuid:"):
                yield value["reference"]
            for child in value.values():
                yield from references(child)
        elif isinstance(value, list):
            for child in value:
                yield from references(child)

    assert set(references(json.loads(content))) <= urls


def test_the_patient_is_referred_to_and_never_created():
    content = encoded()
    assert not resources(content, "Patient")
    subjects = {
        entry["resource"]["subject"]["reference"]
        for entry in json.loads(content)["entry"]
        if "subject" in entry["resource"]
    }
    assert subjects == {f"{PATIENT_REFERENCE}https://ai.example.vn/id/patient|{PATIENT_ID}"}


@pytest.mark.parametrize(
    ("number", "issuer", "national", "expected"),
    [
        ("12", None, None, "https://ai.example.vn/id/patient|12"),
        ("12", "BVCR", None, "https://ai.example.vn/id/patient/BVCR|12"),
        ("12", "http://bv.vn/mrn", None, "http://bv.vn/mrn|12"),
        ("", None, "079185001234", f"{CITIZEN_ID}|079185001234"),
        ("A|B,C $1", None, None, "https://ai.example.vn/id/patient|A%5C%7CB%5C%2CC%20%5C%241"),
    ],
)
def test_patient_reference(number, issuer, national, expected):
    assert patient_reference(with_patient(number, issuer, national), SITE) == PATIENT_REFERENCE + expected


def test_without_any_number_there_is_no_reference_that_could_match_somebody_else():
    study = with_patient("")
    content = encoded(a_report(study), study)
    assert not has_patient(content)
    assert "Patient?" not in content.decode()
    Bundle.model_validate(json.loads(content))


def test_observations_say_what_the_sr_says():
    study = a_study()
    report = a_report(study)
    observations = resources(encoded(report, study), "Observation")
    assert len(observations) == len(report.findings)
    for finding, observation in zip(report.findings, observations, strict=True):
        term = codes.FINDINGS[finding.key]
        assert observation["code"]["coding"][0]["code"] == term.code.code_value
        assert observation["code"]["text"] == term.display["vi"]
        value = observation["valueCodeableConcept"]["coding"][0]["code"]
        assert value == codes.PRESENCE[finding.presence].code_value
        score, threshold = (part["valueQuantity"]["value"] for part in observation["component"][:2])
        assert score == round(finding.probability * 100, 1)
        assert threshold == round(finding.operating_point * 100, 1)


def test_everything_the_machine_states_is_labelled():
    content = encoded()
    for kind in ("Observation", "Media", "DiagnosticReport"):
        for resource in resources(content, kind):
            assert resource["meta"]["security"][0]["code"] == "AIAST"


def test_the_conclusion_carries_banner_and_disclaimer_and_no_coded_diagnosis():
    study = a_study()
    report = a_report(study)
    resource = one(encoded(report, study), "DiagnosticReport")
    assert resource["conclusion"].startswith(codes.BANNER["vi"])
    assert report.conclusion["vi"] in resource["conclusion"]
    assert resource["conclusion"].endswith(report.disclaimer["vi"])
    assert "conclusionCode" not in resource
    assert "resultsInterpreter" not in resource


def test_not_analysed_is_a_report_without_observations():
    study = a_study()
    content = encoded(a_refused_report(study), study)
    assert not resources(content, "Observation")
    assert "KHÔNG PHÂN TÍCH" in one(content, "DiagnosticReport")["conclusion"]


def test_the_picture_is_inside():
    study = a_study()
    report = a_report(study)
    media = one(encoded(report, study), "Media")
    assert base64.b64decode(media["content"]["data"]) == JPEG
    assert base64.b64decode(media["content"]["hash"]) == hashlib.sha1(JPEG, usedforsecurity=False).digest()
    assert media["identifier"][0]["value"] == f"urn:oid:{picture_uid(report)}"


def test_a_later_revision_names_the_report_it_replaces():
    first = a_report(a_study())
    later = a_study(revision=2)
    content = encoded(a_report(later, predecessor=first.report_uid), later)
    old = one(encoded(first), "DiagnosticReport")["identifier"][0]
    resource = one(content, "DiagnosticReport")
    assert resource["extension"][0]["valueReference"]["identifier"] == old
    assert one(content, "Provenance")["entity"][-1]["role"] == "revision"
    assert resource["identifier"][0] != old
    Bundle.model_validate(json.loads(content))


def test_a_receiver_with_defaults_gets_the_kept_bytes():
    content = encoded()
    assert addressed_to(content, unread_status="partial", patient_identifier_system=None) == content


def test_a_receiver_can_ask_for_its_own_status_and_patient_numbers():
    content = addressed_to(
        encoded(), unread_status="preliminary", patient_identifier_system="http://his.vn/mrn"
    )
    assert one(content, "DiagnosticReport")["status"] == "preliminary"
    assert (
        one(content, "ImagingStudy")["subject"]["reference"]
        == f"Patient?identifier=http://his.vn/mrn|{PATIENT_ID}"
    )
    assert content == addressed_to(
        encoded(), unread_status="preliminary", patient_identifier_system="http://his.vn/mrn"
    )


def test_a_citizen_id_keeps_its_national_system():
    study = with_patient("", national="079185001234")
    content = addressed_to(
        encoded(a_report(study), study),
        unread_status="partial",
        patient_identifier_system="http://his.vn/mrn",
    )
    assert f"{CITIZEN_ID}|079185001234" in one(content, "ImagingStudy")["subject"]["reference"]


def test_same_report_same_bytes():
    assert encoded() == encoded()


@settings(deadline=None)
@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_any_patient_number_survives_escaping(number):
    reference = patient_reference(with_patient(number), SITE)
    assert reference is not None
    _, _, value = reference.partition("|")
    assert "|" not in value
    plain = unquote(value)
    for character in ("$", "|", ",", "\\"):
        plain = plain.replace(f"\\{character}", character)
    assert plain == number.strip()


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(codes.FINDINGS)), st.floats(0, 1)),
        max_size=14,
        unique_by=lambda x: x[0],
    )
)
def test_any_set_of_findings_is_a_valid_bundle(scores):
    study = a_study()
    report = a_report(study, findings=[a_finding(study, key, score) for key, score in scores])
    content = encoded(report, study)
    Bundle.model_validate(json.loads(content))
    check_bindings(content)
