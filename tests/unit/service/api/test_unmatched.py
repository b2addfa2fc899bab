"""A report whose patient an EMR does not know, from the refusal to a person's word and the way there."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.matches_sql import MatchesSql
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.reporting import plan
from hoichan.settings import FhirDestination, Settings
from hoichan.testing.reading import a_record, arrive, assemble
from hoichan.testing.reports import a_report
from hoichan.types import DeliveryState, Document, DocumentKind
from service.api.caller import VISIT, token_of
from service.outbox import Outbox
from tests.unit.service.api.asking import an_app

BUNDLE = json.dumps(
    {
        "entry": [
            {
                "fullUrl": "urn:uuid:1",
                "request": {
                    "method": "POST",
                    "url": "Observation",
                    "ifNoneExist": "identifier=http://x/id|1",
                },
                "resource": {
                    "resourceType": "Observation",
                    "status": "preliminary",
                    "code": {"text": "x"},
                    "subject": {"reference": "Patient?identifier=http://x/id|BN-2026-004127"},
                },
            }
        ]
    },
    separators=(",", ":"),
).encode()
AN = {"resourceType": "Patient", "id": "77", "birthDate": "1958-03-15", "gender": "male"}
BINH = {"resourceType": "Patient", "id": "78", "birthDate": "1971-01-01", "gender": "female"}


class Emr:
    """A FHIR server that knows two patients by id and nobody by number."""

    def __init__(self):
        emr = self
        self.posted = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                found = [one for one in (AN, BINH) if self.path == f"/fhir/Patient/{one['id']}"]
                self.say(200 if found else 404, found[0] if found else {})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/_search"):
                    self.say(200, {"resourceType": "Bundle"})
                elif b"Patient?identifier" in body:
                    self.say(404, {})
                else:
                    emr.posted.append(json.loads(body))
                    self.say(200, {})

            def say(self, status, content):
                said = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/fhir"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(60)


class Site:
    """A study whose report the EMR refused."""

    def __init__(self, folder, emr):
        self.emr = emr
        self.destination = FhirDestination(name="emr", kind="fhir", url=emr.url)
        settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder, "reserve_bytes": 0},
                "destinations": [{"name": "emr", "kind": "fhir", "url": emr.url}],
            }
        )
        self.record = a_record(folder, settings)
        self.matches = MatchesSql(self.record.engine, self.record.clock)
        self.study = assemble(self.record, arrive(self.record, "a"))
        self.uid = self.study.study_instance_uid
        report = a_report(self.study)
        document = Document(
            kind=DocumentKind.FHIR, uid="1", sop_class_uid=None, media_type="x", content=BUNDLE
        )
        deliveries = plan(report, self.study, [self.destination], (document,), self.record.clock.now())
        self.record.studies.save(self.study, report=report, documents=[document], deliveries=deliveries)
        (self.key,) = (one.idempotency_key for one in deliveries)
        self.deliver()
        app = an_app(self.record)
        self.client = TestClient(
            app, base_url="http://localhost:8080", client=("127.0.0.1", 50000), follow_redirects=False
        )
        self.client.get("/docs")
        self.token = token_of(self.client.cookies[VISIT])
        self.headers = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.token}

    def deliver(self):
        sinks = {"emr": FhirSink(self.destination, self.matches)}
        Outbox(self.record.studies, sinks, self.record.clock, self.record.settings.work).deliver(self.key)

    def say(self, **said):
        return self.client.post(f"/api/v1/unmatched/{self.key}", json=said, headers=self.headers)

    def press(self, **fields):
        return self.client.post(
            f"/unmatched/{self.key}",
            data={"csrf_token": self.token, **fields},
            headers={**self.headers, "Accept": "text/html"},
        )


@pytest.fixture
def site(tmp_path):
    emr = Emr()
    made = Site(tmp_path, emr)
    yield made
    made.client.close()
    made.record.engine.dispose()
    emr.close()


def test_it_waits_where_people_see_it(site):
    (one,) = site.client.get("/api/v1/unmatched").json()["items"]
    assert (one["reason"], one["destination"], one["study_instance_uid"]) == ("none", "emr", site.uid)
    assert one["patient"]["name"] == "Nguyễn Văn An" and "004127" not in json.dumps(one).replace("…4127", "")
    page = site.client.get("/unmatched?lang=en").text
    assert "nobody has this number there" in page and "Nguyễn Văn An" in page
    assert 'href="/unmatched"' in site.client.get("/").text
    assert site.emr.posted == []


def test_a_persons_word_sends_the_report_to_that_patient(site):
    assert site.say(patient="Patient/77").status_code == HTTPStatus.NO_CONTENT
    assert site.record.studies.delivery(site.key).state is DeliveryState.PENDING
    site.deliver()
    assert site.record.studies.delivery(site.key).state is DeliveryState.SENT
    subject = site.emr.posted[0]["entry"][0]["resource"]["subject"]
    assert subject == {"reference": "Patient/77"}
    assert site.client.get("/api/v1/unmatched").json()["items"] == []
    answer = site.say(patient="77")
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.CONFLICT, "unmatched.answered")
    events = [line.event for line in site.record.studies.trail(site.uid)]
    assert "patient_matched" in events
    assert "Facts that agree: 2" in site.client.get(f"/studies/{site.uid}/trail?lang=en").text


def test_another_person_needs_a_second_word(site):
    answer = site.say(patient="78")
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.CONFLICT, "unmatched.differs")
    assert answer.json()["detail"] == "Agree: 0. Differ: birth_date, sex."
    assert site.record.studies.delivery(site.key).state is DeliveryState.DEAD
    page = site.press(patient="78")
    assert page.status_code == HTTPStatus.OK and 'name="confirmed"' in page.text
    assert site.press(patient="78", confirmed="yes").status_code == HTTPStatus.SEE_OTHER
    site.deliver()
    assert site.emr.posted[0]["entry"][0]["resource"]["subject"] == {"reference": "Patient/78"}


@pytest.mark.parametrize("patient", ["99", "Patient/99"])
def test_nobody_is_created(site, patient):
    answer = site.say(patient=patient)
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.NOT_FOUND, "unmatched.patient_unknown")
    assert site.emr.posted == []


@pytest.mark.parametrize("patient", ["", "../Group/1", "77?x=1", "a b", "Group/77"])
def test_only_the_id_of_a_patient_is_asked_for(site, patient):
    assert site.say(patient=patient).status_code == HTTPStatus.UNPROCESSABLE_ENTITY


def test_an_emr_that_is_gone_is_told(site):
    site.emr.server.shutdown()
    site.emr.server.server_close()
    assert site.say(patient="77").status_code == HTTPStatus.BAD_GATEWAY
    assert site.record.studies.delivery(site.key).state is DeliveryState.DEAD


def test_a_word_about_another_number_counts_no_more(site):
    site.say(patient="77")
    with_subject = MatchesSql(site.record.engine, site.record.clock).reference
    assert with_subject("emr", site.uid, "0" * 64) is None
