"""Search over HTTP: found without accents, in no address and no log, and told to the audit log."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from hoichan.adapters.schema import audit, studies
from hoichan.testing.datasets import described, film
from hoichan.testing.reading import a_record
from service.api.caller import VISIT, token_of
from tests.unit.service.api.asking import an_app


class Searcher:
    """A record with one film, and a client with the token of its forms."""

    def __init__(self, folder):
        self.record = a_record(folder)
        data_set = film()
        data_set.PatientName, data_set.PatientID, data_set.AccessionNumber = "Trần^Hạnh^Thị", "BN7", "XR9"
        arrived = described(data_set)
        self.uid = arrived.study_instance_uid
        self.record.studies.add_arrivals(arrived, arrived.instances)
        app = an_app(self.record)
        self.client = TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 50000))
        self.client.get("/docs")
        self.token = token_of(self.client.cookies[VISIT])
        self.headers = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.token}

    def ask(self, text, **more):
        return self.client.post("/api/v1/studies/search", json={"text": text, **more}, headers=self.headers)

    def page(self, text):
        fields = {"csrf_token": self.token, "text": text}
        return self.client.post("/search", data=fields, headers={"Sec-Fetch-Site": "same-origin"})

    def audited(self):
        with self.record.engine.connect() as connection:
            return [
                (row.what, row.detail, row.study_instance_uid) for row in connection.execute(sa.select(audit))
            ]


@pytest.fixture
def searcher(tmp_path):
    made = Searcher(tmp_path)
    yield made
    made.record.engine.dispose()


@pytest.mark.parametrize("text", ["tran thi hanh", "Hạnh", "bn7", "xr9"])
def test_a_study_is_found(searcher, text):
    answer = searcher.ask(text)
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert [item["study_instance_uid"] for item in found["items"]] == [searcher.uid]
    assert found["more"] is False
    page = searcher.page(text)
    assert f"/studies/{searcher.uid}" in page.text and "Trần Thị Hạnh" in page.text
    assert page.headers["cache-control"] == "no-store"


def test_nothing_found_says_so(searcher):
    assert searcher.ask("nobody").json()["items"] == []
    assert "Không tìm thấy" in searcher.page("nobody").text
    assert searcher.page("").status_code == HTTPStatus.OK


def test_who_searched_is_audited_and_what_is_not(searcher):
    with capture_logs() as logged:
        searcher.ask("tran thi hanh")
        searcher.page("BN7")
        searcher.ask(searcher.uid)
    told = [detail for what, detail, _ in searcher.audited() if what == "queried"]
    assert {study for _, _, study in searcher.audited()} >= {searcher.uid}  # what was shown
    assert told == ["search name, 1 found", "search number, 1 found", "search uid, 1 found"]
    assert "hanh" not in json.dumps(logged) and "BN7" not in json.dumps(logged)


def test_a_search_needs_the_token_and_a_body(searcher):
    bare = {"Sec-Fetch-Site": "same-origin"}
    assert (
        searcher.client.post("/search", data={"text": "an"}, headers=bare).status_code == HTTPStatus.FORBIDDEN
    )
    assert searcher.client.get("/search?text=an").status_code == HTTPStatus.METHOD_NOT_ALLOWED
    wrong = searcher.ask("x" * 200)
    assert (wrong.status_code, wrong.json()["code"]) == (HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed")
    assert "xxx" not in wrong.text


def test_the_text_of_a_search_is_escaped(searcher):
    assert "<script>" not in searcher.page("<script>alert(1)</script>").text


@pytest.mark.parametrize(
    "text",
    ["tran hanh 20/11", "20/11/2026 hạnh", "2026-11-20 Tran Thi Hanh", "bn7 20/11", "20/11 xr9"],
)
def test_a_day_and_a_name_or_a_number_are_looked_for_together(searcher, text):
    found = searcher.ask(text).json()
    assert ([one["study_instance_uid"] for one in found["items"]], found["by"]) == (
        [searcher.uid],
        "together",
    )
    assert searcher.uid in searcher.page(text).text
    assert searcher.ask(text, by="together").json()["by"] == "together"


@pytest.mark.parametrize("text", ["tran hanh 19/11", "le hanh 20/11", "hanh hanh 20/11", "bn8 20/11"])
def test_both_must_fit(searcher, text):
    assert searcher.ask(text).json()["items"] == []


@pytest.mark.parametrize("text", ["20/11 đang nhận ảnh", "receiving 20/11", "20/11 CR_ROOM1"])
def test_a_day_and_a_state_or_a_sender_are_looked_for_together(searcher, text):
    with searcher.record.engine.begin() as connection:
        connection.execute(sa.update(studies).values(calling_ae_title="CR_ROOM1"))
    found = searcher.ask(text).json()
    assert ([one["study_instance_uid"] for one in found["items"]], found["by"]) == (
        [searcher.uid],
        "together",
    )
