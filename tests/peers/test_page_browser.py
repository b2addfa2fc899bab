"""The pages in a real browser: what is seen, what a script may do, and how a list stays current."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.testing.hl7 import order
from hoichan.testing.reading import a_record, fill
from hoichan.testing.reports import FolderOfFilms, a_film, as_bytes
from service.web.reading_room import built
from tests.peers.browser import DESK, PHONE, Reader, marks
from tests.unit.service.api.test_messages import refuse

pytestmark = marks
COMMAND = (sys.executable, "-P", "-m", "service", "web")
DEADLINE_SECONDS = 60


class Site:
    """A filled record, served."""

    def __init__(self, folder):
        self.record = a_record(folder)
        films = folder / "films"
        films.mkdir()
        (films / "film.dcm").write_bytes(as_bytes(a_film("browser", rows=640, columns=560)))
        self.uids = fill(
            self.record, encode=DocumentEncoder(FolderOfFilms(films), self.record.settings).encode
        )
        refuse(self.record, order())
        self._ready = folder / "web.ready"
        self.process = subprocess.Popen(
            [*COMMAND, "--data-dir", str(folder), "--ready-file", str(self._ready), "--stdin-lifeline"],
            env=os.environ | {"HOICHAN_WEB__PORT": "0"},
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._ready.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, "the page did not start"
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        self.base = f"http://localhost:{json.loads(self._ready.read_text(encoding='utf-8'))['port']}"

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE_SECONDS)
        self.record.engine.dispose()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("browser"))
    yield site
    site.close()


def test_the_room_is_dark_unless_the_reader_asks_for_light(site, browser):
    def ground(scheme):
        with Reader(browser, color_scheme=scheme) as reader:
            reader.page.goto(site.base)
            return reader.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert ground("dark") == "rgb(14, 17, 20)"
    assert ground("light") == "rgb(244, 246, 247)"


def test_the_picture_is_drawn(site, browser):
    with Reader(browser, **DESK) as reader:
        reader.page.goto(f"{site.base}/studies/{site.uids['critical']}/record")
        picture = reader.page.locator(".picture img")
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") > 400


def test_a_hostile_name_is_text(site, browser):
    with Reader(browser, **DESK) as reader:
        reader.page.goto(site.base)
        name = reader.page.locator(f"#s-{site.uids['routine'].replace('.', chr(92) + '.')}").inner_text()
        assert name.startswith("<script>alert(1)</script>")
        assert reader.complaints == []


def test_a_list_stays_current_and_the_reader_stays_in_place(site, browser):
    with Reader(browser, viewport={"width": 1366, "height": 420}) as reader:
        page = reader.page
        page.goto(site.base)
        key = site.uids["failed"]
        row = f"[data-key='{key}']"
        page.locator(row).scroll_into_view_if_needed()
        page.evaluate("scrollBy(0, 40)")
        page.locator(f"{row} .name").focus()
        before = page.evaluate(f"""document.querySelector("{row}").getBoundingClientRect().top""")
        site.record.studies.refused(_pending(site), status="0xA900")
        page.wait_for_selector(
            f"[data-key='{site.uids['critical']}'] .to-dead", timeout=DEADLINE_SECONDS * 1000
        )
        after = page.evaluate(f"""document.querySelector("{row}").getBoundingClientRect().top""")
        assert abs(after - before) <= 1
        assert page.evaluate("document.activeElement.id") == f"s-{key}"
        assert page.locator("#said").inner_text() == "Danh sách vừa được cập nhật."
        assert reader.complaints == []


def _pending(site):
    deliveries = site.record.reading.study(site.uids["critical"]).deliveries
    return next(one.idempotency_key for one in deliveries if one.state == "pending")


def test_a_lost_connection_is_told(site, browser):
    with Reader(browser, **DESK) as reader:
        reader.page.goto(site.base)
        reader.context.set_offline(True)
        reader.page.wait_for_selector("[data-live-state].is-stale", timeout=DEADLINE_SECONDS * 1000)
        assert "Mất kết nối" in reader.page.locator("[data-live-state]").inner_text()
        reader.context.set_offline(False)
        reader.page.wait_for_selector("[data-live-state]:not(.is-stale)", timeout=DEADLINE_SECONDS * 1000)


def test_a_refused_delivery_is_sent_again_by_its_button(site, browser):
    with Reader(browser, **PHONE) as reader:
        reader.page.goto(f"{site.base}/studies/{site.uids['urgent']}/record")
        reader.page.get_by_role("button", name="Gửi lại").click()
        reader.page.wait_for_url("**#deliveries")
        assert reader.page.get_by_role("button", name="Gửi lại").count() == 0
        assert "gửi lại lúc" in reader.page.locator(".sent").inner_text()


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_refused_messages_are_read_again_by_their_button(site, browser, device):
    refuse(site.record, order(str(device["viewport"]["width"])))
    with Reader(browser, **device) as reader:
        reader.page.goto(f"{site.base}/messages?lang=vi")
        buttons = reader.page.get_by_role("button", name="Đọc lại")
        before = buttons.count()
        buttons.first.scroll_into_view_if_needed()
        if folder := os.environ.get("HOICHAN_TEST_PICTURES"):  # for a person to look at
            reader.page.screenshot(path=Path(folder) / f"messages-{device['viewport']['width']}.png")
        buttons.first.click()
        rest = reader.page.locator("main table button").nth(before - 1)
        rest.wait_for(state="detached", timeout=DEADLINE_SECONDS * 1000)
        assert not reader.complaints


def test_the_list_is_read_by_keyboard(site, browser):
    with Reader(browser, **DESK) as reader:
        reader.page.goto(site.base)
        reader.page.keyboard.press("Tab")
        assert reader.page.evaluate("document.activeElement.className") == "skip"
        reader.page.locator(".row .name").first.focus()
        reader.page.keyboard.press("Enter")
        reader.page.wait_for_url("**/studies/**")
        assert Path(reader.page.url).name == site.uids["critical"]


@pytest.mark.skipif(built() is None, reason="the reading room was not built: make app")
def test_an_image_that_is_not_to_be_had_is_said_and_nothing_is_drawn(site, browser):
    with Reader(browser, **DESK) as reader:
        reader.page.goto(f"{site.base}/studies/{site.uids['critical']}?lang=en")
        told = reader.page.locator(".stage-told .bad")
        told.wait_for(timeout=DEADLINE_SECONDS * 1000)
        assert told.inner_text().startswith("This image cannot be shown")
        assert reader.page.locator(".stage-marks .box").count() == 0


@pytest.mark.skipif(built() is None, reason="the reading room was not built: make app")
def test_a_lost_image_is_also_said_where_the_line_is_dear(site, browser):
    with Reader(browser, **PHONE) as reader:
        reader.page.add_init_script(
            "Object.defineProperty(navigator, 'connection', {value: {saveData: true}})"
        )
        reader.page.goto(f"{site.base}/studies/{site.uids['critical']}?lang=en")
        told = reader.page.locator(".stage-told .bad")
        told.wait_for(timeout=DEADLINE_SECONDS * 1000)
        assert told.inner_text().startswith("This image cannot be shown")
        reader.page.locator(".stage-told button").click()  # the full depth, which is lost too
        reader.page.locator(".stage-told button").wait_for(state="detached")
        told.wait_for(timeout=DEADLINE_SECONDS * 1000)
