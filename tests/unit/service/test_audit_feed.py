"""What happened here reaches the site's audit repository: all of it, in order, however often it fails."""

from __future__ import annotations

import json
from datetime import timedelta

import httpx2
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from hoichan.adapters.audit_feed_sql import AUDIT, STILL_COMING, TRAIL, AuditFeedSql
from hoichan.adapters.audit_repository import AuditRepositoryClient
from hoichan.adapters.leases_sql import LeasesSql
from hoichan.adapters.schema import trail
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.settings import Settings
from hoichan.testing.reading import PEOPLE, a_record, arrive, assemble, report
from service.api.metrics import exposition
from service.audit_feed import LONGEST_PAUSE_SECONDS, AuditFeed
from service.readiness import examine, premises

REPOSITORY = {"name": "arr", "url": "https://audit.example.vn/fhir", "batch": 2}
DESTINATIONS = [
    {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "PACS"},
    {"name": "emr", "kind": "fhir", "url": "http://127.0.0.1/fhir"},
]


class Repository:
    """Takes what it is given, but what it is told to refuse; the contract of ITI-20 by FHIR R4 batch."""

    def __init__(self):
        self.taken = []
        self.puts = {}
        self.requests = 0
        self.status = 200
        self.refuses = {}  # how often, by what an event is about
        self.silent = False
        self.body = None
        self.meanwhile = lambda: None  # what happens while it takes a batch, once

    def __call__(self, request):
        self.requests += 1
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        if self.silent:
            raise httpx2.ConnectError("MARKER")
        if self.status != 200 or self.body is not None:
            return httpx2.Response(self.status, content=self.body or b"MARKER")
        bundle = json.loads(request.content)
        assert (str(request.url), bundle["type"]) == ("https://audit.example.vn/fhir", "batch")
        return httpx2.Response(200, json=self._batch(bundle))

    def _batch(self, bundle):
        said = []
        for entry in bundle["entry"]:
            resource = entry["resource"]
            key = resource["subtype"][-1]["code"]
            if self.refuses.get(key, 0):
                self.refuses[key] -= 1
                said.append({"response": {"status": "422 Unprocessable"}})
                continue
            self.taken.append(resource)
            self.puts[entry["request"]["url"]] = resource
            said.append({"response": {"status": "201 Created"}})
        return {"resourceType": "Bundle", "type": "batch-response", "entry": said}


class Site:
    """A record, a repository, and the feed between them."""

    def __init__(self, folder, **changes):
        self.settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder, "reserve_bytes": 0},
                "destinations": DESTINATIONS,
                "audit_repositories": [{**REPOSITORY, **changes}],
            }
        )
        self.record = a_record(folder, self.settings)
        self.clock = self.record.clock
        self.rows = AuditFeedSql(self.record.engine, self.clock)
        self.repository = Repository()
        self.feed = self.opened()

    def opened(self):
        """The feed as a process begins it."""

        def client(one, origin):
            return AuditRepositoryClient(one, origin, transport=httpx2.MockTransport(self.repository))

        leases = LeasesSql(self.record.engine, self.clock)
        return AuditFeed(self.rows, leases, self.record.audit, self.clock, self.settings, client=client)

    def say(self, *what):
        for one in what:
            self.record.audit.append(
                AuditRecord(
                    what=one, when=self.clock.now(), who="bs.an", role="radiologist", source="10.0.0.7"
                )
            )

    def said(self):
        return [one["subtype"][-1]["code"] for one in self.repository.taken]


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.record.engine.dispose()


def test_every_record_arrives_once_and_in_order(site):
    site.say(Audited.LOGIN, Audited.VIEWED, Audited.RESULT_SIGNED, Audited.LOGOUT, Audited.LOG_READ)
    assert site.feed.step() == 5
    assert site.said() == [
        *("login", "study_viewed", "result_signed", "logout", "audit_log_read"),
    ]
    assert all("id" not in one for one in site.repository.taken)  # the repository chooses it
    assert site.opened().step() == 0  # another process goes on where the first one was
    site.say(Audited.LOGIN)
    assert site.feed.step() == 1
    assert site.rows.behind("arr", AUDIT).records == 0


