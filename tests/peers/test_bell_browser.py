"""The sound of a critical finding, in a real browser: once, and not lost where it was not allowed yet."""

from __future__ import annotations

from hoichan.testing.house import wait_until
from service.api.caller import SESSION
from tests.peers.browser import DESK, Reader, marks, served
from tests.unit.service.api.test_notices import room  # noqa: F401  the fixture

pytestmark = marks


def rang(page):
    """How often this page has rung."""
    return page.evaluate("Number(document.documentElement.dataset.rang ?? 0)")


def test_a_notice_rings_once_at_the_first_touch_whichever_page_that_is(room, browser):  # noqa: F811
    session = room.record.people.begin_session("bs.chau")
    with served(room.app) as base, Reader(browser, **DESK) as reader:
        page = reader.page
        page.set_default_timeout(60_000)
        reader.context.add_cookies([{"name": SESSION, "value": session, "url": base}])

        # asking the page anything counts as a touch: so it says by itself when it knows of the notice
        page.add_init_script("document.addEventListener('hoichan:notices', () => console.info('known'))")

        def opened(path):
            with page.expect_console_message(lambda one: one.text == "known"):
                page.goto(f"{base}{path}?lang=vi")
            assert page.title().startswith("(1)")

        opened("/")
        assert rang(page) == 0  # browsers allow no sound before somebody has touched the page
        opened("/notices")
        page.mouse.click(4, 4)
        wait_until(lambda: rang(page) == 1, seconds=60, what="the sound")
        opened("/")
        page.mouse.click(4, 4)
        assert page.evaluate("localStorage.getItem('hoichan.heard')") == "[1]"
        assert rang(page) == 0  # it was heard
        assert reader.complaints == []
