"""Orders by FHIR: with the right token only, on record before the answer, and tied to the study."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hoichan.adapters.schema_orders import messages, orders
from hoichan.guard.scopes import Scope
from hoichan.testing.reading import a_record
from tests.unit.intake.test_service_requests import REQUEST
from tests.unit.service.api.asking import an_app


class Emr:
    """A program with a token for orders."""

    def __init__(self, folder):
        self.record = a_record(folder)
        self.client = TestClient(
            an_app(self.record), base_url="http://localhost:8080", client=("127.0.0.1", 50000)
        )
        self.token = self.record.tokens.add("his", (Scope.ORDER,), lifetime=None)

    def post(self, content, *, token=None, kind="application/fhir+json"):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": kind}
        return self.client.post("/fhir/ServiceRequest", content=body, headers=headers)

    def rows(self, table):
        with self.record.engine.connect() as connection:
            return list(connection.execute(sa.select(table)).mappings())


@pytest.fixture
def emr(tmp_path):
    made = Emr(tmp_path)
    yield made
    made.client.close()
    made.record.engine.dispose()


def test_an_order_is_on_record_before_its_answer(emr):
    answer = emr.post(REQUEST)
    assert answer.status_code == HTTPStatus.CREATED
    assert answer.headers["content-type"].startswith("application/fhir+json")
    (order,) = emr.rows(orders)
    assert (order["accession_number"], order["patient_id"], order["fresh"]) == (
        "XR2611200042",
        "BN0012345",
        True,
    )
    (message,) = emr.rows(messages)
    assert (message["kind"], message["answer"], message["code"]) == ("ServiceRequest", "AA", None)


def test_a_change_and_a_cancellation_are_of_the_same_order(emr):
    for change in ({}, {"priority": "routine"}, {}, {"status": "revoked"}):
        emr.record.clock.advance(1)
        assert emr.post({**REQUEST, **change}).status_code == HTTPStatus.CREATED
    (order,) = emr.rows(orders)
    assert (order["priority"], order["cancelled"]) == ("stat", True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid"),
        ({**REQUEST, "reasonCode": [{"text": "Ho\ud83d"}]}, "invalid"),
        ({**REQUEST, "identifier": []}, "invalid"),
        ({**REQUEST, "intent": "plan"}, "not-supported"),
    ],
)
def test_what_is_not_taken_is_seen_without_what_stands_in_it(emr, content, code):
    answer = emr.post(content)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert answer.json()["issue"][0]["code"] == code
    assert emr.rows(orders) == []
    found = emr.client.get("/api/v1/messages").json()
    assert found["counts"] in ({"AE": 1}, {"AR": 1})
    assert [(one["kind"], one["source"]) for one in found["items"]] == [("ServiceRequest", "127.0.0.1")]
    page = emr.client.get("/messages?lang=en").text
    assert "ServiceRequest" in page and "BN0012345" not in page and "Nguyễn" not in page


def test_only_a_token_for_orders_may(emr):
    other = emr.record.tokens.add("viewer", (Scope.READ,), lifetime=None)
    assert emr.post(REQUEST, token=other).status_code == HTTPStatus.FORBIDDEN
    assert emr.post(REQUEST, token="x").status_code == HTTPStatus.UNAUTHORIZED
    answer = emr.client.post("/fhir/ServiceRequest", json=REQUEST)
    assert answer.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED)
    assert emr.rows(messages) == []


def test_another_kind_of_body_or_too_much_of_it_is_refused(emr):
    assert emr.post(REQUEST, kind="text/xml").status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert emr.post(b" " * (1024**2 + 1)).status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert emr.rows(messages) == []
