"""The viewer in a real browser: windows, measures, overlays, stacks, a prior beside it, and reading first."""

from __future__ import annotations

from dataclasses import replace

import pydicom
import pytest
from pydicom.data import get_testdata_file

from hoichan.adapters.notices_sql import NoticesSql
from hoichan.testing.datasets import described
from hoichan.testing.house import wait_until
from hoichan.testing.reading import arrive, assemble
from hoichan.testing.reports import a_film, as_bytes
from hoichan.uids import derived_uid
from service.api.caller import SESSION
from service.notices import Notices
from service.web.reading_room import built
from tests.peers.browser import DESK, marks, served
from tests.unit.service.api import test_reading

pytestmark = [
    *marks,
    pytest.mark.skipif(built() is None, reason="the reading room was not built: make app"),
]
PATIENCE_MS = 60_000
GREY = """n => {
  const c = document.querySelectorAll(".stage-canvas canvas")[n];
  const d = c.getContext("2d").getImageData(c.width / 2 - 40, c.height / 2 - 40, 80, 80).data;
  let sum = 0;
  for (let i = 0; i < d.length; i += 4) sum += d[i];
  return sum / (d.length / 4);
}"""


class Films(test_reading.Room):
    """A film with findings, an earlier one of the same patient, a stack of CT, one object of many frames."""

    def __init__(self, folder):
        super().__init__(folder)
        self.prior = assemble(self.record, arrive(self.record, "earlier"))
        for study in (self.study, self.prior):
            self._lay(study, as_bytes(a_film("film", rows=640, columns=560)))
        self.stack = self._received([self._slice(number) for number in range(1, 6)])
        frames = pydicom.dcmread(get_testdata_file("emri_small.dcm", download=False))
        self.frames = self._received([frames])
        notices = NoticesSql(self.record.engine, self.record.clock)
        Notices(notices, self.record.audit, self.record.clock, self.record.settings).step()

    def _lay(self, study, content):
        for image in study.instances:
            place = self.record.spool_root / image.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def _slice(self, number):
        made = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
        made.SOPInstanceUID = derived_uid("slice", str(number))
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.InstanceNumber = number
        made.PixelData = (made.pixel_array + 60 * number).astype(made.pixel_array.dtype).tobytes()
        return made

    def _received(self, objects):
        for one in objects:
            part = described(pydicom.dcmread(pydicom.filebase.DicomBytesIO(as_bytes(one))))
            self.record.studies.add_arrivals(part, part.instances)
            self._lay(part, as_bytes(one))
        return part.study_instance_uid


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    made = Films(tmp_path_factory.mktemp("viewer"))
    with served(made.app) as made.base:
        yield made
    made.record.engine.dispose()


@pytest.fixture
def page(films, browser):
    context = browser.new_context(locale="vi-VN", **DESK)
    session = films.record.people.begin_session("bs.chau")
    context.add_cookies([{"name": SESSION, "value": session, "url": films.base}])
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def opened(films, page, uid):
    page.goto(f"{films.base}/studies/{uid}?lang=vi")
    page.wait_for_selector(".stage")
    page.keyboard.press("g")
    page.wait_for_selector("[data-full=yes]")
    page.locator(".stage").first.focus()


def grey(page, pane=0):
    """The mean of the middle of a pane, 0..255."""
    return page.evaluate(GREY, pane)


def comes(page, what, true):
    wait_until(true, seconds=PATIENCE_MS / 1000, what=what)


def drag(page, start, end):
    box = page.locator(".stage").first.bounding_box()
    (x, y), (to_x, to_y) = [
        (box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)
    ]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move((x + to_x) / 2, (y + to_y) / 2)
    page.mouse.move(to_x, to_y)
    page.mouse.up()


def test_windows_by_their_keys(films, page):
    opened(films, page, films.uid)
    comes(page, "the film", lambda: 10 < grey(page) < 245)
    own = grey(page)
    page.keyboard.press("9")  # inverted
    comes(page, "inverted", lambda: abs(grey(page) + own - 255) < 6)
    page.keyboard.press("4")
    comes(page, "darker", lambda: grey(page) < own - 20)
    page.keyboard.press("5")
    comes(page, "brighter", lambda: grey(page) > own + 20)
    page.keyboard.press("1")
    comes(page, "the film's own", lambda: abs(grey(page) - own) < 3)
    page.keyboard.press("i")
    comes(page, "inverted by its key", lambda: abs(grey(page) + own - 255) < 6)
    page.keyboard.press("0")
    comes(page, "reset", lambda: abs(grey(page) - own) < 3)