def test_two_that_lead_for_a_moment_tell_each_record_once(site):
    what = (Audited.LOGIN, Audited.VIEWED, Audited.RESULT_SIGNED, Audited.LOGOUT, Audited.LOG_READ)
    site.say(*what)
    site.repository.meanwhile = site.opened().step
    assert site.feed.step() == 5
    assert site.opened().step() == 0
    assert site.said() == list(what)


def test_who_stood_still_stops_where_another_has_gone_on(site):
    def it_stands_still():
        site.clock.advance(3600)
        assert site.opened().step() == 5

    site.say(Audited.LOGIN, Audited.VIEWED, Audited.RESULT_SIGNED, Audited.LOGOUT, Audited.LOG_READ)
    site.repository.meanwhile = it_stands_still
    assert site.feed.step() == 2  # the batch that was on its way
    assert (len(site.said()), site.said().count(Audited.LOG_READ)) == (7, 1)
    assert site.feed.step() == 0


def test_who_died_in_the_middle_is_made_good_by_another(site):
    def dies():
        raise KeyboardInterrupt

    site.say(Audited.LOGIN)
    site.repository.meanwhile = dies
    with pytest.raises(KeyboardInterrupt):
        site.feed.step()
    assert site.opened().step() == 0  # it may still be at it
    site.clock.advance(360)
    assert site.opened().step() == 1


def test_what_the_machine_did_is_told_of_both_ends(site):
    study = assemble(site.record, arrive(site.record, "film"))
    uid = study.study_instance_uid
    site.record.studies.begin(uid, 1)
    report(site.record, study, {"pleural_effusion": 0.9})
    for delivery in site.record.studies.deliveries(uid):
        site.record.studies.acknowledged(delivery.idempotency_key, "0x0000")
    site.feed.step()
    told = {one["subtype"][-1]["code"]: one for one in site.repository.taken}
    assert list(told) == [
        *("instances_received", "study_analysed", "result_created", "exported", "results_sent"),
    ]
    received, sent = told["instances_received"], told["results_sent"]
    assert (received["type"]["code"], received["action"]) == ("110104", "C")
    ends = [(one["type"]["coding"][0]["code"], one["altId"], one["requestor"]) for one in received["agent"]]
    assert ends == [("110153", study.calling_ae_title, True), ("110152", "HOICHAN", False)]
    assert (sent["type"]["code"], sent["action"], sent["outcome"]) == ("110104", "R", "0")
    assert [one["altId"] for one in sent["agent"]] == ["HOICHAN", "pacs"]
    assert told["exported"]["type"]["code"] == "110106"  # an EMR gets no DICOM instances
    assert told["study_analysed"]["type"]["code"] == "110103"
    assert sent["entity"][0]["what"]["identifier"]["value"] == f"urn:oid:{uid}"


def test_no_patient_is_in_it(site):
    study = assemble(site.record, arrive(site.record, "film", person=PEOPLE[0]))
    report(site.record, study, {"pleural_effusion": 0.9})
    site.record.studies.refused(
        site.record.studies.deliveries(study.study_instance_uid)[0].idempotency_key, status="HTTP 422 MARKER"
    )
    site.feed.step()
    text = json.dumps(site.repository.taken, ensure_ascii=False)
    for word in ("Nguyễn", PEOPLE[0][3], "MARKER", "Patient?"):
        assert word not in text
    assert site.repository.taken[-1]["outcome"] == "8"


def test_only_what_people_did_where_the_site_wants_no_more(tmp_path):
    site = Site(tmp_path, machine=False)
    arrive(site.record, "film")
    site.say(Audited.LOGIN)
    assert site.feed.step() == 1
    assert site.rows.position("arr", TRAIL) == 0
    site.record.engine.dispose()


