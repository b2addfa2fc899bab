"""A kept bundle as single resources: valid, with references that lead somewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from fhir.resources.R4B import get_fhir_model_class

from hoichan.encoding.fhir import encode_fhir
from hoichan.encoding.fhir_served import report_of, served, values_at
from hoichan.encoding.source import document_context
from hoichan.settings import Site
from hoichan.testing import a_film, a_report, a_study

AT = datetime(2026, 11, 20, 8, 15, tzinfo=UTC)


def resources(**changes):
    film = a_film()
    study = a_study(film, **changes)
    report = a_report(study)
    context = document_context(study, report, source=film, site=Site(), software_version="1")
    bundle = encode_fhir(context, Site(), b"\xff\xd8")
    return (
        study,
        report,
        served(
            bundle, report_uid=report.report_uid, study_instance_uid=study.study_instance_uid, created_at=AT
        ),
    )


def test_every_resource_is_valid_r4():
    for resource in resources()[2]:
        model = get_fhir_model_class(resource["resourceType"])
        model.model_validate(resource)


def test_ids_say_where_a_resource_is_kept():
    study, report, found = resources()
    ids = [resource["id"] for resource in found]
    places = {f"{resource['resourceType']}/{resource['id']}" for resource in found}
    assert len(places) == len(found)
    assert all(len(one) <= 64 and set(one) <= set("0123456789.-") for one in ids)
    kept_under = {resource["resourceType"]: report_of(resource["id"]) for resource in found}
    assert kept_under.pop("ImagingStudy") == study.study_instance_uid
    assert set(kept_under.values()) == {report.report_uid}


def test_every_reference_leads_to_one_of_them():
    _, _, found = resources()
    places = {f"{resource['resourceType']}/{resource['id']}" for resource in found}
    text = json.dumps(found)
    assert "urn:uuid" not in text and "Patient?" not in text
    for path in ("imagingStudy", "result", "derivedFrom", "partOf", "device", "target", "media.link"):
        references = [value["reference"] for resource in found for value in values_at(resource, path)]
        assert references and set(references) <= places


@pytest.mark.parametrize("number", ["BN-1", "a|b,c$d\\e", "số 5"])
def test_the_patient_is_named_by_the_number(number):
    _, _, found = resources(patient_id=number)
    named = [value for resource in found for value in values_at(resource, "subject.identifier")]
    assert {value["value"] for value in named} == {number}
    assert all(
        value["system"].endswith("/id/patient") or "/id/patient/" in value["system"] for value in named
    )


def test_the_label_of_the_machine_stays():
    for resource in resources()[2]:
        assert resource["meta"]["lastUpdated"] == "2026-11-20T08:15:00.000+00:00"
        if resource["resourceType"] in ("DiagnosticReport", "Observation", "Media"):
            assert resource["meta"]["security"][0]["code"] == "AIAST"