def test_a_length_and_the_cardiothoracic_ratio(films, page):
    opened(films, page, films.uid)
    page.keyboard.press("c")
    drag(page, (0.42, 0.6), (0.57, 0.6))  # heart
    drag(page, (0.35, 0.7), (0.65, 0.7))  # chest
    told = page.locator(".measure text")
    told.wait_for()
    comes(page, "the ratio", lambda: "0,50" in told.text_content())
    page.keyboard.press("l")
    drag(page, (0.45, 0.3), (0.55, 0.3))
    comes(page, "two measures", lambda: told.count() == 2)
    assert told.nth(1).text_content().endswith("mm")  # the film says how large a pixel is
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    comes(page, "none left", lambda: told.count() == 0)


def test_each_finding_has_an_overlay_of_its_own(films, page):
    opened(films, page, films.uid)
    heat = page.locator(".stage-marks image")
    assert heat.count() == 0
    page.keyboard.press("h")
    comes(page, "a heat map", lambda: heat.count() == 1)
    assert float(heat.get_attribute("opacity")) == pytest.approx(0.45)
    page.keyboard.press("]")
    comes(page, "stronger", lambda: float(heat.get_attribute("opacity")) == pytest.approx(0.55))
    page.keyboard.press("j")  # the next finding has its own, which is off
    comes(page, "another finding", lambda: heat.count() == 0)
    page.locator(".card-finding.is-chosen input[type=range]").fill("80")
    comes(page, "its own strength", lambda: heat.count() == 1 and heat.get_attribute("opacity") == "0.8")
    page.keyboard.press("k")
    comes(page, "the first as it was", lambda: float(heat.get_attribute("opacity")) == pytest.approx(0.55))
    page.keyboard.press("h")
    comes(page, "off", lambda: heat.count() == 0)


def test_an_earlier_film_stands_beside_with_a_linked_window(films, page):
    opened(films, page, films.uid)
    page.keyboard.press("o")
    comes(page, "two panes", lambda: page.locator(".stage").count() == 2)
    comes(page, "both in full depth", lambda: page.locator("[data-full=yes]").count() == 2)
    assert "20/11/2026" in page.locator(".pane-prior .stage-caption").inner_text()
    before = grey(page, 1)
    page.keyboard.press("i")
    comes(page, "the prior turned too", lambda: abs(grey(page, 1) + before - 255) < 6)
    page.keyboard.press("y")  # not linked any more
    page.keyboard.press("i")
    comes(page, "the film alone", lambda: abs(grey(page, 0) - before) < 6)
    assert abs(grey(page, 1) + before - 255) < 6
    page.keyboard.press("o")
    comes(page, "one pane", lambda: page.locator(".stage").count() == 1)


def test_a_stack_is_walked_through(films, page):
    opened(films, page, films.stack)
    caption = page.locator(".stage-caption")
    assert "1/5" in caption.inner_text()
    page.keyboard.press("3")  # soft tissue, in Hounsfield units
    comes(page, "a window", lambda: grey(page) > 0)
    first = grey(page)
    page.keyboard.press("PageDown")
    comes(page, "the next", lambda: "2/5" in caption.inner_text())
    page.mouse.move(500, 400)
    page.mouse.wheel(0, 120)
    comes(page, "the wheel", lambda: "3/5" in caption.inner_text())
    comes(page, "another slice", lambda: grey(page) > first + 5)
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    comes(page, "the end", lambda: "5/5" in caption.inner_text())
    assert page.locator(".strip .thumb").count() == 5


def test_frames_of_one_object_are_walked_through(films, page):
    opened(films, page, films.frames)
    caption = page.locator(".stage-caption")
    assert "1/10" in caption.inner_text()
    page.keyboard.press(".")
    comes(page, "the next frame", lambda: "2/10" in caption.inner_text())
    comes(page, "its full depth", lambda: page.locator("[data-full=yes]").count() == 1)
    page.keyboard.press(",")
    comes(page, "back", lambda: "1/10" in caption.inner_text())


def test_reading_comes_first_where_the_site_wants_it(films, page):
    desk = films.app.state.desk
    web = desk.settings.web.model_copy(update={"read_first": True})
    films.app.state.desk = replace(desk, settings=desk.settings.model_copy(update={"web": web}))
    try:
        opened(films, page, films.uid)
        page.wait_for_load_state("networkidle")
        for what in (".card-finding", ".stage-marks .box", ".stage-marks image", ".notice-line"):
            assert page.locator(what).count() == 0, what
        page.keyboard.press("Enter")  # nothing that is not seen is accepted
        assert "Tràn dịch màng phổi" not in page.inner_text("body")
        page.keyboard.press("a")
        comes(page, "the suggestions", lambda: page.locator(".card-finding").count() == 2)
        assert page.locator(".card-finding.is-accepted").count() == 0
        comes(page, "the boxes", lambda: page.locator(".stage-marks .box").count() > 0)
    finally:
        films.app.state.desk = desk
