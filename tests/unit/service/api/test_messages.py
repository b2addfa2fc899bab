"""A message that was refused is read again: it counts then, once, and who asked is on record."""

from __future__ import annotations

from http import HTTPStatus

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.orders_sql import OrdersSql
from hoichan.adapters.schema_orders import messages, orders
from hoichan.errors import HoichanError
from hoichan.intake.messages import unread
from hoichan.testing.hl7 import order
from hoichan.testing.reading import a_record
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def site(tmp_path):
    record = a_record(tmp_path)
    client = TestClient(
        an_app(record), base_url="http://localhost:8080", client=("127.0.0.1", 50000), follow_redirects=False
    )
    yield record, client
    client.close()
    record.engine.dispose()


def refuse(record, content):
    """Keep it as a version of ours did that stumbled over it."""
    told = unread(content, HoichanError())
    desk = OrdersSql(record.engine, record.clock)
    desk.take(told, content, source="127.0.0.1", answer="AE", acknowledgement=b"MSH|\rMSA|AE\r")
    return told.key


def again(client, key, **headers):
    page = client.get("/", headers=SAME)  # its search is a form with the reader's token
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    assert token
    return client.post(
        f"/api/v1/messages/{key}/repeat", data={"csrf_token": token}, headers={**SAME, **headers}
    )


def test_a_message_that_is_understood_now_counts(site):
    record, client = site
    key = refuse(record, order())
    assert f"/api/v1/messages/{key}/repeat" in client.get("/messages").text
    answer = again(client, key)
    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {"answer": "AA"})
    with record.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(orders)).scalar() == 1
        kept = connection.execute(sa.select(messages)).mappings().one()
    assert (kept["answer"], kept["code"], kept["kind"]) == ("AA", None, "OMI^O23")
    assert b"MSA|AA|" in kept["acknowledgement"]  # what its sender gets when he sends it again
    assert again(client, key).status_code == HTTPStatus.NOT_FOUND  # nothing is done twice
    told = " ".join(str(line) for line in record.audit.lines(Wanted()))
    assert told.count(f"message {key[:16]} again") == 2


def test_one_that_is_still_not_understood_stays(site):
    record, client = site
    key = refuse(record, b"MSH|^~\\&|HIS|BV|||20261120||XXX^Y01|1|P|2.5.1\r")
    answer = again(client, key, Accept="text/html")
    assert (answer.status_code, answer.headers["location"]) == (HTTPStatus.SEE_OTHER, "/messages")
    assert key[:16] in client.get("/messages").text


def test_there_is_no_such_message(site):
    _, client = site
    assert again(client, "0" * 64).status_code == HTTPStatus.NOT_FOUND
