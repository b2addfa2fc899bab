"""Every answer of an EMR becomes taken, later, or never."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx2
import pytest

from hoichan.adapters.reasons import NO_DOCUMENT
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
                "fullUrl": "urn:uuid:1",
                "request": {
                    "method": "POST",
                    "url": "DiagnosticReport",
                    "ifNoneExist": "identifier=http://x/id/report|1",
                },
                "resource": {
                    "resourceType": "DiagnosticReport",
                    "status": "partial",
                    "code": {"text": "x"},
                    "subject": {"reference": "Patient?identifier=http://x/id|12"},
                },
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


def test_what_was_written_for_a_receiver_of_another_kind_is_refused():
    (delivery,) = plan(a_report(a_study()), a_study(), [destination()], [DOCUMENT], REPORTED_AT)
    with pytest.raises(Refused) as caught:
        FhirSink(destination()).deliver(delivery, [replace(DOCUMENT, kind=DocumentKind.SR)])
    assert caught.value.status == NO_DOCUMENT


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
    with pytest.raises(Unreachable, match=f"HTTP {status}") as caught:
        send(httpx2.Response(status))
    assert caught.value.not_taken == (status not in {408, 502, 504})  # a server behind a gateway may go on


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


# ------------------------------------------------------------------ whose record it is
SUBJECT = "Patient?identifier=http://x/id|12"


class Emr:
    """A FHIR server of a few lines: patients by number, resources with versions, transactions."""

    def __init__(self, patients=(), resources=(), *, may_search=True):
        self.patients, self.may_search = list(patients), may_search
        self.resources = {f"{one['resourceType']}/{one['id']}": one for one in resources}
        self.posted, self.searched, self.labels_off, self.meta_status = [], [], [], 200
        self.meanwhile = []  # done before a transaction is looked at

    def __call__(self, request):
        kind = request.url.path.removeprefix("/fhir/").partition("/")[0]
        if request.url.path.endswith("/_search"):
            assert "12" not in str(request.url)
            self.searched.append(request.content.decode())
            found = self.patients if kind == "Patient" else self.resources.values()
            bundle = {"resourceType": "Bundle", "entry": [{"resource": one} for one in found]}
            return httpx2.Response(200 if self.may_search else 403, json=bundle)
        if request.method == "GET":
            found = [one for one in self.patients if request.url.path.endswith(f"Patient/{one['id']}")]
            return httpx2.Response(200, json=found[0]) if found else httpx2.Response(404)
        if request.url.path.endswith("/$meta-delete"):
            self.labels_off.append((request.url.path.removeprefix("/fhir/"), json.loads(request.content)))
            return httpx2.Response(self.meta_status, json={})
        while self.meanwhile:
            self.meanwhile.pop()()
        bundle = json.loads(request.content)
        self.posted.append(bundle)
        for entry in bundle["entry"]:
            subject = entry["resource"].get("subject", {}).get("reference", "")
            if subject == SUBJECT and len(self.patients) != 1:
                return httpx2.Response(412 if self.patients else 404)
            if subject.startswith("Patient/") and not any(
                f"Patient/{one['id']}" == subject for one in self.patients
            ):
                return httpx2.Response(400)
            match = entry["request"].get("ifMatch")
            if match is not None:
                there = self.resources[entry["request"]["url"]]
                if match != f'W/"{there["meta"]["versionId"]}"':
                    return httpx2.Response(412)
        return httpx2.Response(200, json={})


class Known:
    """What a person said."""

    def __init__(self, reference=None, patient=None):
        self.said, self.person, self.asked = reference, patient, []

    def reference(self, destination, study, subject_sha256):
        self.asked.append((destination, study, subject_sha256))
        return self.said

    def patient(self, study):
        return self.person


def deliver_to(emr, known=None, content=CONTENT, **changes):
    target = destination(**changes)
    document = Document(kind=DocumentKind.FHIR, uid="1", sop_class_uid=None, media_type="x", content=content)
    (delivery,) = plan(a_report(a_study()), a_study(), [target], (document,), REPORTED_AT)
    return FhirSink(target, known, transport=httpx2.MockTransport(emr)).deliver(delivery, (document,))


ON = {"resourceType": "Patient", "id": "77", "birthDate": "1985-03-15", "gender": "female"}
ON_TOO = {**ON, "id": "78"}


@pytest.mark.parametrize(("patients", "reason"), [((), "none"), ((ON, ON_TOO), "several")])
def test_a_patient_who_is_not_one_waits_for_a_person(patients, reason):
    emr = Emr(patients)
    with pytest.raises(Refused) as caught:
        deliver_to(emr, Known())
    assert caught.value.status == f"patient_unmatched: {reason}"
    assert emr.searched == ["identifier=http%3A%2F%2Fx%2Fid%7C12&_count=5"]


def test_where_nobody_may_search_the_answer_stands():
    with pytest.raises(Refused, match="HTTP 404"):
        deliver_to(Emr(may_search=False), Known())


def test_a_person_s_choice_is_followed():
    emr, known = Emr([ON, ON_TOO]), Known("Patient/78")
    assert deliver_to(emr, known) == "200"
    assert emr.posted[0]["entry"][0]["resource"]["subject"]["reference"] == "Patient/78"
    ((name, study, digest),) = known.asked
    assert (name, study) == ("emr", a_study().study_instance_uid) and len(digest) == 64


def test_a_choice_that_is_gone_waits_again():
    with pytest.raises(Refused, match="patient_unmatched: none"):
        deliver_to(Emr([ON]), Known("Patient/99"))


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ({"name": [{"family": "Nguyễn", "given": ["Thị Hồng", "Ổn"]}]}, None),
        ({"birthDate": "1999-01-01"}, "differs"),
        ({"gender": "male", "name": [{"text": "Nguyen Thi Hong On"}]}, "differs"),
        ({"gender": "unknown"}, "differs"),
        ({"name": [{"text": "Somebody Else"}]}, None),  # born on that day, same sex, same number
        ({"gender": None, "name": [{"text": "NGUYEN THI HONG ON"}]}, None),
    ],
)
def test_facts_are_compared_where_the_site_wants_it(there, reason):
    emr, known = Emr([{**ON, **there}]), Known(patient=a_study().patient)
    if reason is None:
        assert deliver_to(emr, known, compare_patient=True) == "200"
        assert emr.posted[0]["entry"][0]["resource"]["subject"]["reference"] == "Patient/77"
    else:
        with pytest.raises(Refused, match=f"patient_unmatched: {reason}"):
            deliver_to(emr, known, compare_patient=True)
        assert emr.posted == []


def test_what_cannot_be_compared_is_not_sent():
    with pytest.raises(Refused, match="patient_unmatched: unreadable"):
        deliver_to(Emr([ON], may_search=False), Known(patient=a_study().patient), compare_patient=True)


# ------------------------------------------------------------------ updates
UPDATE = json.dumps(
    {
        "entry": [
            {
                "fullUrl": "urn:uuid:1",
                "request": {"method": "PUT", "url": "DiagnosticReport?identifier=http://x/id/report|1"},
                "resource": {
                    "resourceType": "DiagnosticReport",
                    "status": "entered-in-error",
                    "code": {"text": "x"},
                    "subject": {"type": "Patient", "identifier": {"system": "http://x/id", "value": "12"}},
                    "conclusion": "withdrawn",
                },
            }
        ]
    },
    separators=(",", ":"),
).encode()
THERE = {
    "resourceType": "DiagnosticReport",
    "id": "9",
    "meta": {"versionId": "3"},
    "status": "partial",
    "subject": {"reference": "Patient/77"},
    "extension": [{"url": "http://his/note", "valueString": "of the EMR"}],
}


def test_an_update_is_one_of_the_version_that_was_read():
    emr = Emr([ON], resources=[THERE])
    assert deliver_to(emr, content=UPDATE) == "200"
    (entry,) = emr.posted[0]["entry"]
    assert entry["request"] == {"method": "PUT", "url": "DiagnosticReport/9", "ifMatch": 'W/"3"'}
    assert entry["resource"] == {
        **THERE,
        "status": "entered-in-error",
        "code": {"text": "x"},
        "conclusion": "withdrawn",
    }


def test_the_page_of_what_is_taken_back_goes_with_it():
    """The update leaves it out, so that the former patient's record does not go on showing it."""
    page = {"contentType": "application/pdf", "data": "JVBERi0="}
    emr = Emr([ON], resources=[{**THERE, "presentedForm": [page]}])
    assert deliver_to(emr, content=UPDATE) == "200"
    (entry,) = emr.posted[0]["entry"]
    assert "presentedForm" not in entry["resource"] and entry["resource"]["extension"] == THERE["extension"]


