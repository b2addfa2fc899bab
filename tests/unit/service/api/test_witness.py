"""What of all that people do at the page stands in the audit log, and how the auditor reads it."""

import json

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.schema import audit
from hoichan.errors import RecordsUnavailable
from hoichan.guard.audit import Outcome
from hoichan.guard.roles import Role
from hoichan.testing.reading import PASSWORD, PEOPLE, a_record, add_user, fill
from service.api.caller import SESSION, VISIT, token_of
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin"}
NETWORK = ("10.0.0.7", 50000)


class Site:
    """A filled record with a radiologist and an auditor."""

    def __init__(self, folder, users=True):
        self.record = a_record(folder)
        self.uids = fill(self.record)
        if users:
            add_user(self.record, "bs.an")
            add_user(self.record, "aud", Role.AUDITOR)
        self.app = an_app(self.record)

    def browser(self, name="", client=NETWORK):
        browser = TestClient(self.app, base_url="http://localhost", client=client, follow_redirects=False)
        if name:
            browser.headers["Cookie"] = f"{SESSION}={self.record.people.begin_session(name)}"
        return browser

    def told(self):
        """What was recorded, oldest first: (what, who, role, detail, outcome)."""
        _, lines = self.record.audit.search(Wanted(), limit=1000)
        return [
            (one.record.what.value, one.record.who, one.record.role, one.record.detail, one.record.outcome)
            for one in reversed(lines)
        ]

    def last(self):
        return self.record.audit.search(Wanted(), limit=1)[1][0].record


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.record.engine.dispose()


class Disk:
    """The audit log on a disk that can be full."""

    def __init__(self, audit):
        self.audit = audit
        self.full = False

    def append(self, record):
        if self.full:
            raise RecordsUnavailable
        return self.audit.append(record)


def test_a_full_disk_does_not_blind_the_reader_and_no_look_is_forgotten(site):
    witness = site.app.state.desk.witness
    witness.audit = disk = Disk(site.record.audit)
    reader, uid = site.browser("bs.an"), site.uids["urgent"]
    disk.full = True
    assert reader.get(f"/studies/{uid}").status_code == 200
    assert (
        reader.get(f"/api/v1/studies/{uid}/documents/sr").status_code == 503
    )  # leaves the house: not unrecorded
    assert site.told() == []
    disk.full = False
    reader.get("/")
    assert [what for what, *_ in site.told()] == ["study_viewed", "queried"]


def sign_in(browser, name, password):
    browser.get("/login")
    form = {"user_name": name, "password": password, "csrf_token": token_of(browser.cookies[VISIT])}
    return browser.post("/login", data=form, headers=SAME)


@pytest.mark.parametrize(
    ("path", "what", "detail"),
    [
        ("/", "queried", ""),
        ("/?state=failed", "queried", "state=failed"),
        ("/api/v1/studies", "queried", ""),
        ("/studies/{uid}", "study_viewed", "study"),
        ("/api/v1/studies/{uid}", "study_viewed", "study"),
        ("/studies/{uid}/trail", "study_viewed", "trail"),
        ("/api/v1/studies/{uid}/trail", "study_viewed", "trail"),
        ("/api/v1/studies/{uid}/picture", "study_viewed", "picture"),
        ("/api/v1/studies/{uid}/documents/sr", "exported", "sr"),
        ("/api/v1/studies/{uid}/documents/fhir", "exported", "fhir"),
    ],
)
def test_every_look_is_recorded(site, path, what, detail):
    site.browser("bs.an").get(path.format(uid=site.uids["urgent"]))
    record = site.last()
    assert (record.what, record.detail, record.who, record.role) == (what, detail, "bs.an", "radiologist")
    assert (record.source, record.when) == ("10.0.0.7", site.record.clock.now())
    assert record.uids[:1] == ((site.uids["urgent"],) if "{uid}" in path else ())
    assert len(site.told()) == 1


def test_a_page_that_asks_again_by_itself_is_one_look(site):
    browser, path = site.browser("bs.an"), f"/studies/{site.uids['urgent']}"
    for _ in range(5):
        browser.get(path)
        browser.get(f"/api/v1{path}")
    assert len(site.told()) == 1
    site.browser("bs.an").get(path)  # another session
    assert len(site.told()) == 2
    site.record.clock.advance(600)
    browser.get(path)
    assert len(site.told()) == 3


def test_a_page_that_shows_nothing_new_is_no_look(site):
    browser, path = site.browser("bs.an"), f"/api/v1/studies/{site.uids['urgent']}"
    tag = browser.get(path).headers["etag"]
    site.record.clock.advance(601)
    assert browser.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert len(site.told()) == 1


def test_every_download_counts(site):
    browser = site.browser("bs.an")
    for _ in range(2):
        browser.get(f"/api/v1/studies/{site.uids['urgent']}/documents/sr")
    assert [line[0] for line in site.told()] == ["exported", "exported"]


def test_what_is_not_there_was_not_seen(site):
    site.browser("bs.an").get("/studies/1.2.3")
    site.browser("bs.an").get(f"/api/v1/studies/{site.uids['receiving']}/picture")
    assert site.told() == []


def test_a_replay_is_recorded(site):
    browser = site.browser("bs.an")
    deliveries = browser.get(f"/api/v1/studies/{site.uids['urgent']}").json()["deliveries"]
    key = next(one["idempotency_key"] for one in deliveries if one["state"] == "dead")
    token = token_of(browser.headers["Cookie"].partition("=")[2])
    path = f"/api/v1/deliveries/{key}/replay"
    assert browser.post(path, headers=SAME | {"X-CSRF-Token": token}).status_code == 202
    assert site.told()[-1][:4] == ("results_sending", "bs.an", "radiologist", "replay emr")
    assert site.last().uids[0] == site.uids["urgent"]


