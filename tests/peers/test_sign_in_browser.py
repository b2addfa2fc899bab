"""Coming and going in a real browser: sign-in, what stays behind after sign-out, a screen left open."""

import re
from base64 import b32decode
from datetime import UTC, datetime

import pytest

from hoichan.guard.roles import Role
from hoichan.guard.second_factor import code_at, step_of
from hoichan.testing.reading import PASSWORD, add_user
from tests.peers.browser import DESK, PHONE, Reader, axe, marks
from tests.peers.test_page_browser import DEADLINE_SECONDS, Site

pytestmark = marks


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("sign-in"))
    for name, role in (("bs.an", Role.RADIOLOGIST), ("aud", Role.AUDITOR), ("it", Role.IT_ADMIN)):
        add_user(site.record, name, role)
    yield site
    site.close()


def sign_in(page, name, password=PASSWORD):
    page.fill("#user_name", name)
    page.fill("#password", password)
    page.click("button.primary")


@pytest.mark.parametrize(
    ("device", "language", "scheme"),
    [(DESK, "vi", "dark"), (DESK, "en", "light"), (PHONE, "vi", "light"), (PHONE, "en", "dark")],
    ids=["desk-vi-dark", "desk-en-light", "phone-vi-light", "phone-en-dark"],
)
def test_the_steps_of_the_second_factor_can_be_used_by_everybody(site, browser, device, language, scheme):
    with Reader(browser, color_scheme=scheme, **device) as reader:

        def look(path):
            reader.page.goto(f"{site.base}{path}?lang={language}")
            look_here(path)

        def look_here(path):
            reader.page.wait_for_load_state()  # a page without its colours yet has no contrast
            found = axe.Axe().run(reader.page).response["violations"]
            assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == [], path
            wide = reader.page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, f"{path} is wider than the screen"

        def sign_out():
            reader.page.click(".out button")

        name = f"bs.{'phone' if device is PHONE else 'desk'}.{language}"
        add_user(site.record, name)
        reader.page.goto(f"{site.base}/login?lang={language}")
        sign_in(reader.page, name)
        look("/account/second-factor")
        with_second_factor(reader.page, lambda: look("/account/second-factor"), look_here)
        sign_out()
        sign_in(reader.page, name)
        look("/login/code")
        reader.page.fill("#code", "000000")
        reader.page.click("button.primary")
        reader.page.wait_for_selector("[role=alert]")
        look_here("a wrong code")
        reader.page.goto(f"{site.base}/login")
        sign_in(reader.page, "aud")
        assert reader.page.url == f"{site.base}/audit"
        for path in ("/people", "/nowhere"):  # not for an auditor; not there
            look(path)
        refused = [line for line in reader.complaints if "403" not in line and "404" not in line]
        assert (refused, reader.elsewhere) == ([], [])


def with_second_factor(page, look, look_here):
    """Set it up as a person does, with the letters of the page; every step is looked at."""
    page.fill("#present", PASSWORD)
    page.click("button.primary")
    page.wait_for_selector(".qr svg")
    look()
    letters = page.locator(".secret").inner_text().replace(" ", "")
    page.fill("#code", code_at(b32decode(letters), step_of(datetime.now(UTC))))
    page.click("button.primary")
    page.wait_for_selector(".codes")
    assert page.locator(".codes li").count() == 10
    look_here("the recovery codes")


def test_a_person_comes_back_to_what_was_asked_for_and_leaves_nothing_behind(site, browser):
    with Reader(browser, **DESK) as reader:
        page, wanted = reader.page, f"{site.base}/studies/{site.uids['critical']}/record"
        page.goto(wanted)
        assert "/login?next=" in page.url
        sign_in(page, "bs.an", "wrong")
        assert "Tên đăng nhập hoặc mật khẩu không đúng." in page.locator("[role=alert]").inner_text()
        page.wait_for_selector("#password:focus")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(wanted)
        page.locator(".picture img").evaluate("image => image.decode()")
        assert page.evaluate("document.cookie") == ""  # no script can read the session
        page.click(".out button")
        page.wait_for_url("**/login")
        page.go_back()
        page.wait_for_url("**/login**")
        assert "Quỳnh" not in page.content()


def test_a_screen_left_open_shows_nobody_after_the_session_is_over(site, browser):
    with Reader(browser, **PHONE) as reader:
        page = reader.page
        page.goto(site.base)
        sign_in(page, "bs.an")
        page.wait_for_selector(".list")
        (session,) = [one["value"] for one in reader.context.cookies() if one["name"] == "hoichan_session"]
        site.record.people.end_session(session)
        page.wait_for_url("**/login**", timeout=DEADLINE_SECONDS * 1000)
        assert "Quỳnh" not in page.content()


def test_it_finds_a_study_and_sends_its_result_again_without_opening_it(site, browser):
    with Reader(browser, **DESK) as reader:
        page = reader.page
        page.goto(site.base)
        sign_in(page, "it")
        page.locator(f"[data-key='{site.uids['urgent']}'] .name").click()
        page.wait_for_url(re.compile(r"/trail$"))
        page.get_by_role("button", name="Gửi lại").click()
        page.wait_for_url(re.compile(r"/trail$"))
        assert page.get_by_role("button", name="Gửi lại").count() == 0


def test_the_auditor_finds_what_somebody_did(site, browser):
    with Reader(browser, **PHONE) as reader:
        page = reader.page
        page.goto(f"{site.base}/audit")
        sign_in(page, "aud")
        page.fill("#who", "bs.an")
        page.select_option("#what", "login")
        page.get_by_role("button", name="Lọc").click()
        page.wait_for_url("**/audit?**")
        assert "Đăng nhập" in page.locator(".audit").inner_text()
        assert "Quỳnh" not in page.content()