def test_who_was_quicker_is_read_again_and_keeps_what_he_wrote():
    emr = Emr([ON], resources=[THERE])
    later = {**THERE, "meta": {"versionId": "4"}, "issued": "2026-11-20T08:16:12+07:00"}
    emr.meanwhile = [lambda: emr.resources.update({"DiagnosticReport/9": later})]
    assert deliver_to(emr, content=UPDATE) == "200"
    assert [one["entry"][0]["request"]["ifMatch"] for one in emr.posted] == ['W/"3"', 'W/"4"']
    assert emr.posted[1]["entry"][0]["resource"]["issued"] == later["issued"]


def test_a_resource_that_never_rests_is_given_up():
    emr = Emr([ON], resources=[THERE])

    def again():
        version = int(emr.resources["DiagnosticReport/9"]["meta"]["versionId"])
        emr.resources["DiagnosticReport/9"] = {**THERE, "meta": {"versionId": str(version + 1)}}

    def answer(request):
        emr.meanwhile = [again]
        return emr(request)

    with pytest.raises(Refused, match="HTTP 412"):
        deliver_to(answer, content=UPDATE)
    assert len(emr.posted) == 3


def test_where_nothing_is_known_the_update_stays_conditional():
    emr = Emr(resources=[])
    assert deliver_to(emr, content=UPDATE) == "200"
    assert emr.posted == [json.loads(UPDATE)]


