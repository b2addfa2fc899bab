"""A browser for the tests that look at pages: Debian's chromium, driven by playwright."""

import os
import shutil
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from hoichan.testing.house import wait_until

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (make test-peers installs it)"
)
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

CHROMIUM = os.environ.get("HOICHAN_TEST_CHROMIUM") or shutil.which("chromium") or ""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-dev-shm-usage", "--disable-sync", "--no-first-run"]
SHOTS = os.environ.get("HOICHAN_TEST_SHOTS", "")  # a folder for pictures to look at
DESK = {"viewport": {"width": 1366, "height": 768}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
SIZES = {"desk": DESK, "phone": PHONE}
marks = [pytest.mark.peers, pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")]


class Reader:
    """One page of the browser, and every complaint it made."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(locale="vi-VN", timezone_id="Asia/Ho_Chi_Minh", **options)
        self.page = self.context.new_page()
        self.complaints, self.elsewhere = [], []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.page.on(
            "request",
            lambda asked: None if "//localhost:" in asked.url else self.elsewhere.append(asked.url),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


@contextmanager
def served(app):
    """The address of an application that is served in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, host="127.0.0.1", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, seconds=60, what="the page")
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
