"""The Task that asks for a look at a machine's result: one a study and patient, and where it ends."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hoichan.encoding.fhir import addressed_to, encode_fhir
from hoichan.encoding.fhir_checks import faults
from hoichan.encoding.fhir_served import served
from hoichan.encoding.fhir_task import begun_task, begun_version
from hoichan.encoding.retraction import BY_A_READER, withdrawn_bundle
from hoichan.encoding.source import document_context
from hoichan.reporting.begun import begun_report
from hoichan.reporting.signed import signed_report, verdict_of
from hoichan.settings import Site
from hoichan.testing import a_film, a_finding, a_refused_report, a_report, a_study
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT
from hoichan.testing.reviews import a_review
from hoichan.types import Judgement, SOPInstanceUID, Verdict

SITE = Site(name="BV Kiểm Thử", facility_code="79001", identifier_base="https://ai.example.vn")
FORMER = SOPInstanceUID("2.25.7")
STUDY = a_study()


def bundle(report, study=STUDY):
    context = document_context(study, report, source=a_film(), site=SITE, software_version="1")
    return encode_fhir(context, SITE, b"\xff\xd8")


def tasks(content):
    entries = [one for one in json.loads(content)["entry"] if one["resource"]["resourceType"] == "Task"]
    return [(one["request"], one["resource"]) for one in entries]


def task(content):
    ((request, resource),) = tasks(content)
    return request, resource


def test_a_result_asks_a_radiologist_to_confirm_it():
    content = bundle(a_report(STUDY))
    request, asked = task(content)
    assert faults(json.loads(content)) == []
    assert (asked["status"], asked["intent"], asked["priority"]) == ("requested", "order", "urgent")
    assert asked["code"]["coding"][0]["code"] == "approve"
    assert asked["for"]["reference"].endswith(f"|{PATIENT_ID}")
    assert asked["basedOn"][0]["identifier"]["value"] == STUDY.accession_number
    identifier = asked["identifier"][0]
    assert request["ifNoneExist"] == f"identifier={identifier['system']}|{identifier['value']}"
    urls = {one["fullUrl"]: one["resource"]["resourceType"] for one in json.loads(content)["entry"]}
    assert urls[asked["focus"]["reference"]] == "DiagnosticReport"
    assert urls[asked["requester"]["reference"]] == "Device"


@pytest.mark.parametrize(
    ("key", "priority"),
    [
        ("pneumothorax", "stat"),
        ("pleural_effusion", "urgent"),
        ("cardiomegaly", "routine"),
        (None, "routine"),
    ],
)
def test_how_soon_follows_the_most_urgent_finding(key, priority):
    findings = (a_finding(STUDY, key, 0.9),) if key else ()
    _, asked = task(bundle(a_report(STUDY, findings=findings)))
    assert asked["priority"] == priority


def test_a_later_revision_renews_it_and_asks_no_second_time():
    _, first = task(bundle(a_report(STUDY)))
    request, second = task(bundle(a_report(replace(STUDY, revision=2), predecessor=FORMER)))
    assert second["identifier"] == first["identifier"] and second["status"] == "requested"
    assert second["focus"] != first["focus"]
    identifier = second["identifier"][0]
    assert request == {
        "method": "PUT",
        "url": f"Task?identifier={identifier['system']}|{identifier['value']}",
    }


def test_another_patient_has_another_task():
    other = a_study(patient_id="BN-2026-9")
    other = replace(other, patient=replace(other.patient, national_id=None))
    _, first = task(bundle(a_report(STUDY)))
    _, second = task(bundle(a_report(other), other))
    assert first["identifier"] != second["identifier"]


def test_nothing_to_look_at_asks_nobody_and_ends_what_was_asked():
    assert tasks(bundle(a_refused_report(STUDY))) == []
    request, ended = task(bundle(replace(a_refused_report(STUDY), predecessor=FORMER)))
    assert (request["method"], ended["status"]) == ("PUT", "cancelled")


def test_a_signature_completes_it():
    report = a_report(STUDY)
    review = a_review(report, STUDY)
    content = bundle(signed_report(report, review, STUDY, time="08:32 20/11/2026"))
    request, done = task(content)
    assert faults(json.loads(content)) == []
    _, asked = task(bundle(report))
    assert done["identifier"] == asked["identifier"] and request["method"] == "PUT"
    assert done["status"] == "completed"
    assert done["owner"]["identifier"]["value"] == review.licence_number
    assert done["output"][0]["valueReference"] == done["focus"]
    assert done["output"][1]["valueCode"] == "edited"


@pytest.mark.parametrize(
    "said, verdict",
    [
        ((), "accepted"),
        (("accepted", "accepted"), "accepted"),
        (("accepted", "rejected"), "edited"),
        (("rejected", "added"), "edited"),
        (("rejected", "rejected"), "rejected"),
    ],
)
def test_the_verdict_on_the_whole_is_told(said, verdict):
    judgements = tuple(Judgement(finding_id=None, key="effusion", verdict=Verdict(one)) for one in said)
    assert verdict_of(replace(a_review(a_report(STUDY), STUDY), judgements=judgements, volumes=())) == verdict


def test_what_began_with_a_person_had_no_task():
    report = begun_report(STUDY, REPORTED_AT)
    assert tasks(bundle(report)) == []


def test_what_is_taken_back_cannot_be_done_any_more():
    _, failed = task(withdrawn_bundle(bundle(a_report(STUDY)), BY_A_READER["vi"]))
    assert (failed["status"], failed["statusReason"]) == ("failed", {"text": BY_A_READER["vi"]})


def test_a_receiver_may_want_none_and_may_name_the_patient_its_own_way():
    study = replace(STUDY, patient=replace(STUDY.patient, national_id=None))
    content = bundle(a_report(study), study)
    said = {"unread_status": "partial", "patient_identifier_system": "urn:emr"}
    assert tasks(addressed_to(content, **said, review_task=False)) == []
    _, asked = task(addressed_to(content, **said))
    assert asked["for"]["reference"] == f"Patient?identifier=urn:emr|{PATIENT_ID}"


def test_our_own_server_gives_jobs_as_tasks_and_not_this():
    found = served(
        bundle(a_report(STUDY)),
        report_uid="2.25.1",
        study_instance_uid=STUDY.study_instance_uid,
        created_at=REPORTED_AT,
    )
    assert {one["resourceType"] for one in found} >= {"DiagnosticReport", "Provenance"}
    assert "Task" not in {one["resourceType"] for one in found}


# ------------------------------------------------------------------ somebody has begun to read
DOCTOR = {"type": "Practitioner", "identifier": {"system": "https://x/id/licence", "value": "012345"}}
BEGUN_AT = "2026-11-20T08:32:10+07:00"


def test_a_reading_that_has_begun_is_told_of_the_same_task():
    content = bundle(a_report(STUDY))
    _, asked = task(content)
    told = begun_task(content, doctor=DOCTOR, begun_at=BEGUN_AT)
    request, begun = task(told)
    assert faults(json.loads(told)) == []
    assert len(json.loads(told)["entry"]) == 1
    assert (begun["status"], begun["owner"], begun["lastModified"]) == ("in-progress", DOCTOR, BEGUN_AT)
    assert begun["identifier"] == asked["identifier"]
    assert begun["for"] == asked["for"]
    assert begun["basedOn"] == asked["basedOn"]
    assert (request["method"], "ifNoneExist" in request) == ("PUT", False)
    # what they point to stands in another bundle
    assert "urn:uuid:" not in json.dumps(begun)
    assert (begun["focus"]["type"], begun["requester"]["type"]) == ("DiagnosticReport", "Device")
    made = {one["resource"]["resourceType"]: one["resource"] for one in json.loads(content)["entry"]}
    for name in ("focus", "requester"):
        first = made[begun[name]["type"]]["identifier"][0]
        assert begun[name]["identifier"] == {"system": first["system"], "value": first["value"]}


def test_a_reader_without_a_licence_is_not_named():
    _, begun = task(begun_task(bundle(a_report(STUDY)), doctor=None, begun_at=BEGUN_AT))
    assert "owner" not in begun


def test_nothing_is_told_where_nobody_was_asked():
    refused = replace(a_refused_report(STUDY), predecessor=FORMER)
    assert begun_task(bundle(a_refused_report(STUDY)), doctor=DOCTOR, begun_at=BEGUN_AT) is None
    assert begun_task(bundle(refused), doctor=DOCTOR, begun_at=BEGUN_AT) is None
    assert begun_task(b"no bundle", doctor=DOCTOR, begun_at=BEGUN_AT) is None


def test_the_task_that_is_there_keeps_what_others_wrote():
    (entry,) = json.loads(begun_task(bundle(a_report(STUDY)), doctor=DOCTOR, begun_at=BEGUN_AT))["entry"]
    note = [{"text": "of theirs"}]
    theirs = {
        "resourceType": "Task",
        "id": "7",
        "status": "requested",
        "note": note,
        "meta": {"versionId": "3"},
    }
    now = begun_version(entry, theirs)
    assert now["request"] == {"method": "PUT", "url": "Task/7", "ifMatch": 'W/"3"'}
    assert now["resource"] == {**theirs, "status": "in-progress", "lastModified": BEGUN_AT, "owner": DOCTOR}
    unversioned = begun_version(entry, {"resourceType": "Task", "id": "7", "status": "requested"})
    assert unversioned["request"] == {"method": "PUT", "url": "Task/7"}
