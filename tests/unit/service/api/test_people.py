"""Signing in and out over HTTP: what is told, what is counted, what a browser keeps."""

import re
import time
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import PASSWORD, QUICK, a_record, add_user
from service.api.caller import SESSION, VISIT, token_of, way_back
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin"}
PAGE = {"Accept": "text/html"}
POLL = {"X-Hoichan-Poll": "1"}


class Site:
    """A page with accounts, and browsers that ask it."""

    def __init__(self, folder, **web):
        settings = Settings.model_validate(
            {"storage": {"data_dir": folder, "reserve_bytes": 0}, "web": {"public_names": ["read.vn"], **web}}
        )
        self.record = a_record(folder, settings)
        self.app = an_app(self.record)
        self._browsers = []

    def browser(self, address="127.0.0.1", base="http://localhost:8080"):
        browser = TestClient(self.app, base_url=base, client=(address, 50000), follow_redirects=False)
        self._browsers.append(browser)
        return browser

    def close(self):
        for browser in self._browsers:
            browser.close()
        self.record.engine.dispose()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    add_user(site.record, "bs.an")
    yield site
    site.close()


def token(page):
    return re.search(r'name="csrf_token" value="([0-9a-f]{64})"', page.text)[1]


def sign_in(browser, name="bs.an", password=PASSWORD, back=""):
    page = browser.get("/login", headers=PAGE)
    fields = {"user_name": name, "password": password, "next": back, "csrf_token": token(page)}
    return browser.post("/login", data=fields, headers=SAME | PAGE)


def post(browser, path, **fields):
    form = {**fields, "csrf_token": token_of(browser.cookies[SESSION])}
    return browser.post(path, data=form, headers=SAME | PAGE)


# ---------------------------------------------------------------------- in and out
def test_a_person_comes_and_goes(site):
    browser = site.browser()
    asked = browser.get("/?state=failed", headers=PAGE)
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=%2F%3Fstate%3Dfailed")
    answer = sign_in(browser, " BS.An ", back="/?state=failed")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?state=failed")
    page = browser.get("/", headers=PAGE)
    assert "Người bs.an" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert browser.get("/login").headers["location"] == "/"
    session = browser.cookies[SESSION]
    out = post(browser, "/logout")
    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert out.headers["clear-site-data"] == '"cache"'
    assert SESSION not in browser.cookies
    assert browser.get("/api/v1/studies").status_code == 401
    assert browser.get("/", headers={"Cookie": f"{SESSION}={session}"}).status_code == 401


@pytest.mark.parametrize("path", ["/", "/api/v1/studies", "/studies/1.2.3", "/openapi.json", "/studies/x"])
def test_nobody_sees_anything_without_signing_in(site, path):
    answer = site.browser().get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "access.sign_in_required")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/login", "/static/page.css"])
def test_health_and_the_sign_in_page_are_open(site, path):
    ready = 503 if path == "/readyz" else 200  # no worker lives here, and it says so to everybody
    assert site.browser().get(path).status_code == ready


def test_metrics_are_open_at_this_machine_only(site):
    assert site.browser("10.0.0.7", "http://read.vn").get("/metrics").status_code == 401


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("bs.an", "wrong"),
        ("bs.binh", PASSWORD),
        ("bs.an", ""),
        ("Bs An'--", PASSWORD),
        ("", ""),
        ("x" * 999, "x"),
    ],
)
def test_whatever_is_wrong_gets_the_same_words(site, name, password):
    answer = sign_in(site.browser(), name, password)
    assert answer.status_code == 403
    assert "Tên đăng nhập hoặc mật khẩu không đúng." in answer.text
    assert SESSION not in answer.cookies
    assert "Retry-After" not in answer.headers


def test_a_closed_account_gets_the_same_words(site):
    site.record.people.disable("bs.an")
    assert "Tên đăng nhập hoặc mật khẩu không đúng." in sign_in(site.browser()).text


def test_the_same_work_is_done_for_a_name_that_nobody_has(site):
    kept = site.record.people.password_hash("bs.an")

    def cost(password_hash):
        begun = time.thread_time()
        for _ in range(40):
            QUICK.matches("wrong", password_hash)
        return time.thread_time() - begun

    cost(kept)
    assert 1 / 3 < cost(None) / cost(kept) < 3


def test_what_was_typed_is_in_no_log(site):
    browser = site.browser()
    with capture_logs() as lines:
        sign_in(browser, "my password by mistake", "another mistake")
        sign_in(browser)
        browser.get("/")
    told = repr(lines)
    assert "mistake" not in told
    assert PASSWORD not in told
    assert browser.cookies[SESSION] not in told
    assert {"sign_in_failed", "signed_in"} <= {line["event"] for line in lines}


