"""A second factor over HTTP: set up, asked for, never taken twice, lost and reset."""

import re

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.schema_access import recovery_codes, second_factors
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import Role
from hoichan.guard.second_factor import STEP_SECONDS, code_at, step_of
from hoichan.settings import Settings
from hoichan.testing.reading import PASSWORD, a_record, add_user
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


class Site:
    """A page, an account, and an authenticator that remembers its secret."""

    def __init__(self, folder, **access):
        settings = Settings.model_validate(
            {"storage": {"data_dir": folder, "reserve_bytes": 0}, "access": access}
        )
        self.record = a_record(folder, settings)
        add_user(self.record, "bs.an")
        add_user(self.record, "it", Role.IT_ADMIN)
        self.app = an_app(self.record)
        self.factors = self.app.state.desk.factors
        self._browsers = []

    def browser(self):
        browser = TestClient(self.app, base_url="http://localhost", follow_redirects=False, headers=SAME)
        self._browsers.append(browser)
        return browser

    def close(self):
        for browser in self._browsers:
            browser.close()
        self.record.engine.dispose()

    def post(self, browser, path, **fields):
        """Post a form with the token of the page it stands on."""
        form = "/login" if path.startswith("/login") else "/account"
        page = browser.get(path if path == "/login/code" else form).text
        token = re.search(r'name="csrf_token" value="(\w+)"', page)[1]
        return browser.post(path, data={"csrf_token": token, **fields})

    def sign_in(self, browser, name="bs.an"):
        return self.post(browser, "/login", user_name=name, password=PASSWORD)

    def code(self, secret):
        return code_at(secret, step_of(self.record.clock.now()))

    def later(self):
        """The next code."""
        self.record.clock.advance(STEP_SECONDS)

    def set_up(self, name="bs.an"):
        secret = self.factors.begin(name)
        codes = self.factors.confirm(name, self.code(secret))
        self.later()
        return secret, codes


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def test_it_is_set_up_with_a_picture_and_the_first_code(site):
    browser = site.browser()
    site.sign_in(browser)
    assert site.post(browser, "/account/second-factor", present="wrong").status_code == 403
    assert site.post(browser, "/account/second-factor", present=PASSWORD).status_code == 303
    page = browser.get("/account/second-factor").text
    assert "<svg" in page
    secret = site.factors.begun("bs.an")
    refused = site.post(browser, "/account/second-factor/confirm", code="000000")
    assert refused.status_code == 403
    assert not site.factors.is_on("bs.an")
    page = site.post(browser, "/account/second-factor/confirm", code=site.code(secret)).text
    assert len(re.findall(r"<code>(?:[a-z2-7]{4}-){3}[a-z2-7]{4}</code>", page)) == 10
    assert site.factors.is_on("bs.an")
    assert "<svg width" not in browser.get("/account/second-factor").text
    (event,) = site.record.audit.search(Wanted(what=Audited.USER_CHANGED), limit=1)[1]
    assert event.record.detail == "second_factor on bs.an"


def test_the_code_is_asked_for_after_the_password_and_taken_once(site):
    secret, _ = site.set_up()
    browser = site.browser()
    answer = site.sign_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/code")
    assert browser.get("/account").headers["location"].startswith("/login")  # half way in is not in
    code = site.code(secret)
    answer = site.post(browser, "/login/code", code=code)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get("/account").status_code == 200
    other = site.browser()
    site.sign_in(other)
    assert site.post(other, "/login/code", code=code).status_code == 403  # somebody looked over the shoulder
    site.later()
    assert site.post(other, "/login/code", code=site.code(secret)).status_code == 303
    logins = site.record.audit.search(Wanted(what=Audited.LOGIN), limit=10)[1]
    told = [(line.record.who, line.record.detail, line.record.outcome) for line in logins]
    assert told == [
        ("bs.an", "second_factor code", Outcome.SUCCESS),
        ("bs.an", "second_factor", Outcome.MINOR_FAILURE),
        ("bs.an", "second_factor code", Outcome.SUCCESS),
    ]


def test_a_recovery_code_opens_once(site):
    _, codes = site.set_up()
    for number, status in ((0, 303), (0, 403), (1, 303)):
        browser = site.browser()
        site.sign_in(browser)
        assert site.post(browser, "/login/code", code=codes[number].upper()).status_code == status
    assert site.factors.recovery_left("bs.an") == 8


def test_guessing_is_slowed_down_and_half_a_sign_in_ends(site):
    site.set_up()
    browser = site.browser()
    site.sign_in(browser)
    answers = [site.post(browser, "/login/code", code=f"{number:06}").status_code for number in range(6)]
    assert (answers[0], answers[-1]) == (403, 429)
    site.record.clock.advance(301)
    assert browser.get("/login/code").headers["location"] == "/login"


def test_half_a_sign_in_does_not_outlive_a_new_password(site):
    secret, _ = site.set_up()
    browser = site.browser()
    site.sign_in(browser)
    site.later()
    site.record.people.set_password("bs.an", "kept")
    token = re.search(r'name="csrf_token" value="(\w+)"', browser.get("/login").text)[1]
    answer = browser.post("/login/code", data={"csrf_token": token, "code": site.code(secret)})
    assert answer.headers["location"] == "/login"


def test_it_is_turned_off_with_password_and_code(site):
    secret, _ = site.set_up()
    browser = site.browser()
    site.sign_in(browser)
    site.post(browser, "/login/code", code=site.code(secret))
    site.later()
    off = "/account/second-factor/off"
    assert site.post(browser, off, present="wrong", code=site.code(secret)).status_code == 403
    assert site.post(browser, off, present=PASSWORD, code="000000").status_code == 403
    assert site.post(browser, off, present=PASSWORD, code=site.code(secret)).status_code == 303
    assert not site.factors.is_on("bs.an")
    assert site.sign_in(site.browser()).headers["location"] == "/"


def test_a_role_can_be_made_to_set_one_up(tmp_path):
    site = Site(tmp_path, second_factor=["it_admin"])
    browser = site.browser()
    site.sign_in(browser, "it")
    answer = browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/second-factor")
    assert browser.get("/api/v1/studies").json()["code"] == "access.second_factor_required"
    secret, _ = site.set_up("it")
    assert browser.get("/").status_code == 200
    off = site.post(browser, "/account/second-factor/off", present=PASSWORD, code=site.code(secret))
    assert off.status_code == 403
    assert site.factors.is_on("it")
    site.close()


def test_a_copy_of_the_database_makes_no_codes(site):
    secret, codes = site.set_up()
    with site.record.engine.connect() as connection:
        row = connection.execute(sa.select(second_factors)).one()
        kept = connection.execute(sa.select(recovery_codes.c.code_sha256)).scalars().all()
    assert secret.hex() not in str(row)
    assert not set(codes) & set(kept)
    with site.record.engine.begin() as connection:  # a secret put under another name opens nothing
        connection.execute(second_factors.insert().values({**row._asdict(), "user_name": "it"}))
    assert site.factors.check("it", site.code(secret)) is None
