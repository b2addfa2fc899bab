"""A result that the image archive rejected, in the reading room: shown as taken back, read without it."""

from __future__ import annotations

import json

import pytest

from hoichan.adapters.evidence_sql import EvidenceSql
from hoichan.testing.reading import PASSWORD
from hoichan.types import DocumentKind, SOPInstanceUID
from tests.unit.service.api.test_reading import Room, a_draft

WORDS = {
    "vi": "Kết quả của máy đã bị loại bỏ tại hệ thống lưu trữ hình ảnh.",
    "en": "The machine's result was rejected at the image archive.",
}


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    yield made
    made.record.engine.dispose()


def taken_back(room):
    sr = room.record.studies.document(room.report.report_uid, DocumentKind.SR)
    note = SOPInstanceUID("2.25.9")
    assert room.record.studies.take_back(room.uid, [SOPInstanceUID(sr.uid)], note=note, title="113001")


def alone(version=0):
    """A reader's own words, without a verdict on the machine."""
    return {
        "version": version,
        "judgements": [{"finding_id": None, "key": "nodule", "verdict": "added", "laterality": "left"}],
        "sections": {"conclusion": "Nốt mờ phổi trái."},
        "seconds_spent": 20,
    }


def test_its_findings_are_not_shown_and_none_can_be_judged_or_drawn(room):
    with room.client() as client:
        before = client.get("reading").json()
        assert before["report"]["taken_back"] is False
        taken_back(room)
        after = client.get("reading").json()
        drawn = [client.get(f"findings/{one['id']}/heatmap.png").status_code for one in before["findings"]]
    assert after["report"]["taken_back"] is True
    assert after["report"]["report_uid"] == room.report.report_uid
    assert after["findings"] == [] == after["report"]["measurements"] == after["report"]["refusals"]
    assert after["report"]["conclusion"] == WORDS
    assert set(drawn) == {404}


def test_a_verdict_on_it_is_not_kept_and_no_text_is_made_of_it(room):
    with room.client() as client:
        draft = a_draft(client.get("reading").json())
        taken_back(room)
        kept = client.put("draft", json=draft)
        text = client.post("draft/text", json={"judgements": draft["judgements"], "language": "vi"})
        own = client.post("draft/text", json={"judgements": alone()["judgements"], "language": "vi"})
    assert [answer.status_code for answer in (kept, text)] == [422, 422]
    assert {answer.json()["code"] for answer in (kept, text)} == {"review.taken_back"}
    assert own.json()["sections"]["conclusion"] == "Nốt mờ phổi bên trái."


def test_the_words_of_an_open_page_are_kept_without_its_verdicts(room):
    with room.client() as client:
        draft = a_draft(client.get("reading").json(), report_uid=room.report.report_uid)
        taken_back(room)
        assert client.put("draft", json={**draft, "carry_over": True}).status_code == 200
        kept = client.get("reading").json()["draft"]
    assert [one["verdict"] for one in kept["judgements"]] == ["added"]
    assert kept["sections"]["conclusion"] == draft["sections"]["conclusion"]


def test_what_was_accepted_before_the_note_is_not_signed(room):
    with room.client() as client:
        version = client.put("draft", json=a_draft(client.get("reading").json())).json()["version"]
        taken_back(room)
        asked = {"version": version, "password": PASSWORD, "kind": "final", "reason": "", "may_train": True}
        answer = client.post("sign", json=asked)
        reading = client.get("reading").json()
    assert (answer.status_code, answer.json()["code"]) == (409, "draft_changed")
    assert [one["verdict"] for one in reading["draft"]["judgements"]] == ["added"]
    assert reading["draft"]["sections"]["conclusion"] == "Tràn dịch màng phổi."  # the reader's words
    assert not reading["history"]


def test_a_doctor_reports_and_signs_without_it(room):
    taken_back(room)
    room.record.clock.advance(60)
    with room.client() as client:
        version = client.put("draft", json=alone()).json()["version"]
        asked = {"version": version, "password": PASSWORD, "kind": "final", "reason": "", "may_train": True}
        answer = client.post("sign", json=asked)
        assert answer.status_code == 200, answer.text
        record = client.get(f"http://localhost/studies/{room.uid}/record?lang=en").text
    uid = answer.json()["report_uid"]
    bundle = json.loads(room.reviews.document(SOPInstanceUID(uid), DocumentKind.FHIR).content)
    made = [entry["resource"] for entry in bundle["entry"]]
    (said,) = [one for one in made if one["resourceType"] == "Observation"]
    assert said["status"] == "final"
    (report,) = [one for one in made if one["resourceType"] == "DiagnosticReport"]
    assert "kết quả của máy đã bị thu hồi" in report["conclusion"].lower()
    assert "AI đã được sử dụng" not in report["conclusion"]
    (task,) = [one for one in made if one["resourceType"] == "Task"]
    assert [one["type"]["text"] for one in task["output"]] == ["DiagnosticReport"]  # no verdict on it
    assert "CXR demo" not in json.dumps(made)
    assert "Pleural effusion" not in record
    assert "Pulmonary nodule" in record and "NOT ANALYSED" not in record
    assert EvidenceSql(room.record.engine).signed() == {}  # it says nothing of how good a model is