def test_coming_and_going_is_recorded(site):
    browser = site.browser()
    sign_in(browser, "bs.an", "wrong")
    sign_in(browser, "my password by mistake", "wrong")
    sign_in(browser, "nobody", "wrong")
    sign_in(browser, "bs.an", PASSWORD)
    token = {"csrf_token": token_of(browser.cookies[SESSION])}
    browser.post("/account/password", data=token, headers=SAME)
    browser.post("/logout", data=token, headers=SAME)
    assert site.told() == [
        ("login", "bs.an", "radiologist", "", Outcome.MINOR_FAILURE),
        ("login", "unknown", "unknown", "", Outcome.MINOR_FAILURE),
        ("login", "unknown", "unknown", "", Outcome.MINOR_FAILURE),
        ("login", "bs.an", "radiologist", "", Outcome.SUCCESS),
        ("user_changed", "bs.an", "radiologist", "password", Outcome.MINOR_FAILURE),
        ("logout", "bs.an", "radiologist", "", Outcome.SUCCESS),
    ]


def test_guessing_does_not_fill_the_log(site):
    browser = site.browser()
    for _ in range(12):
        sign_in(browser, "bs.an", "wrong")
    assert [line[3] for line in site.told()] == [""] * 5 + ["paused"]


def test_what_a_role_may_not_is_recorded(site):
    browser = site.browser("aud")
    for _ in range(2):
        browser.get(f"/studies/{site.uids['urgent']}")
    assert site.told() == [("access_refused", "aud", "auditor", "study_read", Outcome.MINOR_FAILURE)]
    assert site.last().uids == (site.uids["urgent"],)


def test_a_newcomer_is_recorded_too(tmp_path):
    site = Site(tmp_path, users=False)
    site.browser(client=("127.0.0.1", 1)).get("/")
    assert site.told() == [("queried", "local", "local", "", Outcome.SUCCESS)]
    site.record.engine.dispose()


def test_what_cannot_be_recorded_does_not_leave_the_house(site):
    browser = site.browser("bs.an")
    audit.drop(site.record.engine)
    for kind in ("sr", "sc", "fhir"):
        answer = browser.get(f"/api/v1/studies/{site.uids['urgent']}/documents/{kind}")
        assert (answer.status_code, answer.json()["code"]) == (503, "records.unavailable")


def test_nothing_of_a_patient_is_in_the_log(site):
    browser = site.browser("bs.an")
    for uid in site.uids.values():
        for path in ("", "/trail"):
            browser.get(f"/studies/{uid}{path}")
        browser.get(f"/api/v1/studies/{uid}/documents/fhir")
    browser.get("/studies/Nguyen%20Van%20An")
    with site.record.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(audit)).mappings()]
    text = json.dumps(rows, default=str, ensure_ascii=False)
    for name, _, _, patient_id in PEOPLE:
        assert patient_id not in text
        assert not any(part in text for part in name.split("^"))
    assert "script" not in text and "XR2611" not in text
    assert site.record.audit.verify() is None


# ---------------------------------------------------------------------- the auditor's page
def rows(page):
    return page.text.split("<tbody>")[1].split("</tbody>")[0].count("<tr")


def test_the_auditor_finds_by_person_study_event_and_day(site):
    for name in ("urgent", "critical"):
        site.browser("bs.an").get(f"/studies/{site.uids[name]}")
    site.browser("aud").get("/")
    site.record.clock.advance(2 * 86400)
    site.browser("bs.an").get(f"/studies/{site.uids['urgent']}")
    auditor = site.browser("aud")
    assert rows(auditor.get("/audit")) == 5  # the auditor's own look is the fifth
    for query, count in (
        ("who=bs.an", 3),
        (f"study={site.uids['critical']}", 2),  # and this look at it
        ("what=study_viewed", 3),
        ("what=access_refused&who=aud", 1),
        ("until=2026-11-20&who=bs.an", 2),
        ("since=2026-11-21&who=bs.an&study=&what=&until=", 1),
        ("since=2026-11-20&until=2026-11-22&who=bs.an", 3),
    ):
        page = auditor.get(f"/audit?{query}")
        assert (page.status_code, rows(page)) == (200, count), query
    assert "Không có bản ghi nào phù hợp." in auditor.get("/audit?who=nobody").text


def test_the_page_of_the_auditor_names_no_patient(site):
    site.browser("bs.an").get(f"/studies/{site.uids['urgent']}")
    page = site.browser("aud").get("/audit").text
    assert site.uids["urgent"] in page
    assert "BS." not in page and "HOANG" not in page
    assert f'href="/studies/{site.uids["urgent"]}/trail"' in page


@pytest.mark.parametrize(
    "query",
    [
        "what=unheard",
        "since=2026-02-31",
        "since=x",
        "until=9999-12-31",
        "who=%3Cscript%3E",
        "study=a",
        "page=0",
    ],
)
def test_a_malformed_question_is_said_so(site, query):
    answer = site.browser("aud").get(f"/audit?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "request.malformed")


def test_older_records_are_on_further_pages(site):
    browser = site.browser("bs.an")
    for _ in range(101):
        browser.get(f"/api/v1/studies/{site.uids['urgent']}/documents/sr")
    first = site.browser("aud").get("/audit?who=bs.an")
    assert rows(first) == 100
    assert 'href="/audit?page=2&amp;who=bs.an"' in first.text
    assert rows(site.browser("aud").get("/audit?page=2&who=bs.an")) == 1


@pytest.mark.parametrize("language", ["vi", "en"])
def test_the_page_stands_in_both_languages(site, language):
    page = site.browser("aud").get(f"/audit?lang={language}")
    assert f'<html lang="{language}">' in page.text
    assert " style=" not in page.text
