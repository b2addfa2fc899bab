"""A link in a visitor's phone. How the pages look: test_every_page.py."""

from __future__ import annotations

import pytest

from hoichan.testing.reports import a_film, as_bytes
from tests.peers.browser import SIZES, marks, served
from tests.unit.service.api.test_reading import signed
from tests.unit.service.api.test_shares import Ward

pytestmark = marks


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
    film.evaluate("image => image.decode()")  # until it is there
    assert film.evaluate("image => image.naturalWidth") > 100
    assert page.locator("img").count() == 1
    context.close()