# ---------------------------------------------------------------------- guessing
def test_guessing_is_slowed_alike_for_every_name(site):
    for name in ("bs.an", "nobody"):
        browser = site.browser(f"10.0.0.{len(name)}", "http://read.vn")
        told = [sign_in(browser, name, "wrong").status_code for _ in range(7)]
        assert told == [403] * 5 + [429] * 2
        paused = sign_in(browser, name, PASSWORD)
        assert (paused.status_code, paused.headers["retry-after"]) == (429, "2")
        assert "2 giây" in paused.text
    site.record.clock.advance(2)
    assert sign_in(site.browser()).status_code == 303


def test_an_address_that_tries_many_names_is_slowed(site):
    browser = site.browser("10.0.0.7", "http://read.vn")
    told = [sign_in(browser, f"name{number}", "wrong").status_code for number in range(21)]
    assert told == [403] * 20 + [429]
    assert sign_in(site.browser("10.0.0.8", "http://read.vn")).status_code == 303


# ---------------------------------------------------------------------- cookies and tokens
def test_the_cookie_is_locked_to_the_host_over_https(site):
    browser = site.browser("10.0.0.7", "https://read.vn")
    kept = sign_in(browser).headers.get_list("set-cookie")
    session = next(line for line in kept if line.startswith("__Host-hoichan_session="))
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(session.split("; "))
    assert "Domain" not in session and "Max-Age" not in session
    assert browser.get("/api/v1/studies").status_code == 200


def test_the_cookie_has_a_plain_name_at_this_machine(site):
    (session,) = [
        line for line in sign_in(site.browser()).headers.get_list("set-cookie") if line.startswith(SESSION)
    ]
    assert {"HttpOnly", "SameSite=lax"} <= set(session.split("; "))
    assert "Secure" not in session


def test_a_cookie_from_before_is_never_taken_over(site):
    browser = site.browser()
    browser.cookies.set(SESSION, "planted", domain="localhost.local")
    sign_in(browser)
    assert "planted" not in browser.cookies.values()


def test_signing_in_again_ends_the_session_before(site):
    browser = site.browser()
    sign_in(browser)
    first = browser.cookies[SESSION]
    page = browser.get("/account")
    form = {"user_name": "bs.an", "password": PASSWORD, "csrf_token": token(page)}
    assert browser.post("/login", data=form, headers=SAME).status_code == 303
    assert site.browser().get("/", headers={"Cookie": f"{SESSION}={first}"}).status_code == 401


@pytest.mark.parametrize("path", ["/login", "/logout", "/account/password"])
@pytest.mark.parametrize("fault", ["cross-site", "no token", "another's token"])
def test_no_form_counts_without_its_token_and_origin(site, path, fault):
    browser = site.browser()
    sign_in(browser)
    session = browser.cookies[SESSION]
    told = {"cross-site": token_of(session), "no token": "", "another's token": token_of("another")}[fault]
    headers = {"Sec-Fetch-Site": "cross-site"} if fault == "cross-site" else SAME
    answer = browser.post(path, data={"csrf_token": told}, headers=headers)
    code = "request.cross_origin" if fault == "cross-site" else "request.token_missing"
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert browser.get("/api/v1/studies").status_code == 200


def test_the_token_of_a_visit_is_none_after_signing_in(site):
    browser = site.browser()
    browser.get("/login")
    visit = browser.cookies[VISIT]
    sign_in(browser)
    assert VISIT not in browser.cookies
    answer = browser.post("/logout", data={"csrf_token": token_of(visit)}, headers=SAME)
    assert answer.status_code == 403


def test_a_form_with_a_sign_that_no_database_holds_is_refused(site):
    answer = site.browser().post("/login", data={"user_name": "bs.an\0", "password": "x"}, headers=SAME)
    assert (answer.status_code, answer.json()["code"]) == (422, "request.malformed")


def test_a_form_of_a_megabyte_is_refused(site):
    answer = site.browser().post("/login", data={"user_name": "x" * 1_000_000}, headers=SAME)
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=1&" * 500, b"{}"])
def test_a_body_that_is_no_form_is_no_form(site, body):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = site.browser().post("/login", content=body, headers=SAME | kind)
    assert answer.json()["code"] == "request.token_missing"


@pytest.mark.parametrize(
    "place",
    [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/login?next=/",
        "/logout",
        "/a\nb",
        "x",
    ],
)
def test_nobody_is_led_elsewhere(place):
    assert way_back(place) == ""


