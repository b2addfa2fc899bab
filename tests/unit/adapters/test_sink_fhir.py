"""Every answer of an EMR becomes taken, later, or never."""

from __future__ import annotations

import json

import httpx2
import pytest

from hoichan.adapters.sink_fhir import FhirSink, issue_codes
from hoichan.errors import Refused, Unreachable
from hoichan.reporting import plan
from hoichan.settings import Auth, FhirDestination
from hoichan.testing import a_report, a_study
from hoichan.testing.reports import REPORTED_AT
from hoichan.types import Document, DocumentKind

CONTENT = json.dumps(
    {
        "resourceType": "Bundle",
        "entry": [
            {
                "resource": {
                    "resourceType": "DiagnosticReport",
                    "status": "partial",
                    "subject": {"reference": "Patient?identifier=http://x/id|12"},
                }
            }
        ],
    },
    separators=(",", ":"),
).encode()
DOCUMENT = Document(
    kind=DocumentKind.FHIR, uid="1", sop_class_uid=None, media_type="application/fhir+json", content=CONTENT
)
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [
        {"severity": "error", "code": "not-found", "diagnostics": "no Patient named MARKER"},
        {"severity": "error", "code": "MARKER", "details": {"text": "MARKER"}},
    ],
}


def destination(**changes):
    return FhirDestination(
        **{"name": "emr", "kind": "fhir", "url": "http://emr.example:8080/fhir", **changes}
    )


def send(answer, documents=(DOCUMENT,), **changes):
    """The acknowledgement and the requests that were made."""
    target = destination(**changes)
    (delivery,) = plan(a_report(a_study()), a_study(), [target], documents, REPORTED_AT)
    requests = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    sink = FhirSink(target, transport=httpx2.MockTransport(handle))
    return sink.deliver(delivery, documents), requests


@pytest.mark.parametrize("status", [200, 201])
def test_taken(status):
    acknowledgement, (request,) = send(httpx2.Response(status, json={}))
    assert acknowledgement == str(status)
    assert str(request.url) == "http://emr.example:8080/fhir"
    assert request.content == CONTENT
    assert request.headers["content-type"].startswith("application/fhir+json")
    assert "authorization" not in request.headers


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_later(status):
    with pytest.raises(Unreachable, match=f"HTTP {status}"):
        send(httpx2.Response(status))


@pytest.mark.parametrize(
    "error",
    [httpx2.ConnectError("MARKER"), httpx2.ReadTimeout("MARKER"), httpx2.RemoteProtocolError("MARKER")],
)
def test_a_broken_line_is_later(error):
    with pytest.raises(Unreachable) as caught:
        send(error)
    assert "MARKER" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 422])
def test_never_with_codes_only(status):
    with pytest.raises(Refused) as caught:
        send(httpx2.Response(status, json=OUTCOME))
    assert caught.value.status == f"HTTP {status} (not-found)"
    assert "MARKER" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>MARKER</html>", b"[]", b"null", b'{"issue": 3}', b'{"issue": [3, {"code": []}]}']
)
def test_answers_that_are_no_outcome_give_no_code(body):
    assert issue_codes(body) == ()


def test_a_report_without_a_patient_is_not_sent():
    document = Document(
        kind=DocumentKind.FHIR, uid="1", sop_class_uid=None, media_type="x", content=b'{"entry": []}'
    )
    with pytest.raises(Refused, match="no patient identifier"):
        send(httpx2.Response(200), (document,))


def test_the_receivers_dialect_is_spoken():
    _, (request,) = send(
        httpx2.Response(200), unread_status="preliminary", patient_identifier_system="http://his/mrn"
    )
    resource = json.loads(request.content)["entry"][0]["resource"]
    assert resource["status"] == "preliminary"
    assert resource["subject"]["reference"] == "Patient?identifier=http://his/mrn|12"


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (Auth(kind="basic", username="u", password="p"), "Basic dTpw"),
        (Auth(kind="bearer", token="t0ken"), "Bearer t0ken"),
    ],
)
def test_it_shows_who_it_is(auth, header):
    _, (request,) = send(httpx2.Response(200), auth=auth)
    assert request.headers["authorization"] == header


def test_a_redirect_on_the_same_host_is_followed_with_the_same_body():
    def answer(request):
        if request.url.path == "/fhir":
            return httpx2.Response(307, headers={"location": "/fhir/"})
        return httpx2.Response(200)

    acknowledgement, requests = send(answer)
    assert acknowledgement == "200"
    assert [request.content for request in requests] == [CONTENT, CONTENT]


@pytest.mark.parametrize(
    "location",
    ["http://elsewhere.example/fhir", "http://emr.example:9090/fhir", "https://emr.example:8080/fhir"],
)
def test_a_redirect_elsewhere_is_refused(location):
    with pytest.raises(Refused, match="HTTP 307"):
        send(httpx2.Response(307, headers={"location": location}))


def test_an_endless_redirect_ends():
    with pytest.raises(Refused, match="HTTP 308"):
        send(httpx2.Response(308, headers={"location": "/fhir"}))