def test_nonsense_never_leaves():
    emr = Emr([ON])
    with pytest.raises(Refused, match=r"not sent: DiagnosticReport\.status: no code of R4"):
        deliver_to(emr, content=CONTENT.replace(b"partial", b"unverified"))
    assert emr.posted == []


def test_what_a_person_signed_loses_the_label_of_the_machine():
    label = {"security": [{"code": "AIAST"}], "tag": [{"code": "ai-unverified"}]}
    emr = Emr([ON], resources=[{**THERE, "meta": {"versionId": "3", **label}}])
    signed = json.loads(UPDATE)
    signed["entry"][0]["resource"].update(status="final", subject={"reference": SUBJECT})
    content = json.dumps(signed, separators=(",", ":")).encode()
    assert deliver_to(emr, Known("Patient/77"), content=content) == "200"
    resource = emr.posted[0]["entry"][0]["resource"]
    assert resource["meta"] == {"versionId": "3"}
    assert (resource["status"], resource["subject"]) == ("final", {"reference": "Patient/77"})
    assert "extension" not in resource


@pytest.mark.parametrize("status", [200, 404, 503])
def test_labels_that_a_server_keeps_are_taken_off_by_its_own_operation(status):
    label = {"security": [{"code": "AIAST"}, {"code": "R"}], "tag": [{"code": "ai-unverified"}]}
    emr = Emr([ON], resources=[{**THERE, "meta": {"versionId": "3", **label}}])  # it never changes
    emr.meta_status = status
    signed = json.loads(UPDATE)
    signed["entry"][0]["resource"].update(status="final", subject={"reference": SUBJECT})
    assert deliver_to(emr, content=json.dumps(signed, separators=(",", ":")).encode()) == "200"
    ((place, parameters),) = emr.labels_off
    assert place == "DiagnosticReport/9/$meta-delete"
    (one,) = parameters["parameter"]
    assert one["valueMeta"] == {"security": [{"code": "AIAST"}], "tag": [{"code": "ai-unverified"}]}


def test_what_is_taken_back_keeps_its_labels():
    label = {"security": [{"code": "AIAST"}]}
    emr = Emr([ON], resources=[{**THERE, "meta": {"versionId": "3", **label}}])
    assert deliver_to(emr, content=UPDATE) == "200"
    assert emr.labels_off == []
