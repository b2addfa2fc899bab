"""SMART Backend Services against a server that checks every assertion."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from hoichan.adapters.sink_fhir import FhirSink
from hoichan.adapters.smart_auth import SmartAuth
from hoichan.errors import ConfigurationError, Unreachable
from hoichan.reporting import plan
from hoichan.settings import Auth, FhirDestination
from hoichan.testing import a_report, a_study
from hoichan.testing.reports import REPORTED_AT
from hoichan.testing.tokens import TokenEmr, private_key
from hoichan.types import Document, DocumentKind

CONTENT = json.dumps(
    {
        "entry": [
            {
                "fullUrl": "urn:uuid:1",
                "request": {
                    "method": "POST",
                    "url": "Observation",
                    "ifNoneExist": "identifier=http://x/id|1",
                },
                "resource": {
                    "resourceType": "Observation",
                    "status": "preliminary",
                    "code": {"text": "x"},
                    "subject": {"reference": "Patient?identifier=http://x/id|1"},
                },
            }
        ]
    }
).encode()
DOCUMENT = Document(
    kind=DocumentKind.FHIR, uid="1", sop_class_uid=None, media_type="application/fhir+json", content=CONTENT
)


def sink_to(emr, key, **auth):
    values = {"kind": "smart", "client_id": "hoichan", "private_key": key, **auth}
    return FhirSink(FhirDestination(name="emr", kind="fhir", url=emr.url, auth=values))


def deliver(sink):
    target = FhirDestination(name="emr", kind="fhir", url="http://emr.example/fhir")
    (delivery,) = plan(a_report(a_study()), a_study(), [target], (DOCUMENT,), REPORTED_AT)
    return sink.deliver(delivery, (DOCUMENT,))


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """The key of our client; another one is another client's."""
    return private_key(tmp_path_factory.mktemp("keys"))


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_a_token_is_asked_for_once_and_kept(tmp_path, kind):
    key = private_key(tmp_path, kind)
    with TokenEmr(key) as emr:
        sink = sink_to(emr, key)
        assert [deliver(sink), deliver(sink)] == ["200", "200"]
        assert (emr.given, emr.scopes, len(emr.posted)) == (1, ["system/*.cruds"], 2)
        assert json.loads(emr.posted[0]) == json.loads(emr.posted[1]) == json.loads(CONTENT)


def test_a_token_that_was_taken_back_is_replaced_and_the_report_arrives(key):
    with TokenEmr(key) as emr:
        sink = sink_to(emr, key, token_url=emr.token_url, scope="system/*.write")
        deliver(sink)
        emr.forget()
        assert deliver(sink) == "200"
        assert (emr.given, emr.scopes) == (2, ["system/*.write"] * 2)


def test_many_threads_share_one_token(key):
    with TokenEmr(key) as emr:
        sink = sink_to(emr, key)
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(deliver, sink) for _ in range(8)]
            assert [answer.result(60) for answer in answers] == ["200"] * 8
        assert emr.given == 1


@pytest.mark.parametrize(("expires_in", "lives"), [(300, 269), (None, 269), (40, 9)])
def test_a_token_is_replaced_before_it_ends(key, expires_in, lives):
    clock = [1000.0]
    with TokenEmr(key, expires_in=expires_in) as emr:
        sink = sink_to(emr, key)
        auth = Auth(kind="smart", client_id="hoichan", private_key=key)
        sink._client._auth = SmartAuth("emr", auth, emr.url, ticks=lambda: clock[0])
        deliver(sink)
        clock[0] += lives
        deliver(sink)
        assert emr.given == 1
        clock[0] += 2
        deliver(sink)
        assert emr.given == 2


def test_another_key_gets_no_token_and_the_report_waits(key, tmp_path):
    with TokenEmr(key) as emr:
        sink = sink_to(emr, private_key(tmp_path))
        with pytest.raises(Unreachable, match=r"no token: HTTP 401 \(invalid_client\)"):
            deliver(sink)
        assert (emr.given, emr.posted) == (0, [])


def test_another_client_gets_no_token(key):
    with TokenEmr(key, client_id="somebody") as emr, pytest.raises(Unreachable, match="invalid_client"):
        deliver(sink_to(emr, key))


def test_an_old_assertion_gets_no_token(key):
    with TokenEmr(key) as emr:
        sink = sink_to(emr, key)
        auth = Auth(kind="smart", client_id="hoichan", private_key=key)
        sink._client._auth = SmartAuth("emr", auth, emr.url, now=lambda: 1_000_000_000.0)
        with pytest.raises(Unreachable, match="invalid_client"):
            deliver(sink)


def test_a_server_that_is_gone_is_later(key):
    with TokenEmr(key) as emr:
        sink = sink_to(emr, key)
    with pytest.raises(Unreachable, match="connection_refused"):
        deliver(sink)


@pytest.mark.parametrize("content", [None, b"", b"MARKER", b"-----BEGIN PUBLIC KEY-----\n"])
def test_a_key_that_cannot_be_used_stops_the_start(tmp_path, content):
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"destinations\.emr\.auth\.private_key") as caught:
        SmartAuth("emr", Auth(kind="smart", client_id="hoichan", private_key=path), "http://emr.example")
    assert "MARKER" not in str(caught.value)