@pytest.mark.parametrize("trouble", [{"silent": True}, {"status": 503}, {"status": 401}, {"body": b"<html>"}])
def test_a_repository_in_trouble_is_asked_again_later_and_misses_nothing(site, trouble):
    site.say(Audited.LOGIN, Audited.LOGOUT)
    for name, value in trouble.items():
        setattr(site.repository, name, value)
    waits = []
    for _ in range(12):
        site.feed.step()
        before = site.repository.requests
        site.feed.step()  # it rests
        assert site.repository.requests == before
        resting = site.feed.rests_until("arr")
        waits.append((resting - site.clock.now()).total_seconds())
        site.clock.advance(waits[-1])
    assert waits[:3] == [5, 10, 20]
    assert waits[-1] == LONGEST_PAUSE_SECONDS
    site.repository.silent, site.repository.status, site.repository.body = False, 200, None
    assert site.feed.step() == 2
    assert site.said() == ["login", "logout"]


def test_a_record_that_is_refused_stays_the_next_one(site):
    site.say(Audited.LOGIN, Audited.VIEWED, Audited.LOGOUT)
    site.repository.refuses = {"study_viewed": 1}
    site.feed.step()
    assert site.rows.position("arr", AUDIT) == 1
    assert site.rows.behind("arr", AUDIT).records == 2
    site.clock.advance(5)
    site.feed.step()
    assert site.said() == ["login", "study_viewed", "logout"]


def test_an_answer_that_was_lost_makes_no_second_record_under_ids_of_ours(tmp_path):
    site = Site(tmp_path, method="put")
    site.say(Audited.LOGIN, Audited.LOGOUT)
    site.feed.step()
    with site.record.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit_feeds"))
    site.feed.step()
    assert len(site.repository.taken) == 4
    assert len(site.repository.puts) == 2
    assert all(url == f"AuditEvent/{one['id']}" for url, one in site.repository.puts.items())
    site.record.engine.dispose()


def test_a_line_that_may_still_come_is_waited_for(site):
    """Two writers on PostgreSQL: the later number may be seen first."""
    study = assemble(site.record, arrive(site.record, "film"))
    site.feed.step()
    count = len(site.repository.taken)
    at = site.rows.position("arr", TRAIL)
    uid = study.study_instance_uid
    line = {"study_instance_uid": uid, "at": site.clock.now(), "event": "analysis_begun", "details": {}}
    with site.record.engine.begin() as connection:
        connection.execute(trail.insert().values(id=at + 2, **line))
    site.feed.step()
    assert len(site.repository.taken) == count
    with site.record.engine.begin() as connection:
        connection.execute(trail.insert().values(id=at + 1, **line))
    site.feed.step()
    assert len(site.repository.taken) == count + 2
    with site.record.engine.begin() as connection:  # a number that was given back and will never come
        connection.execute(trail.insert().values(id=at + 9, **line))
    site.feed.step()
    assert len(site.repository.taken) == count + 2
    site.clock.advance((STILL_COMING + timedelta(seconds=1)).total_seconds())
    site.feed.step()
    assert len(site.repository.taken) == count + 3


def test_a_repository_that_is_behind_is_seen(site):
    site.say(Audited.LOGIN, Audited.LOGOUT)
    late = premises(
        site.settings,
        site.record.engine,
        spool_root=site.record.spool_root,
        now=lambda: site.clock.now() + timedelta(hours=2),
    )
    (finding,) = [one for one in examine(late) if one.name == "audit repository arr"]
    assert (finding.ok, finding.reason, finding.blocks) == (False, "audit_feed_behind", False)
    text = exposition(late).decode()
    assert 'hoichan_audit_feed_behind{repository="arr",source="audit"} 2.0' in text
    assert 'hoichan_audit_feed_age_seconds{repository="arr",source="audit"} 7200.0' in text
    site.feed.step()
    (finding,) = [one for one in examine(late) if one.name == "audit repository arr"]
    assert finding.ok


@pytest.mark.parametrize(
    "wrong", [[{**REPOSITORY, "url": "http://audit.example.vn/fhir"}], [REPOSITORY, REPOSITORY]]
)
def test_an_unsafe_setting_is_refused(tmp_path, wrong):
    with pytest.raises(ValidationError):
        Settings.model_validate({"storage": {"data_dir": tmp_path}, "audit_repositories": wrong})
