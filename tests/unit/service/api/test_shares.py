"""Links for outsiders: what they show, to whom, how long, and that nobody guesses one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import ValidationError

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.schema_opinions import shares
from hoichan.guard.audit import Audited, Outcome
from hoichan.settings import Web
from hoichan.testing.reading import PASSWORD
from hoichan.testing.reports import a_film, as_bytes
from service.api import shared
from tests.unit.service.api.test_reading import Room, signed

NETWORK = ("10.0.0.7", 50000)


class Ward(Room):
    """A signed study, and visitors from elsewhere without an account."""

    def make(self, **asked):
        with self.client() as client:
            answer = client.post("shares", json=asked)
        assert answer.status_code == 201, answer.text
        return answer.json()["address"].removeprefix("http://localhost")

    def visitor(self, address=NETWORK):
        headers = {"Sec-Fetch-Site": "same-origin"}
        return TestClient(self.app, base_url="http://localhost", headers=headers, client=address)

    def told(self):
        _, lines = self.record.audit.search(Wanted(what=Audited.SHARE_OPENED), limit=50)
        return [(line.record.who, line.record.detail, line.record.outcome) for line in reversed(lines)]


@pytest.fixture
def ward(tmp_path):
    made = Ward(tmp_path)
    with made.client() as client:
        assert signed(client).status_code == 200
    yield made
    made.record.engine.dispose()


def with_pin(client, address, pin):
    token = re.search(r'name="csrf_token" value="(\w+)"', client.get(address).text)[1]
    return client.post(address, data={"pin": pin, "csrf_token": token})


def test_a_link_shows_the_signed_words_and_nothing_of_the_machine(ward):
    address = ward.make(days=3)
    assert ward.uid not in address and re.fullmatch(r"/shared/[A-Za-z0-9_-]{43}", address)
    with ward.visitor() as visitor:
        page = visitor.get(address)
        assert page.status_code == 200
        assert "Tràn dịch màng phổi." in page.text and "Lê Minh Châu" in page.text
        for word in ("CHƯA ĐƯỢC BÁC SĨ", "AI gợi ý", "0.91", ward.uid, "BN-2026", "heatmap", "Nguyễn"):
            assert word not in page.text, word
        assert page.headers["cache-control"] == "no-store"
        assert "noindex" in page.headers["x-robots-tag"]
        assert page.headers["referrer-policy"] == "no-referrer"
        pdf = visitor.get(f"{address}/report.pdf")
        assert pdf.content == ward.reviews.signed_page(ward.reviews.reviews(ward.uid)[-1].report_uid)
        assert visitor.get(f"{address}/pictures/9").status_code == 404
    assert ward.told() == [("share:1", "opened", Outcome.SUCCESS), ("share:1", "pdf", Outcome.SUCCESS)]
    with ward.client() as client:
        (one,) = client.get("shares").json()["items"]
    assert (one["opened"], one["has_pin"], one["is_open"]) == (1, False, True)


def test_the_films_are_shown_without_anything_drawn(ward):
    (image,) = ward.study.instances
    place = ward.record.spool_root / image.path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(as_bytes(a_film("one", rows=640, columns=560)))
    address = ward.make()
    with ward.visitor() as visitor:
        picture = visitor.get(f"{address}/pictures/1")
    assert ward.told()[-1] == ("share:1", "picture 1", Outcome.SUCCESS)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert picture.content.startswith(b"\xff\xd8")


def test_the_link_is_kept_nowhere(ward):
    token = ward.make().rpartition("/")[2]
    with ward.record.engine.connect() as connection:
        row = connection.execute(sa.select(shares)).one()
    assert token not in str(tuple(row)) and len(row.token_sha256) == 64
    with ward.client() as client:
        assert token not in client.get("shares").text


def test_a_link_ends_by_itself_and_by_hand(ward):
    first, second = ward.make(days=1), ward.make(days=30)
    with ward.visitor() as visitor:
        assert visitor.get(first).status_code == 200
        ward.record.clock.advance(86400 + 1)
        ended = visitor.get(first)
        assert ended.status_code == 404
        assert visitor.get(second).status_code == 200
        with ward.client() as client:
            assert client.post("http://localhost/api/v1/shares/2/revoke").status_code == 204
            assert client.post("http://localhost/api/v1/shares/2/revoke").status_code == 409
        for path in ("", "/report.pdf", "/pictures/1"):
            assert visitor.get(second + path).status_code == 404
        unknown = visitor.get("/shared/" + "x" * 43)
        assert (unknown.status_code, _body(unknown)) == (404, _body(ended))  # nobody learns which it was


def test_what_is_withdrawn_is_shown_no_more(ward):
    address = ward.make()
    with ward.client() as client:
        assert client.post("withdraw", json={"password": PASSWORD, "reason": "Nhầm phim"}).status_code == 200
    with ward.visitor() as visitor:
        assert visitor.get(address).status_code == 404
        assert visitor.get(f"{address}/report.pdf").status_code == 404
    with ward.client() as client:
        assert client.post("shares", json={}).json()["code"] == "share.not_signed"


def test_a_pin_stands_before_everything(ward):
    address = ward.make(pin="482913")
    with ward.visitor() as visitor:
        asked = visitor.get(address)
        assert asked.status_code == 200 and "Tràn dịch" not in asked.text
        assert visitor.get(f"{address}/report.pdf").status_code == 403
        assert visitor.get(f"{address}/pictures/1").status_code == 403
        assert visitor.post(address, data={"pin": "482913"}).status_code == 403  # no token of our form
        wrong = with_pin(visitor, address, "000000")
        assert wrong.status_code == 403 and "Tràn dịch" not in wrong.text
        right = with_pin(visitor, address, "482913")
        assert right.status_code == 200 and "Tràn dịch" in right.text
        assert visitor.get(f"{address}/report.pdf").status_code == 200
        ward.record.clock.advance(1801)
        assert visitor.get(f"{address}/report.pdf").status_code == 403
    assert [(detail, outcome) for _, detail, outcome in ward.told()] == [
        ("wrong pin", Outcome.MINOR_FAILURE),
        ("opened", Outcome.SUCCESS),
        ("pdf", Outcome.SUCCESS),
    ]


def test_a_right_pin_of_one_link_opens_no_other(ward):
    first, second = ward.make(pin="482913"), ward.make(pin="111111")
    with ward.visitor() as visitor:
        assert with_pin(visitor, first, "482913").status_code == 200
        assert visitor.get(f"{first}/report.pdf").status_code == 200
        assert visitor.get(f"{second}/report.pdf").status_code == 403


def test_two_links_with_pins_stay_open_side_by_side(ward):
    first, second = ward.make(days=3, pin="482915"), ward.make(days=3, pin="771102")
    with ward.visitor() as visitor:
        for address, pin in ((first, "482915"), (second, "771102")):
            assert with_pin(visitor, address, pin).status_code == 200
        for address in (first, second):
            assert visitor.get(f"{address}/report.pdf").status_code == 200


def test_the_parts_of_a_link_wait_as_its_page_does(ward, monkeypatch):
    assert shared.PARTS_PATIENCE.free == 30 * 25  # thirty openings with all their pictures
    monkeypatch.setattr(shared, "PARTS_PATIENCE", replace(shared.PARTS_PATIENCE, free=5))
    address = ward.make(days=3)
    with ward.visitor() as visitor:
        answers = [visitor.get(f"{address}/report.pdf").status_code for _ in range(7)]
        assert answers == [200] * 5 + [429] * 2
        assert len(ward.told()) == 5 and visitor.get(address).status_code == 200
        ward.record.clock.advance(3600)
        assert visitor.get(f"{address}/report.pdf").status_code == 200


def test_a_pin_is_not_guessed(ward):
    address = ward.make(pin="482913")
    with ward.visitor() as visitor:
        seen = [with_pin(visitor, address, f"{number:06}").status_code for number in range(8)]
        assert seen[:5] == [403] * 5 and 429 in seen
        assert with_pin(visitor, address, "482913").status_code == 429


def test_whoever_had_the_right_pin_is_kept_waiting_by_nobody(ward):
    address = ward.make(pin="482913")
    with ward.visitor() as holder, ward.visitor(("10.0.0.8", 50000)) as thief:
        assert with_pin(holder, address, "482913").status_code == 200
        assert 429 in [with_pin(thief, address, f"{number:06}").status_code for number in range(8)]
        ward.record.clock.advance(1801)  # the right PIN is forgotten, the browser is not
        assert holder.get(f"{address}/report.pdf").status_code == 403
        assert with_pin(holder, address, "482913").status_code == 200


@pytest.mark.parametrize("told", ["https://ket-qua.benhvien.example/", "https://ket-qua.benhvien.example"])
def test_a_link_begins_with_the_public_address(ward, told):
    desk = ward.app.state.desk
    web = desk.settings.web.model_copy(update={"public_url": told})
    ward.app.state.desk = replace(desk, settings=desk.settings.model_copy(update={"web": web}))
    with ward.client() as client:
        address = client.post("shares", json={}).json()["address"]
    assert re.fullmatch(r"https://ket-qua\.benhvien\.example/shared/[\w-]{43}", address)


@pytest.mark.parametrize("told", ["http://benhvien.example", "https://a/b?c", "ftp://a", "javascript:x"])
def test_a_public_address_that_is_none(told):
    with pytest.raises(ValidationError):
        Web(public_url=told)


def test_many_openings_and_many_guesses_wait(ward):
    address = ward.make()
    with ward.visitor() as visitor:
        assert 429 in [visitor.get(address).status_code for _ in range(40)]
        assert 429 in [visitor.get(f"/shared/{number:043}").status_code for number in range(20)]


@pytest.mark.parametrize("asked", [{"days": 0}, {"days": 91}, {"pin": "12345"}, {"pin": "abcdef"}])
def test_a_link_that_cannot_be_made(ward, asked):
    with ward.client() as client:
        assert client.post("shares", json=asked).status_code == 422


def test_the_page_makes_one_and_shows_it_once(ward):
    with ward.client() as client:
        made = client.post(f"http://localhost/studies/{ward.uid}/shares", data={"days": "2", "pin": ""})
        address = re.search(r'value="(http://localhost/shared/[^"]+)"', made.text)[1]
        again = client.get(f"http://localhost/studies/{ward.uid}/shares").text
        assert "/shared/" not in again and "/shares/1/revoke" in again
        assert client.get(address).status_code == 200


def _body(answer):
    return re.sub(r"(/shared/[\w-]+|csrf_token\S+ value=\S+)", "", answer.text)
