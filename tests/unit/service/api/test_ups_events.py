"""The event channel: what a subscriber hears of jobs, and what he does not."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
import sqlalchemy as sa
from starlette.websockets import WebSocketDisconnect

from hoichan.adapters.schema_ups import ups_steps
from hoichan.adapters.sources_sql import SourcesSql
from hoichan.adapters.ups_sql import FILTERED, GLOBAL, UpsSql
from hoichan.guard.scopes import Scope
from hoichan.settings import Settings
from hoichan.testing import a_film, a_study
from hoichan.testing.house import wait_until
from hoichan.testing.reading import arrive, assemble, report
from service.api import ups_json as dicom
from tests.unit.service.api.test_ups import LOCK, Site, request_for

OTHER_UID = "1.2.826.0.1.999"


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.client.close()
    made.record.engine.dispose()


def subscribe(site, uid=GLOBAL, ae_title="AI2", query=""):
    return site.ask("POST", f"/{uid}/subscribers/{ae_title}{query}")


def listen(site, ae_title="AI2", headers=None):
    return site.client.websocket_connect(
        f"/dicom-web/subscribers/{ae_title}", headers={"Host": "localhost:8080", **(headers or site.headers)}
    )


def hear(channel):
    said = json.loads(channel.receive_text())
    kind = {1: "state", 2: "cancel", 3: "progress"}[said["00001002"]["Value"][0]]
    return kind, dicom.value(said, "00001000"), said


def test_a_subscriber_hears_of_every_step(site):
    uid = site.job()
    answer = subscribe(site)
    assert answer.status_code == HTTPStatus.CREATED
    assert answer.headers["content-location"] == "ws://localhost:8080/dicom-web/subscribers/AI2"
    with listen(site) as channel:
        kind, about, said = hear(channel)
        assert (kind, about, dicom.value(said, dicom.STATE)) == ("state", uid, "SCHEDULED")
        assert dicom.value(said, "00000002") == dicom.UPS_PUSH
        assert dicom.value(said, dicom.READINESS) == "READY"
        site.put(uid, "IN PROGRESS")
        assert dicom.value(hear(channel)[2], dicom.STATE) == "IN PROGRESS"
        progress = {"vr": "SQ", "Value": [{dicom.PROGRESS: {"vr": "DS", "Value": [40]}}]}
        site.ask("POST", f"/{uid}?{LOCK}", json=[{dicom.PROGRESS_SEQUENCE: progress}])
        kind, _, said = hear(channel)
        assert (kind, dicom.value(dicom.items(said, dicom.PROGRESS_SEQUENCE)[0], dicom.PROGRESS)) == (
            "progress",
            "40",
        )
        site.put(uid, "COMPLETED")
        assert dicom.value(hear(channel)[2], dicom.STATE) == "COMPLETED"


def test_what_happened_while_nobody_listened_is_told_when_he_comes_back(site):
    uid = site.job()
    subscribe(site)
    with listen(site) as channel:
        hear(channel)
    site.record.studies.begin(site.uid, 1)
    report(site.record, site.study, {"pleural_effusion": 0.7})
    site.record.studies.end(site.uid, 1)
    with listen(site) as channel:
        for state in ("IN PROGRESS", "COMPLETED"):
            kind, about, said = hear(channel)
            assert (kind, about, dicom.value(said, dicom.STATE)) == ("state", uid, state)
        record = UpsSql(site.record.engine, site.record.clock)
        wait_until(lambda: record.due("AI2") == [], seconds=60, what="it is written down as told")


def states(record):
    """What is due, written down as told."""
    heard = []
    for event in record.due("AI2"):
        heard.append((event.item.workitem_uid, str(event.item.state)))
        record.told("AI2", event)
    return heard


def test_a_job_that_begins_and_ends_between_two_looks_is_told_step_by_step(site):
    subscribe(site)
    record = UpsSql(site.record.engine, site.record.clock)
    assert [state for _, state in states(record)] == ["SCHEDULED"]
    other = assemble(site.record, arrive(site.record, "another film"))
    site.record.studies.begin(other.study_instance_uid, 1)
    report(site.record, other, {"pleural_effusion": 0.7})
    site.record.studies.end(other.study_instance_uid, 1)
    heard = states(record)
    assert [state for _, state in heard] == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    assert len({uid for uid, _ in heard}) == 1
    assert states(record) == []


def test_old_work_that_is_repeated_at_once_is_told(site):
    report(site.record, site.study, {"pleural_effusion": 0.7})
    site.record.clock.advance(86400)
    subscribe(site)
    record = UpsSql(site.record.engine, site.record.clock)
    assert states(record) == []
    for number in (70, 71):  # two runs between two looks: two jobs
        assert site.ask("POST", f"?2.25.{number}", json=request_for(site.uid)).status_code == 201
        site.record.studies.begin(site.uid, 1)
        report(site.record, site.study, {"pleural_effusion": 0.7})
        site.record.studies.end(site.uid, 1)
    steps = ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    heard = states(record)
    for uid in ("2.25.70", "2.25.71"):
        assert [state for one, state in heard if one == uid] == steps
    assert len(heard) == 6
    assert states(record) == []


def test_a_job_never_goes_back(site):
    subscribe(site)
    record = UpsSql(site.record.engine, site.record.clock)
    states(record)
    site.record.studies.begin(site.uid, 1)
    assert [state for _, state in states(record)] == ["IN PROGRESS"]
    site.record.studies.end(site.uid, 1)  # it broke off and is tried again
    assert states(record) == []
    site.record.studies.begin(site.uid, 1)
    assert states(record) == []


def test_a_job_that_changed_hands_quickly_is_told_step_by_step(site):
    uid = site.job()
    subscribe(site)
    record = UpsSql(site.record.engine, site.record.clock)
    states(record)
    site.put(uid, "IN PROGRESS")
    site.put(uid, "CANCELED")
    heard = states(record)
    assert [state for one, state in heard if one == uid] == ["IN PROGRESS", "CANCELED"]
    assert [state for one, state in heard if one != uid] == ["SCHEDULED"]  # our own workers do it
    assert len(heard) == 3


def test_nothing_is_written_while_nobody_subscribes(site):
    site.record.studies.begin(site.uid, 1)
    with site.record.engine.connect() as connection:
        assert connection.execute(sa.select(ups_steps)).all() == []


def test_an_event_counts_as_told_only_after_it_left(site):
    site.job()
    subscribe(site)
    record = UpsSql(site.record.engine, site.record.clock)
    (first,) = record.due("AI2")
    (again,) = record.due("AI2")
    assert first == again
    record.told("AI2", first)
    assert record.due("AI2") == []


def test_a_request_to_cancel_reaches_the_holder(site):
    uid = site.job()
    site.put(uid, "IN PROGRESS")
    asked = site.ask("POST", f"/{uid}/cancelrequest", json=[{}])
    assert asked.status_code == HTTPStatus.CONFLICT and "C312" in asked.headers["warning"]
    subscribe(site, uid)
    reason = {"00741238": {"vr": "LT", "Value": ["Sai ca chụp"]}}
    assert site.ask("POST", f"/{uid}/cancelrequest", json=[reason]).status_code == HTTPStatus.ACCEPTED
    with listen(site) as channel:
        assert hear(channel)[0] == "state"
        kind, about, said = hear(channel)
        assert (kind, about, dicom.value(said, "00741238")) == ("cancel", uid, "Sai ca chụp")
    assert site.state(uid) == "IN PROGRESS"  # his to decide


def test_a_filter_chooses_among_the_jobs(site):
    assert subscribe(site, FILTERED).status_code == HTTPStatus.BAD_REQUEST
    assert subscribe(site, FILTERED, query="?filter=PatientID=BN1").status_code == HTTPStatus.BAD_REQUEST
    assert subscribe(site, GLOBAL, query="?filter=AccessionNumber=1").status_code == HTTPStatus.BAD_REQUEST
    fitting = f"?filter=StudyInstanceUID={site.uid}"
    assert subscribe(site, FILTERED, query=fitting).status_code == HTTPStatus.CREATED
    other = assemble(site.record, arrive(site.record, "another film"))
    due = UpsSql(site.record.engine, site.record.clock).due("AI2")
    assert [event.item.study_instance_uid for event in due] == [site.uid] != [other.study_instance_uid]


def test_a_suspended_subscription_tells_of_no_new_jobs(site):
    uid = site.job()
    subscribe(site)
    record = UpsSql(site.record.engine, site.record.clock)
    for event in record.due("AI2"):
        record.told("AI2", event)
    assert site.ask("POST", f"/{GLOBAL}/subscribers/AI2/suspend").status_code == HTTPStatus.OK
    assemble(site.record, arrive(site.record, "another film"))
    assert record.due("AI2") == []
    site.put(uid, "IN PROGRESS")
    assert [event.item.workitem_uid for event in record.due("AI2")] == [uid]
    assert site.ask("DELETE", f"/{GLOBAL}/subscribers/AI2").status_code == HTTPStatus.OK
    assert record.due("AI2") == []
    assert site.ask("DELETE", f"/{GLOBAL}/subscribers/AI2").status_code == HTTPStatus.NOT_FOUND
    assert site.ask("POST", f"/{uid}/subscribers/AI2/suspend").status_code == HTTPStatus.NOT_FOUND


def test_an_unknown_job_has_no_subscribers(site):
    assert subscribe(site, "2.25.9").status_code == HTTPStatus.NOT_FOUND


def test_the_channel_opens_to_its_own_program_alone(site):
    subscribe(site)
    reader = site.record.tokens.add("viewer", (Scope.READ,), lifetime=None)
    another = site.record.tokens.add("ai3", (Scope.WORKLIST,), lifetime=None)
    strangers = (
        {"X-None": "1"},
        {"Authorization": f"Bearer {reader}"},
        {"Authorization": f"Bearer {another}"},
        {"Authorization": "Bearer wrong"},
        {**site.headers, "Host": "elsewhere.example"},
    )
    for headers in strangers:
        with pytest.raises(WebSocketDisconnect), listen(site, headers=headers):
            pass
    with pytest.raises(WebSocketDisconnect), listen(site, ae_title="NOBODY"):
        pass
    taken = site.client.post(
        f"/dicom-web/workitems/{GLOBAL}/subscribers/AI2", headers={"Authorization": f"Bearer {another}"}
    )
    assert taken.status_code == HTTPStatus.CONFLICT


# ------------------------------------------------------------------ work ahead of its images
@pytest.fixture
def with_source(tmp_path):
    archive = {"name": "pacs", "kind": "dimse", "host": "127.0.0.1", "port": 104, "ae_title": "PACS"}
    settings = Settings.model_validate(
        {"storage": {"data_dir": tmp_path, "reserve_bytes": 0}, "sources": [archive]}
    )
    made = Site(tmp_path, settings)
    yield made
    made.client.close()
    made.record.engine.dispose()


def test_without_a_source_work_on_a_study_elsewhere_is_refused_with_its_cause(site):
    answer = site.ask("POST", "?2.25.5", json=request_for(OTHER_UID))
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert "C307" in answer.headers["warning"] and "no source" in answer.headers["warning"]


def test_work_waits_for_images_that_a_source_is_asked_for(with_source):
    site = with_source
    uid = a_study(a_film("late film")).study_instance_uid
    assert site.ask("POST", "?2.25.5", json=request_for(uid)).status_code == HTTPStatus.CREATED
    assert site.ask("POST", "?2.25.6", json=request_for(uid)).status_code == HTTPStatus.CONFLICT
    (item,) = site.ask("GET", "/2.25.5").json()
    assert (dicom.value(item, dicom.STATE), dicom.value(item, dicom.READINESS)) == ("SCHEDULED", "INCOMPLETE")
    assert dicom.studies_of(item) == {uid}
    listed = site.ask("GET", params={"StudyInstanceUID": uid}).json()
    assert [dicom.value(one, "00080018") for one in listed] == ["2.25.5"]
    assert site.put("2.25.5", "IN PROGRESS").status_code == HTTPStatus.NOT_FOUND  # nothing to work on
    assert wanted(site) == [uid]
    subscribe(site, "2.25.5")
    record = UpsSql(site.record.engine, site.record.clock)
    record.told("AI2", record.due("AI2")[0])
    assemble(site.record, arrive(site.record, "late film"))
    (item,) = site.ask("GET", "/2.25.5").json()
    assert (dicom.value(item, dicom.STATE), dicom.value(item, dicom.READINESS)) == ("SCHEDULED", "READY")
    assert [event.state for event in record.due("AI2")] == [True]
    assert site.put("2.25.5", "IN PROGRESS").status_code == HTTPStatus.OK


def test_work_that_waited_hurries_as_much_as_its_request(with_source):
    site = with_source
    late = a_study(a_film("late film")).study_instance_uid
    high = [{**request_for(late)[0], "00741200": {"vr": "CS", "Value": ["HIGH"]}}]
    assert site.ask("POST", "?2.25.5", json=high).status_code == HTTPStatus.CREATED
    study = assemble(site.record, arrive(site.record, "late film"))
    assert study.study_instance_uid == late
    site.queue.enlist(site.uid, 1, models=())
    site.queue.enlist(late, 1, models=())
    (item,) = site.ask("GET", "/2.25.5").json()
    assert dicom.value(item, "00741200") == "HIGH"
    (first, *_) = site.queue.waiting(each=1, backlog=True)
    assert first.study_instance_uid == late


def test_work_that_is_asked_for_again_hurries_as_much_as_its_request(site):
    report(site.record, site.study, {"pleural_effusion": 0.7})
    high = [{**request_for(site.uid)[0], "00741200": {"vr": "CS", "Value": ["HIGH"]}}]
    assert site.ask("POST", "?2.25.5", json=high).status_code == HTTPStatus.CREATED
    (item,) = site.ask("GET", "/2.25.5").json()
    assert dicom.value(item, "00741200") == "HIGH"


def test_work_whose_images_never_come_ends(with_source):
    site = with_source
    assert site.ask("POST", "?2.25.5", json=request_for(OTHER_UID)).status_code == HTTPStatus.CREATED
    assert site.ask("POST", "?2.25.7", json=request_for(f"{OTHER_UID}.1")).status_code == HTTPStatus.CREATED
    assert site.ask("POST", "/2.25.7/cancelrequest").status_code == HTTPStatus.ACCEPTED
    assert site.state("2.25.7") == "CANCELED" and site.state("2.25.5") == "SCHEDULED"
    site.record.clock.advance(7 * 86400)
    assert site.state("2.25.5") == "CANCELED"
    assert site.ask("POST", "?2.25.8", json=request_for(OTHER_UID)).status_code == HTTPStatus.CREATED


def wanted(site):
    found = SourcesSql(site.record.engine).wanted("pacs", site.record.clock.now())
    return [one.study_instance_uid for one in found]


# ------------------------------------------------------------------ results of others
def outputs(study, series="1.2.3.7", sop="1.2.3.7.1"):
    instance = {"00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.88.34"]}}
    instance["00081155"] = {"vr": "UI", "Value": [sop]}
    one = {
        dicom.STUDY: {"vr": "UI", "Value": [study]},
        dicom.SERIES: {"vr": "UI", "Value": [series]},
        dicom.REFERENCED: {"vr": "SQ", "Value": [instance]},
    }
    made = {dicom.OUTPUT: {"vr": "SQ", "Value": [one]}}
    return [{dicom.PERFORMED: {"vr": "SQ", "Value": [made]}}]


def test_what_another_program_made_is_kept_and_told(site):
    uid = site.job()
    site.put(uid, "IN PROGRESS")
    wrong = site.ask("POST", f"/{uid}?{LOCK}", json=outputs(site.uid, sop="x"))
    assert wrong.status_code == HTTPStatus.BAD_REQUEST
    assert site.ask("POST", f"/{uid}?{LOCK}", json=outputs(site.uid)).status_code == HTTPStatus.OK
    site.put(uid, "COMPLETED")
    (item,) = site.ask("GET", f"/{uid}").json()
    (performed,) = dicom.items(item, dicom.PERFORMED)
    (made,) = dicom.items(performed, dicom.OUTPUT)
    assert dicom.value(made, dicom.SERIES) == "1.2.3.7"
    assert dicom.value(dicom.items(made, dicom.REFERENCED)[0], "00081155") == "1.2.3.7.1"
    page = site.client.get(f"/studies/{site.uid}/trail?lang=en").text
    assert "named 1 results of revision 1" in page
