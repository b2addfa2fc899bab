"""A link in a visitor's phone. How the pages look: test_every_page.py."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from hoichan.testing.house import wait_until
from hoichan.testing.reports import a_film, as_bytes
from tests.unit.service.api.test_reading import signed
from tests.unit.service.api.test_shares import Ward

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (make test-peers installs it)"
)
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

CHROMIUM = os.environ.get("HOICHAN_TEST_CHROMIUM") or shutil.which("chromium") or ""
pytestmark = [pytest.mark.peers, pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
SIZES = {
    "desk": {"viewport": {"width": 1366, "height": 768}},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}
SHOTS = os.environ.get("HOICHAN_TEST_SHOTS", "")  # a folder for pictures to look at


@contextmanager
def served(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, host="127.0.0.1", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, seconds=60, what="the page")
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


class Site(Ward):
    """A signed study with a film, two questions and two links."""

    def __init__(self, folder):
        super().__init__(folder)
        (image,) = self.study.instances
        place = self.record.spool_root / image.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(as_bytes(a_film("one", rows=640, columns=560)))
        with self.client() as client:
            assert signed(client).status_code == 200
            asked = {
                "user": "bs.an",
                "words": "Đám mờ thuỳ trên phải này có phải lao không?\nPhim cũ năm 2024.",
            }
            assert client.post("opinions", json=asked).status_code == 201
            assert client.post("opinions", json={**asked, "user": "bs.binh"}).status_code == 201
        with self.client("bs.an") as client:
            said = {"words": "Nghĩ nhiều đến lao, đề nghị xét nghiệm đàm."}
            client.post("http://localhost/api/v1/opinions/1/words", json=said)
        self.open, self.closed = self.make(days=3), self.make(pin="482913")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("opinions"))
    with served(made.app) as made.base:
        yield made
    made.record.engine.dispose()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


def test_a_visitor_with_a_phone_types_the_pin_and_sees_words_and_film(site, browser):
    context = browser.new_context(**SIZES["phone"])
    page = context.new_page()
    page.goto(site.base + site.closed)
    page.fill("#pin", "482913")
    page.click("button.primary")
    page.wait_for_selector("article.shared")
    assert "Tràn dịch màng phổi." in page.inner_text("article")
    film = page.locator("figure.film img")
    film.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('figure.film img').naturalWidth > 100")
    assert page.locator("img").count() == 1
    context.close()