@pytest.mark.parametrize("place", ["/", "/?state=failed&page=2", "/studies/1.2.840/trail"])
def test_a_person_is_led_back(place):
    assert way_back(place) == place


# ---------------------------------------------------------------------- the end of a session
def test_a_page_left_open_ends_by_itself(site):
    browser = site.browser()
    sign_in(browser)
    for _ in range(3):
        site.record.clock.advance(600)
        last = browser.get("/api/v1/studies", headers=POLL).status_code
    assert last == 401


def test_a_page_in_use_stays(site):
    browser = site.browser()
    sign_in(browser)
    for _ in range(3):
        site.record.clock.advance(1700)
        assert browser.get("/").status_code == 200


def test_a_shift_is_bounded(site):
    browser = site.browser()
    sign_in(browser)
    end = site.record.clock.now() + timedelta(hours=12)
    while site.record.clock.now() < end:
        assert browser.get("/").status_code == 200
        site.record.clock.advance(1500)
    assert browser.get("/").status_code == 401


# ---------------------------------------------------------------------- the own account
def test_a_person_changes_the_own_password(site):
    browser, other = site.browser(), site.browser()
    sign_in(browser)
    sign_in(other)
    new = "một câu khác dễ nhớ"
    done = post(browser, "/account/password", present=PASSWORD, new=new, again=new)
    assert (done.status_code, done.headers["location"]) == (303, "/account?done=password")
    assert "Đã đổi mật khẩu" in browser.get("/account?done=password").text
    assert other.get("/").status_code == 401
    assert sign_in(site.browser()).status_code == 403
    assert sign_in(site.browser(), password=new).status_code == 303


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"present": "wrong", "new": "một câu khác dễ nhớ", "again": "một câu khác dễ nhớ"}, "không đúng"),
        ({"present": PASSWORD, "new": "một câu khác dễ nhớ", "again": "khác"}, "không giống nhau"),
        ({"present": PASSWORD, "new": "ngắn", "again": "ngắn"}, "quá ngắn"),
        ({}, "không đúng"),
    ],
)
def test_a_password_that_cannot_be_taken_says_why(site, fields, words):
    browser = site.browser()
    sign_in(browser)
    answer = post(browser, "/account/password", **fields)
    assert answer.status_code == 403
    assert words in answer.text
    assert sign_in(site.browser()).status_code == 303


# ---------------------------------------------------------------------- a newcomer
@pytest.fixture
def empty(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def test_a_newcomer_sees_the_page_and_is_told_that_everybody_does(empty):
    page = empty.browser().get("/", headers=PAGE)
    assert page.status_code == 200
    assert "Chưa có tài khoản nào" in page.text
    assert "hoichan user add" in page.text
    assert empty.browser().get("/account", headers=PAGE).status_code == 403


def test_from_the_first_account_on_everybody_signs_in(empty):
    browser = empty.browser()
    assert browser.get("/api/v1/studies").status_code == 200
    add_user(empty.record, "aud", Role.AUDITOR)
    assert browser.get("/api/v1/studies").status_code == 401
    empty.record.people.disable("aud")
    assert browser.get("/api/v1/studies").status_code == 401


@pytest.mark.parametrize(
    ("address", "base"),
    [("10.0.0.7", "http://localhost"), ("127.0.0.1", "http://read.vn"), ("10.0.0.7", "http://read.vn")],
)
def test_the_network_never_gets_in_without_an_account(empty, address, base):
    answer = empty.browser(address, base).get("/api/v1/studies")
    assert (answer.status_code, answer.json()["code"]) == (401, "access.sign_in_required")


def test_a_page_that_always_asks_tells_how_to_begin(tmp_path):
    site = Site(tmp_path, sign_in="always")
    browser = site.browser()
    assert browser.get("/api/v1/studies").status_code == 401
    assert "hoichan user add" in browser.get("/login").text
    site.close()


def test_a_plain_connection_from_the_network_is_told(site):
    assert "không được mã hoá" in site.browser("10.0.0.7", "http://read.vn").get("/login").text
    assert "không được mã hoá" not in site.browser("10.0.0.7", "https://read.vn").get("/login").text
    assert "không được mã hoá" not in site.browser().get("/login").text


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("path", ["/login", "/account"])
def test_the_pages_stand_in_both_languages(site, language, path):
    browser = site.browser()
    if path == "/account":
        sign_in(browser)
    page = browser.get(f"{path}?lang={language}", headers=PAGE)
    assert page.status_code == 200
    assert f'<html lang="{language}">' in page.text
    assert " style=" not in page.text
