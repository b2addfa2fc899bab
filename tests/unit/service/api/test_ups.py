"""The worklist of the machine: one job, one holder, and one record of how it stands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http import HTTPStatus

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.work_sql import WorkSql
from hoichan.adapters.workitem_rows import Verdict
from hoichan.adapters.workitems_sql import WorkitemsSql
from hoichan.guard.scopes import Scope
from hoichan.testing.reading import a_record, arrive, assemble, report
from hoichan.types import StudyState
from service.api import ups_json as dicom
from service.claims import Claims
from tests.unit.service.api.asking import an_app

LOCK, OTHER = "2.25.111", "2.25.222"


class Site:
    """A study that waits for its analysis, and a program with a token for the worklist."""

    def __init__(self, folder, settings=None):
        self.record = a_record(folder, settings)
        self.study = assemble(self.record, arrive(self.record, "film"))
        self.uid = self.study.study_instance_uid
        self.work = WorkitemsSql(self.record.engine, self.record.clock)
        self.queue = WorkSql(self.record.engine, self.record.clock)
        self.client = TestClient(
            an_app(self.record), base_url="http://localhost:8080", client=("127.0.0.1", 50000)
        )
        token = self.record.tokens.add("ai2", (Scope.WORKLIST,), lifetime=None)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom+json"}

    def ask(self, method, place="", **kwargs):
        return self.client.request(method, f"/dicom-web/workitems{place}", headers=self.headers, **kwargs)

    def job(self):
        (item,) = self.ask("GET").json()
        return dicom.value(item, "00080018")

    def state(self, uid):
        (item,) = self.ask("GET", f"/{uid}").json()
        return dicom.value(item, dicom.STATE)

    def put(self, uid, state, lock=LOCK):
        body = [
            {dicom.STATE: {"vr": "CS", "Value": [state]}, dicom.TRANSACTION: {"vr": "UI", "Value": [lock]}}
        ]
        return self.ask("PUT", f"/{uid}/state", json=body)

    def waiting(self):
        return [piece.study_instance_uid for piece in self.queue.waiting(each=9, backlog=True)]


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.client.close()
    made.record.engine.dispose()


def test_what_waits_is_scheduled(site):
    answer = site.ask("GET", params={"ProcedureStepState": "SCHEDULED"})
    assert answer.headers["content-type"].startswith("application/dicom+json")
    (item,) = answer.json()
    assert dicom.value(item, dicom.STUDY) == site.uid
    assert dicom.value(item, "00741200") == "MEDIUM" and dicom.value(item, "00404041") == "READY"
    (source,) = dicom.items(item, dicom.INPUT)
    url = dicom.value(dicom.items(source, "0040E025")[0], "00081190")
    assert url.startswith(f"http://localhost:8080/dicom-web/studies/{site.uid}/series/")
    assert dicom.TRANSACTION not in item
    assert site.job() == site.job()  # one name for good
    for state in ("IN PROGRESS", "COMPLETED", "CANCELED"):
        assert site.ask("GET", params={dicom.STATE: state}).status_code == HTTPStatus.NO_CONTENT


def test_what_we_do_ourselves_is_seen_at_each_step(site):
    uid = site.job()
    site.record.studies.begin(site.uid, 1)
    assert site.state(uid) == "IN PROGRESS"
    assert site.put(uid, "IN PROGRESS").status_code == HTTPStatus.CONFLICT
    report(site.record, site.study, {"pleural_effusion": 0.7})
    site.record.studies.end(site.uid, 1)
    (item,) = site.ask("GET", f"/{uid}").json()
    assert dicom.value(item, dicom.STATE) == "COMPLETED"
    performed = dicom.items(item, "00741216")
    assert dicom.value(dicom.items(performed[0], "00404033")[0], dicom.STUDY) == site.uid
    late = site.put(uid, "IN PROGRESS")  # 410 would say that there is no such job any more (PS3.18 11.7.3)
    assert late.status_code == HTTPStatus.CONFLICT and "C300" in late.headers["warning"]


def test_a_claim_takes_the_job_from_our_workers(site):
    uid = site.job()
    assert site.waiting() == [site.uid]
    assert site.put(uid, "IN PROGRESS").status_code == HTTPStatus.OK
    assert site.waiting() == []
    assert site.state(uid) == "IN PROGRESS"
    again = site.put(uid, "IN PROGRESS", OTHER)
    assert again.status_code == HTTPStatus.CONFLICT and "C302" in again.headers["warning"]
    assert LOCK not in site.ask("GET", f"/{uid}").text


def test_of_many_who_claim_at_once_one_gets_it(site):
    uid = site.job()
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda n: site.work.claim(uid, f"2.25.{n}", who=f"token:{n}"), range(6)))
    assert sorted(said) == [Verdict.ALREADY_CLAIMED] * 5 + [Verdict.DONE]


def test_only_the_holder_changes_a_job(site):
    uid = site.job()
    body = [{dicom.PROGRESS_SEQUENCE: {"vr": "SQ", "Value": [{dicom.PROGRESS: {"vr": "DS", "Value": [40]}}]}}]
    assert site.ask("POST", f"/{uid}?{LOCK}", json=body).status_code == HTTPStatus.CONFLICT
    site.put(uid, "IN PROGRESS")
    wrong = site.ask("POST", f"/{uid}?{OTHER}", json=body)
    assert wrong.status_code == HTTPStatus.BAD_REQUEST and "C301" in wrong.headers["warning"]
    assert site.put(uid, "COMPLETED", OTHER).status_code == HTTPStatus.BAD_REQUEST
    assert site.ask("POST", f"/{uid}?{LOCK}", json=body).status_code == HTTPStatus.OK
    (item,) = site.ask("GET", f"/{uid}").json()
    assert dicom.value(dicom.items(item, dicom.PROGRESS_SEQUENCE)[0], dicom.PROGRESS) == "40"
    assert site.put(uid, "COMPLETED").status_code == HTTPStatus.OK
    repeated = site.put(uid, "COMPLETED")
    assert repeated.status_code == HTTPStatus.OK and "B306" in repeated.headers["warning"]
    late = site.ask("POST", f"/{uid}?{LOCK}", json=body)  # PS3.18 11.6.3
    assert late.status_code == HTTPStatus.BAD_REQUEST and "C300" in late.headers["warning"]
    assert site.waiting() == []
    page = site.client.get(f"/studies/{site.uid}/trail?lang=en").text
    assert "token:ai2 says that the work on revision 1 is done." in page


def test_a_job_that_is_given_up_is_done_here(site):
    uid = site.job()
    site.put(uid, "IN PROGRESS")
    assert site.put(uid, "CANCELED").status_code == HTTPStatus.OK
    assert site.waiting() == [site.uid]
    assert site.state(uid) == "CANCELED"
    assert site.job() != uid  # a new run is a new job
    assert site.record.studies.unfinished() == [(site.uid, 1, 1)]


def test_a_holder_who_is_silent_loses_the_job(site):
    uid = site.job()
    site.put(uid, "IN PROGRESS")
    claims = Claims(site.work, site.record.clock)
    assert claims.step() == 0
    site.record.clock.advance(1800)
    site.ask("POST", f"/{uid}?{LOCK}", json=[{}])  # a word
    site.record.clock.advance(3599)
    assert claims.step() == 0
    site.record.clock.advance(31)
    assert claims.step() == 1
    assert site.waiting() == [site.uid] and site.state(uid) == "CANCELED"
    assert site.put(uid, "COMPLETED").status_code == HTTPStatus.CONFLICT
    assert site.work.release_silent(timedelta(0)) == 0


def request_for(study):
    inputs = {"vr": "SQ", "Value": [{dicom.STUDY: {"vr": "UI", "Value": [study]}}]}
    return [{dicom.INPUT: inputs, dicom.STATE: {"vr": "CS", "Value": ["SCHEDULED"]}}]


def test_work_can_be_asked_for_again_under_a_name_of_ones_own(site):
    assert site.ask("POST", "?2.25.5", json=request_for(site.uid)).status_code == HTTPStatus.CONFLICT
    report(site.record, site.study, {"pleural_effusion": 0.7})
    answer = site.ask("POST", "?2.25.5", json=request_for(site.uid))
    assert answer.status_code == HTTPStatus.CREATED
    assert answer.headers["location"].endswith("/dicom-web/workitems/2.25.5")
    assert site.state("2.25.5") == "SCHEDULED" and site.waiting() == [site.uid]
    assert site.ask("POST", "?2.25.5", json=request_for(site.uid)).status_code == HTTPStatus.CONFLICT


@pytest.mark.parametrize("name", ["workitem=", "AffectedSOPInstanceUID="])
def test_a_name_may_come_with_the_name_of_its_parameter(site, name):
    report(site.record, site.study, {"pleural_effusion": 0.7})
    answer = site.ask("POST", f"?{name}2.25.5", json=request_for(site.uid))
    assert answer.status_code == HTTPStatus.CREATED and site.state("2.25.5") == "SCHEDULED"


@pytest.mark.parametrize("name", ["transaction=", "transaction-uid="])
def test_a_lock_may_come_with_the_name_of_its_parameter(site, name):
    uid = site.job()
    site.put(uid, "IN PROGRESS")
    assert site.ask("POST", f"/{uid}?{name}{LOCK}", json=[{}]).status_code == HTTPStatus.OK
    assert site.ask("POST", f"/{uid}?{name}{OTHER}", json=[{}]).status_code == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?2.25.5", request_for("1.2.3.4")),  # not here
        ("?x", request_for("1.2.3")),
        ("?2.25.5", [{}]),
        ("?2.25.5", [1]),
        ("?2.25.5", {dicom.STATE: {"Value": ["IN PROGRESS"]}}),
    ],
)
def test_what_cannot_be_done_is_not_created(site, query, body):
    assert site.ask("POST", query, json=body).status_code == HTTPStatus.BAD_REQUEST


def test_a_job_of_ours_can_be_stopped_and_one_of_others_not(site):
    uid = site.job()
    assert site.ask("POST", f"/{uid}/cancelrequest/AI2").status_code == HTTPStatus.ACCEPTED
    assert site.state(uid) == "CANCELED" and site.waiting() == []
    assert site.ask("POST", f"/{uid}/cancelrequest").status_code == HTTPStatus.CONFLICT
    assert site.ask("POST", "/2.25.9/cancelrequest").status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "place", "status"),
    [
        ("GET", "?PatientID=BN1", 400),
        ("GET", "?00100020=BN1", 400),
        ("GET", "?ProcedureStepState=LOST", 400),
        ("GET", "/2.25.9", 404),
        ("PUT", "/2.25.9/state", 400),
        ("POST", "/2.25.9?2.25.1", 404),
    ],
)
def test_other_requests(site, method, place, status):
    assert site.ask(method, place).status_code == status


def test_only_a_token_for_the_worklist_may(site):
    other = site.record.tokens.add("viewer", (Scope.READ,), lifetime=None)
    for place in ("/dicom-web/workitems", "/fhir/Task"):
        answer = site.client.get(place, headers={"Authorization": f"Bearer {other}"})
        assert answer.status_code == HTTPStatus.FORBIDDEN


# ------------------------------------------------------------------ the same as FHIR Tasks
def test_the_same_jobs_are_tasks(site):
    uid = site.job()

    def tasks(**parameters):
        bundle = site.client.get("/fhir/Task", params=parameters, headers=site.headers).json()
        return [entry["resource"] for entry in bundle["entry"]]

    (task,) = tasks(status="requested")
    assert (task["id"], task["status"], task["priority"]) == (uid, "requested", "routine")
    assert task["focus"]["identifier"]["value"] == f"urn:oid:{site.uid}"
    assert tasks(status="completed") == []
    assert tasks(identifier=f"urn:dicom:uid|urn:oid:{site.uid}") == [task]
    site.put(uid, "IN PROGRESS")
    (task,) = tasks(identifier=f"urn:dicom:uid|urn:oid:{uid}")
    assert (task["status"], task["owner"]["display"]) == ("in-progress", "token:ai2")
    assert site.client.get(f"/fhir/Task/{uid}", headers=site.headers).json() == task
    site.put(uid, "CANCELED")
    site.record.studies.fail(site.uid, 1, code="model.failed")
    assert [one["status"] for one in tasks(status="failed,cancelled")] == ["failed"]
    assert site.client.get("/fhir/Task?patient=1", headers=site.headers).status_code == 400
    assert site.record.reading.study(site.uid).entry.state is StudyState.FAILED
