"""That somebody has begun to read: what of it an EMR's Task is told, and when nothing is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx2
import pytest

from hoichan.adapters.sink_fhir import FhirSink
from hoichan.encoding.fhir_task import begun_task
from hoichan.errors import Refused, Unreachable
from hoichan.reporting.deliveries import plan_reading
from hoichan.settings import FhirDestination
from hoichan.testing import a_report, a_study
from hoichan.types import Document, DocumentKind
from tests.unit.encoding.test_fhir_task import bundle

STUDY = a_study()
REPORT = a_report(STUDY)
NOW = datetime(2026, 11, 20, 1, 32, tzinfo=UTC)
TARGET = FhirDestination(name="emr", kind="fhir", url="http://emr.example:8080/fhir")
NOTE = Document(
    kind=DocumentKind.FHIR_TASK,
    uid="1",
    sop_class_uid=None,
    media_type="application/fhir+json",
    content=begun_task(bundle(REPORT), doctor=None, begun_at="2026-11-20T08:32:00+07:00") or b"",
)


class Emr:
    """Answers searches with these Tasks, and each bundle with the next of these statuses."""

    def __init__(self, tasks, answers=(200,), *, may_search=True):
        self.tasks, self.answers, self.may_search = tasks, list(answers), may_search
        self.bundles = []

    def __call__(self, request):
        if request.url.path.endswith("/_search"):
            if not self.may_search:
                return httpx2.Response(403)
            entries = [{"resource": one} for one in self.tasks]
            return httpx2.Response(200, json={"resourceType": "Bundle", "entry": entries})
        self.bundles.append(json.loads(request.content))
        return httpx2.Response(self.answers.pop(0))

    def take(self):
        (delivery,) = plan_reading(REPORT, [TARGET], NOTE, NOW)
        return FhirSink(TARGET, transport=httpx2.MockTransport(self)).deliver(delivery, [NOTE])


def a_task(status, version="1"):
    return {"resourceType": "Task", "id": "7", "status": status, "meta": {"versionId": version}}


@pytest.mark.parametrize("status", ["requested", "received", "accepted", "ready"])
def test_a_task_that_waits_goes_on(status):
    emr = Emr([a_task(status)])
    assert emr.take() == "200"
    ((entry,),) = (one["entry"] for one in emr.bundles)
    assert entry["request"] == {"method": "PUT", "url": "Task/7", "ifMatch": 'W/"1"'}
    assert (entry["resource"]["id"], entry["resource"]["status"]) == ("7", "in-progress")


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "in-progress", "entered-in-error"])
def test_a_task_that_has_ended_never_begins_again(status):
    emr = Emr([a_task(status)])
    assert emr.take() == f"is {status}"
    assert emr.bundles == []


def test_a_status_of_theirs_is_not_repeated():
    assert Emr([a_task("MARKER")]).take() == "is something else"


@pytest.mark.parametrize(("tasks", "said"), [([], "none"), ([a_task("requested")] * 2, "several")])
def test_a_task_that_is_not_there_is_never_made(tasks, said):
    emr = Emr(tasks)
    with pytest.raises(Refused) as caught:
        emr.take()
    assert (caught.value.status, emr.bundles) == (f"Task: {said}", [])


def test_an_emr_that_lets_nobody_look_is_told_by_the_number():
    emr = Emr([], may_search=False)
    assert emr.take() == "200"
    ((entry,),) = (one["entry"] for one in emr.bundles)
    assert entry["request"]["url"].startswith("Task?identifier=")
    assert entry["resource"]["status"] == "in-progress"


def test_a_task_that_was_changed_meanwhile_is_read_again():
    emr = Emr([a_task("requested")], answers=(412, 200))
    assert emr.take() == "200"
    assert len(emr.bundles) == 2


def test_no_answer_is_tried_again():
    with pytest.raises(Unreachable):
        Emr([a_task("requested")], answers=(503,)).take()
