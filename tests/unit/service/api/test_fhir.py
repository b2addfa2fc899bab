"""`/fhir` over a real record: found, read, paged, and nobody asked for in an address."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.retractions_sql import Retraction, RetractionsSql
from hoichan.adapters.schema import audit
from hoichan.adapters.schema_orders import retractions
from hoichan.encoding.retraction import withdraw
from hoichan.testing import FolderOfFilms, a_film, as_bytes
from hoichan.testing.reading import a_record, arrive, assemble, report
from service.api.caller import VISIT, token_of
from service.api.fhir_query import (
    PATIENT,
    TOKENS,
    NotUnderstood,
    cursor,
    read_cursor,
    understand,
)
from tests.unit.service.api.asking import an_app

ACCESSION = "https://hoichan.invalid/id/accession"
PATIENTS = "https://hoichan.invalid/id/patient"
SCORES = {"pneumothorax": 0.03, "pleural_effusion": 0.71, "cardiomegaly": 0.64}


class Server:
    """Three studies with real bundles, an hour apart, and somebody who asks."""

    def __init__(self, folder, people=("BN0", "BN1", "BN2")):
        self.record = a_record(folder)
        films = folder / "films"
        films.mkdir()
        (films / "film.dcm").write_bytes(as_bytes(a_film()))
        encoder = DocumentEncoder(FolderOfFilms(films), self.record.settings)
        self.studies, self.reports = [], []
        for number, person in enumerate(people):
            study = arrive(self.record, f"film {number}", person=("A^B", "F", 1980, person))
            self.record.clock.advance(3600)
            self.studies.append(assemble(self.record, study))
            self.reports.append(report(self.record, self.studies[-1], SCORES, encode=encoder.encode))
        self.client = TestClient(
            an_app(self.record), base_url="http://localhost:8080", client=("127.0.0.1", 50000)
        )
        self.client.get("/docs")
        self.headers = {
            "Sec-Fetch-Site": "same-origin",
            "X-CSRF-Token": token_of(self.client.cookies[VISIT]),
        }

    def get(self, place, **parameters):
        return self.client.get(f"/fhir/{place}", params=parameters)

    def found(self, place, **parameters):
        return [entry["resource"] for entry in self.get(place, **parameters).json()["entry"]]

    def post(self, kind, **fields):
        return self.client.post(f"/fhir/{kind}/_search", data=fields, headers=self.headers)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("fhir"))
    yield made
    made.record.engine.dispose()


def test_what_can_be_asked_is_said(server):
    statement = server.get("metadata").json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    (rest,) = statement["rest"]
    codes = {one["type"]: [said["code"] for said in one["interaction"]] for one in rest["resource"]}
    assert codes == {
        **{kind: ["read", "search-type"] for kind in (*TOKENS, "Task")},
        "ServiceRequest": ["create"],
    }


def test_the_newest_reports_come_first_and_everything_leads_on(server):
    reports = server.found("DiagnosticReport")
    assert [one["id"] for one in reports] == [made.report_uid for made in reversed(server.reports)]
    newest = reports[0]
    assert (newest["status"], newest["meta"]["security"][0]["code"]) == ("partial", "AIAST")
    for reference in (*newest["result"], *newest["imagingStudy"], newest["media"][0]["link"]):
        answer = server.get(reference["reference"])
        assert answer.headers["content-type"].startswith("application/fhir+json")
        kind, _, identity = reference["reference"].partition("/")
        assert (answer.json()["resourceType"], answer.json()["id"]) == (kind, identity)


def test_pages_hold_everything_once(server):
    address, seen = "/fhir/Observation?_count=4", []
    while address:
        page = server.client.get(address).json()
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        links = {link["relation"]: link["url"] for link in page["link"]}
        address = links.get("next")
    assert len(seen) == len(set(seen)) == 9


@pytest.mark.parametrize(
    ("kind", "parameters", "count"),
    [
        ("Observation", {"code": "60046008"}, 3),
        ("Observation", {"code": "http://snomed.info/sct|60046008,46621007"}, 3),
        ("Observation", {"code": "http://loinc.org|60046008"}, 0),
        ("Observation", {"value-concept": "52101004"}, 6),
        ("DiagnosticReport", {"status": "partial"}, 3),
        ("DiagnosticReport", {"status": "final"}, 0),
        ("ImagingStudy", {"modality": "CR"}, 3),
        ("Device", {}, 3),
    ],
)
def test_tokens(server, kind, parameters, count):
    assert len(server.found(kind, **parameters)) == count


def test_by_identifier_study_and_target(server):
    study, made = server.studies[1].study_instance_uid, server.reports[1]
    (found,) = server.found("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study}")
    assert found["id"] == study
    (found,) = server.found("DiagnosticReport", identifier=f"urn:dicom:uid|urn:oid:{made.report_uid}")
    assert found["id"] == made.report_uid
    assert len(server.found("Observation", **{"derived-from": f"ImagingStudy/{study}"})) == 3
    (found,) = server.found("Provenance", target=f"DiagnosticReport/{made.report_uid}")
    assert found["id"] == made.report_uid
    assert server.found("DiagnosticReport", _id=made.report_uid)[0]["id"] == made.report_uid


def test_by_time(server):
    updated = server.found("DiagnosticReport", _id=server.reports[1].report_uid)[0]["meta"]["lastUpdated"]
    second = datetime.fromisoformat(updated)
    at = second.strftime("%Y-%m-%dT%H:%M:%SZ")
    counts = {p: len(server.found("DiagnosticReport", issued=p + at)) for p in ("ge", "gt", "le", "lt", "eq")}
    assert counts == {"ge": 2, "gt": 1, "le": 2, "lt": 1, "eq": 1}
    assert len(server.found("DiagnosticReport", _lastUpdated=f"ge{second:%Y-%m-%d}")) >= 1


@pytest.mark.parametrize(("prefix", "since", "before"), [("", 20, 21), ("ge", 20, None), ("lt", None, 20)])
def test_a_day_is_the_hospitals_day(prefix, since, before):
    """Until seven in the morning it is still yesterday in UTC (FHIR R4 search 3.1.1.4.5)."""
    zone = ZoneInfo("Asia/Ho_Chi_Minh")
    asked = understand(
        "DiagnosticReport",
        [("issued", f"{prefix}2026-11-20")],
        in_body=False,
        accession_system=ACCESSION,
        zone=zone,
    )
    days = [datetime(2026, 11, day, tzinfo=zone) if day else None for day in (since, before)]
    assert [asked.wanted.since, asked.wanted.before] == days


def test_a_patient_is_asked_for_in_the_body_only(server):
    answer = server.get("DiagnosticReport", **{"patient:identifier": "BN1"})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert server.get("ImagingStudy", identifier=f"{ACCESSION}|XR1").status_code == HTTPStatus.BAD_REQUEST
    for number in ("BN1", f"{PATIENTS}|BN1"):
        bundle = server.post("DiagnosticReport", **{"patient:identifier": number}).json()
        assert [entry["resource"]["id"] for entry in bundle["entry"]] == [server.reports[1].report_uid]
        assert "BN1" not in str(bundle["link"])
    assert server.post("DiagnosticReport", **{"patient:identifier": "urn:other|BN1"}).json()["entry"] == []
    accession = server.studies[2].accession_number
    bundle = server.post("ImagingStudy", identifier=f"{ACCESSION}|{accession}").json()
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == [server.studies[2].study_instance_uid]


def test_more_of_a_patient_than_a_page_is_told_and_can_be_had(tmp_path):
    server = Server(tmp_path, people=("BN1", "BN1", "BN2"))
    body = {"patient:identifier": "BN1", "_count": "1"}
    first = server.post("DiagnosticReport", **body).json()
    report_found, told = (entry["resource"] for entry in first["entry"])
    assert (told["resourceType"], told["issue"][0]["code"]) == ("OperationOutcome", "incomplete")
    assert [link["relation"] for link in first["link"]] == ["self"] and "BN1" not in str(told)
    rest = told["issue"][0]["diagnostics"].partition("_cursor=")[2].split()[0]
    second = server.post("DiagnosticReport", **body, _cursor=rest).json()
    ids = [report_found["id"], *(entry["resource"]["id"] for entry in second["entry"])]
    assert ids == [server.reports[1].report_uid, server.reports[0].report_uid]
    server.record.engine.dispose()


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("Patient", HTTPStatus.NOT_FOUND),
        ("Patient/1", HTTPStatus.NOT_FOUND),
        ("DiagnosticReport/1.2.3", HTTPStatus.NOT_FOUND),
        ("DiagnosticReport?name=x", HTTPStatus.BAD_REQUEST),
        ("DiagnosticReport?issued=yesterday", HTTPStatus.BAD_REQUEST),
        ("DiagnosticReport?issued=2026-11-20T08:00:00", HTTPStatus.BAD_REQUEST),
        ("DiagnosticReport?_count=many", HTTPStatus.BAD_REQUEST),
        ("DiagnosticReport?_format=xml", HTTPStatus.BAD_REQUEST),
        ("DiagnosticReport?_cursor=%21", HTTPStatus.BAD_REQUEST),
    ],
)
def test_what_is_not_understood_is_said(server, place, status):
    answer = server.client.get(f"/fhir/{place}")
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")


def test_who_looked_at_what_is_in_the_audit_log(server):
    server.found("DiagnosticReport", status="partial")
    with server.record.engine.connect() as connection:
        rows = {(row.what, row.detail) for row in connection.execute(sa.select(audit))}
    assert ("queried", "FHIR DiagnosticReport, 3 found") in rows


@given(
    st.sampled_from(sorted(TOKENS)),
    st.sampled_from(["_id", "_count", "_cursor", "_lastUpdated", "issued", "code", "identifier", *PATIENT]),
    st.text(max_size=40),
)
def test_no_value_breaks_a_search(kind, name, value):
    try:
        understand(kind, [(name, value)], in_body=True, accession_system=ACCESSION, zone=UTC)
    except NotUnderstood as error:
        assert value.strip() == "" or len(value) < 4 or value not in str(error)


def test_a_cursor_comes_back(server):
    made = server.reports[0]
    assert read_cursor(cursor(made.created_at, made.report_uid)) == (made.created_at, made.report_uid)


# ------------------------------------------------------------------ what was taken back
@pytest.fixture
def changed(tmp_path):
    made = Server(tmp_path)
    yield made
    made.client.close()
    made.record.engine.dispose()


def test_a_report_that_is_taken_back_says_so_everywhere(changed):
    uid = changed.reports[1].report_uid
    with changed.record.engine.begin() as connection:
        connection.execute(
            retractions.insert().values(
                report_uid=uid,
                study_instance_uid=changed.studies[1].study_instance_uid,
                revision=1,
                asked_at=changed.record.clock.now(),
                destinations=[],
                patient_id="BN1",
                patient_name="A^B",
            )
        )
    report = changed.get(f"DiagnosticReport/{uid}").json()
    assert report["status"] == "entered-in-error"
    statements = [*report["result"], report["media"][0]["link"]]
    for reference in statements:
        assert changed.get(reference["reference"]).json()["status"] == "entered-in-error"
    assert changed.get(report["imagingStudy"][0]["reference"]).json()["status"] == "available"
    assert [one["id"] for one in changed.found("DiagnosticReport", status="entered-in-error")] == [uid]
    assert uid not in [one["id"] for one in changed.found("DiagnosticReport", status="partial")]
    assert len(changed.found("DiagnosticReport")) == 3


def test_what_takes_back_is_no_report_of_its_own(changed):
    uid, study = changed.reports[2].report_uid, changed.studies[2]
    house = RetractionsSql(changed.record.engine, changed.record.reading.objects, changed.record.clock)
    retraction = Retraction(
        report_uid=uid, study_instance_uid=study.study_instance_uid, revision=1, destinations=()
    )
    made = withdraw(house.sent(retraction), language="vi", now=changed.record.clock.now())
    changed.record.clock.advance(60)
    house.keep(retraction, "2.25.7", conclusion={"vi": "x"}, made=made, planned=[])
    found = changed.found("DiagnosticReport")
    assert (found[0]["id"], found[0]["status"]) == (uid, "entered-in-error")
    assert len(found) == 3
