"""The outermost layer: hosts, origins, headers, and what may never leave."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from structlog.testing import capture_logs

from service.api.doorkeeper import SECURITY_HEADERS, Doorkeeper, is_ours, is_same_origin

MARKER = "NGUYEN MARKER AN"


def an_app(*names):
    app = FastAPI()

    @app.get("/fail/{what}")
    def fail(what: str) -> None:
        raise ValueError(MARKER + what)

    @app.get("/well")
    def well() -> str:
        return "well"

    app.add_middleware(Doorkeeper, names=names)
    return TestClient(app, base_url="http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("authority", "ours"),
    [
        ("127.0.0.1:8080", True),
        ("127.8.0.1", True),
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("[::1]:8080", True),
        ("read.hospital.vn", True),
        ("READ.hospital.vn:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("evil@localhost", False),
        ("localhost/evil", False),
        ("localhost:port", False),
        ("10.0.0.7", False),
        ("[::", False),
        ("", False),
    ],
)
def test_only_names_of_this_machine_and_configured_ones_are_ours(authority, ours):
    assert is_ours(authority, ("Read.Hospital.vn",)) is ours


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://localhost", "host": "localhost"}, True),
        ({"origin": "https://LOCALHOST:1", "host": "localhost:1"}, True),
        ({"origin": "http://localhost:2", "host": "localhost:1"}, False),
        ({"origin": "null", "host": "localhost"}, False),
        ({"origin": ""}, False),
        ({}, False),
    ],
)
def test_a_change_is_asked_for_by_our_own_page_only(headers, same):
    assert is_same_origin(Headers(headers)) is same


def test_a_rebound_name_is_turned_away():
    answer = an_app().get("/well", headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert answer.json()["code"] == "request.host_not_allowed"
    assert an_app("evil.example").get("/well", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize("path", ["/well", "/fail/x", "/nowhere"])
def test_every_answer_bears_the_security_headers(path):
    answer = an_app().get(path)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers["cache-control"] == "no-store"


def test_an_unforeseen_error_says_nothing_of_its_text():
    with capture_logs() as lines:
        answer = an_app().get(f"/fail/{MARKER}")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "code": "hoichan",
    }
    failed, served = lines
    assert failed["error"] == "ValueError"
    assert failed["at"].startswith("test_doorkeeper:")
    assert served["route"] == "/fail/{what}"
    assert "MARKER" not in repr(lines) + answer.text


def test_head_is_get_without_a_body():
    with capture_logs() as lines:
        answer = an_app().head("/well")
    assert (answer.status_code, answer.content) == (200, b"")
    assert lines[0]["method"] == "HEAD"
    assert lines[0]["route"] == "/well"
