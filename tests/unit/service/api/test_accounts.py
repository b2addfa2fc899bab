"""The accounts at the page: what the IT admin does to them, and what is recorded of it."""

import re

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import PASSWORD, a_record, add_user
from service.api.caller import SESSION, token_of
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
OTHER = "một câu dài để nhớ"


class Site:
    """A page with an IT admin and a radiologist."""

    def __init__(self, folder):
        settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder, "reserve_bytes": 0},
                "facilities": [{"code": "79001", "name": "BV A", "senders": ["CR_A"]}],
            }
        )
        self.record = a_record(folder, settings)
        add_user(self.record, "it", Role.IT_ADMIN)
        add_user(self.record, "bs.an")
        self.app = an_app(self.record)
        self.desk = self.app.state.desk
        self.session = self.record.people.begin_session("it")
        self.browser = TestClient(
            self.app, base_url="http://localhost", follow_redirects=False, cookies={SESSION: self.session}
        )

    def post(self, path, **fields):
        return self.browser.post(path, data={"csrf_token": token_of(self.session), **fields}, headers=SAME)

    def recorded(self):
        return [
            line.record.detail
            for line in self.record.audit.search(Wanted(what=Audited.USER_CHANGED), limit=9)[1]
        ]

    def signs_in(self, name, password):
        return self.desk.passwords.matches(password, self.record.people.password_hash(name))[0]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.browser.close()
    site.record.engine.dispose()


def test_an_account_is_added_and_shown(site):
    answer = site.post(
        "/people", user_name="KTV.Minh", display_name="KTV <b>Minh</b>", role="technician", new=OTHER
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/people/ktv.minh")
    page = site.browser.get("/people", headers=SAME).text
    assert "KTV &lt;b&gt;Minh&lt;/b&gt;" in page
    assert OTHER not in page
    assert site.signs_in("ktv.minh", OTHER)
    assert site.recorded() == ["add ktv.minh technician"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"user_name": "bs.an"}, "name"),
        ({"user_name": "x"}, "name"),
        ({"user_name": "local"}, "name"),
        ({"role": "local"}, "role"),
        ({"role": "program"}, "role"),
        ({"role": ""}, "role"),
        ({"new": "short"}, "too_short"),
    ],
)
def test_what_cannot_be_an_account_is_refused(site, fields, problem):
    before = site.record.people.users()
    asked = {"user_name": "new.one", "role": "technician", "new": OTHER, **fields}
    answer = site.post("/people", **asked)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert (site.record.people.users(), site.recorded()) == (before, [])


def test_role_facilities_and_password_are_changed_and_end_the_sessions(site):
    session = site.record.people.begin_session("bs.an")
    assert site.post("/people/bs.an/role", role="clinician").status_code == 303
    assert site.record.people.role("bs.an") is Role.CLINICIAN
    client = {"Cookie": f"{SESSION}={session}"}
    with TestClient(site.app, base_url="http://localhost") as other:
        assert other.get("/api/v1/studies", headers=client).status_code == 401
    site.post("/people/bs.an/facilities", sees="some", facilities=" 79001 ,79001")
    assert site.desk.access.facilities("bs.an") == ("79001",)
    site.post("/people/bs.an/facilities", sees="some", facilities="")
    assert site.desk.access.facilities("bs.an") == ()
    site.post("/people/bs.an/facilities", sees="all")
    assert site.desk.access.facilities("bs.an") is None
    site.post("/people/bs.an/password", new=OTHER)
    assert site.signs_in("bs.an", OTHER)
    assert not site.signs_in("bs.an", PASSWORD)
    assert site.recorded() == [
        "password bs.an",
        "facilities bs.an all",
        "facilities bs.an none",
        "facilities bs.an 79001",
        "role bs.an clinician",
    ]


def test_an_account_is_closed_and_opened_again(site):
    site.post("/people/bs.an/close")
    assert not site.signs_in("bs.an", PASSWORD)
    assert "đã khoá" in site.browser.get("/people/bs.an", headers=SAME).text
    site.post("/people/bs.an/open")
    assert site.signs_in("bs.an", PASSWORD)


def test_a_lost_second_factor_is_reset(site):
    secret = site.desk.factors.begin("bs.an")
    from hoichan.guard.second_factor import code_at, step_of

    site.desk.factors.confirm("bs.an", code_at(secret, step_of(site.record.clock.now())))
    assert site.desk.factors.is_on("bs.an")
    site.post("/people/bs.an/second-factor")
    assert not site.desk.factors.is_on("bs.an")
    assert site.recorded() == ["second_factor reset bs.an"]


@pytest.mark.parametrize(
    ("verb", "fields"),
    [("role", {"role": "auditor"}), ("close", {}), ("facilities", {"sees": "some", "facilities": "79001"})],
)
def test_nobody_changes_the_own_account_so(site, verb, fields):
    before = site.record.people.user("it")
    assert site.post(f"/people/it/{verb}", **fields).status_code == 422
    assert (site.record.people.user("it"), site.desk.access.facilities("it")) == (before, None)


def test_what_is_not_known_is_not_changed(site):
    assert site.post("/people/bs.an/facilities", sees="some", facilities="79999").status_code == 422
    assert site.desk.access.facilities("bs.an") is None
    assert site.post("/people/bs.an/role", role="local").status_code == 422
    assert site.post("/people/bs.an/password", new="short").status_code == 422
    assert site.post("/people/nobody/close").status_code == 404
    assert site.post("/people/bs.an/delete").status_code == 422
    assert site.browser.get("/people/..%2Fetc", headers=SAME).status_code in (404, 405, 422)


def test_a_form_of_another_site_changes_nothing(site):
    token = {"csrf_token": token_of(site.session)}
    for headers, fields in (({"Sec-Fetch-Site": "cross-site"}, token), (SAME, {"csrf_token": "0" * 64})):
        assert site.browser.post("/people/bs.an/close", data=fields, headers=headers).status_code == 403
    assert site.signs_in("bs.an", PASSWORD)
    assert re.search(
        r'name="csrf_token" value="\w{64}"', site.browser.get("/people/bs.an", headers=SAME).text
    )
