"""Films that a person drops on the page, in a real browser."""

from __future__ import annotations

import pytest

from hoichan.guard.roles import Role
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from service.api.caller import SESSION
from service.api.upload import SENDER
from tests.peers.browser import SIZES, Reader, axe, marks, served
from tests.unit.service.api.test_upload import Site

pytestmark = marks


def drop(page, *files):
    """Let go of files over the page, as somebody who drags them there from a folder."""
    box = page.locator("[data-upload]").bounding_box()
    told = {
        "x": box["x"] + box["width"] / 2,
        "y": box["y"] + box["height"] / 2,
        "data": {"items": [], "files": [str(one) for one in files], "dragOperationsMask": 1},
    }
    hand = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        hand.send("Input.dispatchDragEvent", {"type": step, **told})


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    with served(made.app) as made.base:
        yield made
    made.spool.close()
    made.record.engine.dispose()


@pytest.mark.parametrize("size", list(SIZES))
def test_what_is_dropped_is_taken_and_what_is_no_film_is_told(site, browser, tmp_path, size):
    made = film()
    session = site.record.people.begin_session(Role.TECHNICIAN.value)
    with Reader(browser, **SIZES[size]) as reader:
        page = reader.page
        page.set_default_timeout(60_000)
        reader.context.add_cookies([{"name": SESSION, "value": session, "url": site.base}])
        page.goto(f"{site.base}/upload?lang=en")
        (tmp_path / "IM0001").write_bytes(as_file(made))
        (tmp_path / "letter.dcm").write_bytes(b"not a film " * 40)
        drop(page, tmp_path / "IM0001", tmp_path / "letter.dcm")
        page.wait_for_selector(".sent-files .is-good")
        page.wait_for_selector(".sent-files .is-bad")
        assert page.locator(".is-good bdi").inner_text() == "IM0001"
        assert page.locator(".is-bad bdi").inner_text() == "letter.dcm"
        serious = [one["id"] for one in axe.Axe().run(page).response["violations"]]
        assert serious == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert reader.elsewhere == []
    (kept,) = site.spool.listing(made.StudyInstanceUID)
    assert kept.calling_ae_title == SENDER
