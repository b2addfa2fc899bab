"""Signing in at npm's oidc-provider: code flow with PKCE, roles, what is refused, and signing out."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.oidc_client import OidcClient
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.errors import IssuerFailed
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import PASSWORD, a_record, add_user, arrive, assemble, report
from service.api.caller import SESSION, token_of
from tests.unit.service.api.asking import an_app

pytestmark = pytest.mark.peers

MODULES = Path(os.environ.get("HOICHAN_MLLP_NODE", "node_modules")).absolute()
PAGE = {"Accept": "text/html"}
DEADLINE_SECONDS = 60


@pytest.fixture(scope="module")
def provider():
    node = shutil.which("node")
    if node is None or not (MODULES / "oidc-provider").is_dir():
        pytest.skip(
            "oidc-provider is not installed: npm i oidc-provider, and name the folder in HOICHAN_MLLP_NODE"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "MODULES": str(MODULES)}
    process = subprocess.Popen(
        [node, Path(__file__).parent / "oidc_provider.mjs"],
        env={**environment, "REDIRECT": "http://localhost:8080"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    issuer = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{issuer}/.well-known/openid-configuration", process)
        yield issuer
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def _wait_for(address, process):
    end = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            httpx2.get(address, timeout=5).raise_for_status()
            return
        except httpx2.HTTPError:
            assert process.poll() is None, "the provider ended"
            assert time.monotonic() < end, "the provider does not answer"


class Site:
    """Our page with this issuer, and a local account."""

    def __init__(self, folder, issuer, **oidc):
        settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder, "reserve_bytes": 0},
                "oidc": {
                    "issuer": issuer,
                    "client_id": "hoichan",
                    "client_secret": "a secret of the tests, long enough",
                    "public_url": "http://localhost:8080",
                    "scopes": ["openid", "profile", "roles"],
                    "roles": {"bac-si-cdha": "radiologist", "ky-thuat-vien": "technician"},
                    **oidc,
                },
            }
        )
        self.record = a_record(folder, settings)
        add_user(self.record, "bs.an", Role.IT_ADMIN)
        self.app = an_app(self.record)
        self._browsers = []

    def browser(self):
        browser = TestClient(self.app, base_url="http://localhost:8080", follow_redirects=False, headers=PAGE)
        self._browsers.append(browser)
        return browser

    def go(self, browser, user, page="/login/oidc"):
        """Through the forms of the issuer; the address it sends the browser back to."""
        place = browser.get(page).headers["location"]
        return at_the_issuer(place, user)

    def sign_in(self, user, page="/login/oidc"):
        browser = self.browser()
        return browser, browser.get(self.go(browser, user, page))

    def close(self):
        for browser in self._browsers:
            browser.close()
        self.record.engine.dispose()


def at_the_issuer(place, user):
    with httpx2.Client(base_url=place, timeout=30) as client:
        answer = client.get(place)
        for _ in range(10):
            if answer.is_redirect:
                place = str(answer.url.join(answer.headers["location"]))
                if place.startswith("http://localhost:8080/"):
                    return place
                answer = client.get(place)
                continue
            action = re.search(r'action="([^"]+)"', answer.text)[1]
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)[1]
            fields = {"prompt": prompt, **({"login": user, "password": "x"} if prompt == "login" else {})}
            answer = client.post(str(answer.url.join(action)), data=fields)
    raise AssertionError("the issuer never sent the browser back")


@pytest.fixture
def site(tmp_path, provider):
    site = Site(tmp_path, provider)
    yield site
    site.close()


def test_the_first_sign_in_makes_an_account_with_the_role_of_the_issuer(site):
    browser, answer = site.sign_in("bs.lan", "/login/oidc?next=/account")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert "Người bs.lan" in browser.get("/account").text
    user = site.record.people.user("bs.lan")
    assert (user.role, user.display_name) == (Role.RADIOLOGIST, "Người bs.lan")
    (login,) = site.record.audit.search(Wanted(what=Audited.LOGIN, who="bs.lan"), limit=9)[1]
    assert login.record.detail == "oidc"
    assert site.sign_in("bs.lan")[1].status_code == 303  # the same account again
    assert [one.user_name for one in site.record.people.users()] == ["bs.an", "bs.lan"]


def test_a_role_may_be_one_text_and_follows_the_issuer(site):
    site.sign_in("ktv.minh")
    assert site.record.people.role("ktv.minh") is Role.TECHNICIAN
    site.record.people.set_role("ktv.minh", Role.AUDITOR)
    site.sign_in("ktv.minh")
    assert site.record.people.role("ktv.minh") is Role.TECHNICIAN


@pytest.mark.parametrize(("user", "reason"), [("khach", "role"), ("bs.an", "taken"), ("Bad Name!", "role")])
def test_who_has_no_role_or_the_name_of_another_stays_out(site, user, reason):
    before = site.record.people.users()
    browser, answer = site.sign_in(user)
    assert (answer.status_code, f"<code>{reason}</code>" in answer.text) == (403, True)
    assert browser.get("/account").status_code == 303
    assert site.record.people.users() == before


def test_a_closed_account_stays_closed(site):
    site.sign_in("bs.lan")
    site.record.people.disable("bs.lan")
    assert site.sign_in("bs.lan")[1].status_code == 403


def test_local_accounts_stay(site):
    browser = site.browser()
    page = browser.get("/login").text
    assert 'href="/login/oidc"' in page
    token = re.search(r'name="csrf_token" value="(\w+)"', page)[1]
    form = {"csrf_token": token, "user_name": "bs.an", "password": PASSWORD}
    assert browser.post("/login", data=form, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_an_answer_counts_once_and_in_the_browser_that_asked(site):
    browser, other = site.browser(), site.browser()
    back = site.go(browser, "bs.lan")
    assert other.get(back).status_code == 403  # somebody was sent a link with a code of another
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 403
    late = site.browser()
    back = site.go(late, "bs.lan")
    site.record.clock.advance(601)
    assert late.get(back).status_code == 403


@pytest.mark.parametrize(
    "change", [{"state": "x" * 43}, {"code": "x" * 43}, {"code": ""}, {"iss": "https://evil.vn"}]
)
def test_a_changed_answer_is_refused(site, change):
    browser = site.browser()
    back = urlsplit(site.go(browser, "bs.lan"))
    asked = {name: values[0] for name, values in parse_qs(back.query).items()}
    assert browser.get("/login/oidc/back", params={**asked, **change}).status_code == 403
    assert browser.get("/account").status_code == 303


def test_a_code_is_worth_nothing_without_its_verifier_or_nonce(site, provider):
    settings = site.record.settings.oidc
    for change, reason in (({"code_verifier": "v" * 64}, "http_400"), ({"nonce": "other"}, "id_token")):
        client = OidcClient(settings)
        kept = {"nonce": "n" * 43, "code_verifier": "c" * 64}
        code = parse_qs(urlsplit(at_the_issuer(client.address(state="s", **kept), "bs.lan")).query)["code"][0]
        with pytest.raises(IssuerFailed) as caught:
            client.redeem(code=code, **{**kept, **change})
        assert caught.value.reason == reason


def test_signing_out_leads_to_signing_out_there(site, provider):
    browser, _ = site.sign_in("bs.lan")
    token = re.search(r'name="csrf_token" value="(\w+)"', browser.get("/account").text)[1]
    answer = browser.post("/logout", data={"csrf_token": token}, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.headers["location"] == "/login?left=issuer"
    link = re.search(r'href="(http://127[^"]+)"', browser.get("/login?left=issuer").text)[1].replace(
        "&amp;", "&"
    )
    assert link.startswith(provider)
    with httpx2.Client(timeout=30) as client:
        assert client.get(link).status_code == 200
    assert browser.get("/account").status_code == 303


def test_an_issuer_that_does_not_answer_is_told_and_local_sign_in_works(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        site = Site(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}")
        answer = site.browser().get("/login/oidc")
        assert (answer.status_code, "<code>unreachable</code>" in answer.text) == (403, True)
        assert site.browser().get("/login").status_code == 200
        site.close()


# ---------------------------------------------------------------------- signing
class Reading:
    """A doctor of the issuer with a drafted report, and one of the same role who did not write it."""

    def __init__(self, site):
        self.site = site
        site.record.clock.advance(time.time() - site.record.clock.now().timestamp())  # the issuer's own
        self.browser, answer = site.sign_in("bs.lan")
        assert answer.status_code == 303
        site.record.people.set_licence("bs.lan", full_name="Trần Thị Lan", licence_number="777/HN-CCHN")
        study = assemble(site.record, arrive(site.record, "one"))
        report(site.record, study, {"pneumothorax": 0.02})
        self.uid = study.study_instance_uid
        self.place = f"/api/v1/studies/{self.uid}"
        self.headers = {
            "X-CSRF-Token": token_of(self.browser.cookies[SESSION]),
            "Sec-Fetch-Site": "same-origin",
            "Accept": "application/json",
        }
        self.version = self.draft(0)

    def draft(self, version):
        draft = {"version": version, "sections": {"conclusion": "Không thấy bất thường."}, "judgements": []}
        answer = self.browser.put(f"{self.place}/draft", json=draft, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["version"]

    def leave(self, **changes):
        asked = {"version": self.version, "kind": "final", **changes}
        answer = self.browser.post(f"{self.place}/sign/elsewhere", json=asked, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["address"]

    @property
    def signed(self):
        record = self.site.record
        return ReviewsSql(record.engine, record.reading.objects, record.clock).reviews(self.uid)


@pytest.fixture
def reading(site):
    return Reading(site)


def test_who_signs_in_again_at_the_issuer_has_signed(site, reading):
    settings = reading.browser.get(f"{reading.place}/reading", headers=reading.headers).json()["settings"]
    assert settings["sign_needs"] == "issuer"
    address = reading.leave()
    asked = parse_qs(urlsplit(address).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    back = reading.browser.get(at_the_issuer(address, "bs.lan"))
    assert (back.status_code, back.headers["location"]) == (303, f"/studies/{reading.uid}")
    (review,) = reading.signed
    assert (review.reviewer, review.licence_number) == ("bs.lan", "777/HN-CCHN")
    gone = at_the_issuer(reading.leave(version=0, kind="withdrawal", reason="Nhầm người"), "bs.lan")
    assert reading.browser.get(gone).status_code == 303
    assert [one.kind for one in reading.signed] == ["final", "withdrawal"]


def test_another_person_at_the_issuer_signs_nothing(site, reading):
    site.sign_in("ktv.minh")
    back = reading.browser.get(at_the_issuer(reading.leave(), "ktv.minh"))
    assert (back.status_code, "review.other_person" in back.text, reading.signed) == (403, True, ())
    refused = site.record.audit.search(Wanted(what=Audited.RESULT_SIGNED, who="bs.lan"), limit=9)[1]
    assert [line.record.detail for line in refused] == ["refused review.other_person"]


def test_what_was_not_on_the_screen_is_not_signed(reading):
    address = reading.leave()
    reading.draft(reading.version)
    back = reading.browser.get(at_the_issuer(address, "bs.lan"))
    assert (back.status_code, "draft_changed" in back.text, reading.signed) == (403, True, ())


def test_who_was_away_while_a_colleague_signed_signs_nothing(site, reading):
    site.record.people.set_role("bs.an", Role.RADIOLOGIST)
    site.record.people.set_licence("bs.an", full_name="Lê An", licence_number="778/HN-CCHN")
    session = site.record.people.begin_session("bs.an")
    headers = {"Cookie": f"{SESSION}={session}", "X-CSRF-Token": token_of(session)}
    address = reading.leave(last_signed="")
    asked = {"version": reading.version, "password": PASSWORD}
    done = site.browser().post(f"{reading.place}/sign", json=asked, headers={**reading.headers, **headers})
    assert done.status_code == 200, done.text
    reading.draft(0)  # of the same number as the one that was on the screen
    back = reading.browser.get(at_the_issuer(address, "bs.lan"))
    assert (back.status_code, "review.step_refused" in back.text) == (403, True)
    assert [one.reviewer for one in reading.signed] == ["bs.an"]
    asked = {"version": 1, "kind": "amendment", "reason": "Đo lại.", "last_signed": ""}
    late = reading.browser.post(f"{reading.place}/sign/elsewhere", json=asked, headers=reading.headers)
    assert (late.status_code, late.json()["code"]) == (409, "review.step_refused")


def test_a_sign_in_of_before_signs_nothing(site, reading):
    site.record.clock.advance(300)  # by our clock the person left later than the issuer saw them
    back = reading.browser.get(at_the_issuer(reading.leave(), "bs.lan"))
    assert (back.status_code, "review.not_anew" in back.text, reading.signed) == (403, True, ())


def test_an_answer_signs_once_and_in_the_session_that_left(site, reading):
    back = at_the_issuer(reading.leave(), "bs.lan")
    assert site.browser().get(back).status_code == 403
    reading.browser.cookies.delete(SESSION)
    ended = reading.browser.get(back)
    assert (ended.status_code, "review.session_ended" in ended.text, reading.signed) == (403, True, ())
    assert reading.browser.get(back).status_code == 403


def test_who_has_a_password_here_signs_with_it(site, reading):
    site.record.people.set_role("bs.an", Role.RADIOLOGIST)
    session = site.record.people.begin_session("bs.an")
    headers = {"Cookie": f"{SESSION}={session}", "X-CSRF-Token": token_of(session)}
    local = site.browser()
    asked = {"version": 1, "kind": "final"}
    answer = local.post(f"{reading.place}/sign/elsewhere", json=asked, headers={**reading.headers, **headers})
    assert (answer.status_code, answer.json()["code"]) == (403, "review.wrong_password")
