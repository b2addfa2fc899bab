"""Where no machine answered, a report is begun, drafted, signed and sent by a person."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from hoichan.adapters.schema import documents
from hoichan.adapters.schema import reports as report_rows
from hoichan.encoding.fhir_checks import faults
from hoichan.guard.roles import Role
from hoichan.testing.reading import DESTINATIONS, PASSWORD, a_record, add_user, arrive, assemble, report
from hoichan.types import DocumentKind, ReportStatus
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_reading import Room


class Failed(Room):
    """A study whose analysis failed: there is no report."""

    def __init__(self, folder):
        record = a_record(folder)
        self.record = replace(
            record, settings=record.settings.model_copy(update={"destinations": DESTINATIONS})
        )
        for name, role in (("bs.chau", Role.RADIOLOGIST), ("bs.binh", Role.CLINICIAN)):
            add_user(self.record, name, role)
        self.record.people.set_licence("bs.chau", full_name="Lê Minh Châu", licence_number="012345/HCM-CCHN")
        self.study = assemble(self.record, arrive(self.record, "one"))
        self.uid = self.study.study_instance_uid
        self.record.studies.fail(self.uid, self.study.revision, code="work.killed_its_workers")
        self.app = an_app(self.record)


@pytest.fixture
def room(tmp_path):
    made = Failed(tmp_path)
    yield made
    made.record.engine.dispose()


DRAFT = {
    "version": 0,
    "judgements": [
        {"finding_id": None, "key": "nodule", "verdict": "added", "laterality": "left", "size_mm": 9}
    ],
    "sections": {"conclusion": "Nốt đơn độc thuỳ trên trái."},
    "seconds_spent": 40,
}
SIGN = {"version": 1, "password": PASSWORD, "may_train": False, "kind": "final", "reason": ""}


def documents_of(room, uid):
    with room.record.engine.connect() as connection:
        rows = connection.execute(
            sa.select(documents.c.kind, documents.c.sha256).where(documents.c.report_uid == uid)
        )
        return {kind: room.record.reading.objects.get(sha256) for kind, sha256 in rows}


def test_it_is_begun_drafted_signed_and_sent(room):
    with room.client() as client:
        assert client.put("draft", json=DRAFT).json()["code"] == "review.no_report"
        begun = client.post("begin")
        assert begun.status_code == 200, begun.text
        assert client.post("begin").json() == begun.json()  # asked twice
        reading = client.get("reading").json()
        assert (reading["report"]["outcome"], reading["findings"]) == ("not_analysed", [])
        assert room.state() == "failed"
        assert room.waiting(begun.json()["report_uid"]) == {}  # nothing leaves yet
        assert client.put("draft", json=DRAFT).status_code == 200
        signed = client.post("sign", json=SIGN)
    assert signed.status_code == 200, signed.text
    uid = signed.json()["report_uid"]
    assert set(room.waiting(uid)) == {"pacs", "emr"}
    made = documents_of(room, uid)
    bundle = json.loads(made[DocumentKind.FHIR])
    assert faults(bundle) == []
    text = made[DocumentKind.FHIR].decode()
    assert "Ca này không có kết quả của máy." in text and "Nốt đơn độc" in text
    assert "AI đã được sử dụng" not in text and "AIAST" not in text
    never_sent = begun.json()["report_uid"].encode()
    assert never_sent not in made[DocumentKind.SR]  # it replaces nothing that anybody has
    assert "không có kết quả của máy".encode() in made[DocumentKind.SR]


def test_a_later_answer_of_the_machine_names_no_report_that_nobody_has(room):
    with room.client() as client:
        begun = client.post("begin").json()["report_uid"]
        assert room.record.studies.latest_report_uid(room.uid, before=9) is None
        answered = report(room.record, room.study, {"pleural_effusion": 0.9})
        reading = client.get("reading").json()
    assert reading["report"]["report_uid"] == answered.report_uid != begun
    with room.record.engine.connect() as connection:
        status = connection.execute(
            sa.select(report_rows.c.status).where(report_rows.c.report_uid == begun)
        ).scalar_one()
    assert status == ReportStatus.UNVERIFIED


def test_where_the_machine_answered_nothing_is_begun(tmp_path):
    room = Room(tmp_path)
    with room.client() as client:
        assert client.post("begin").json()["report_uid"] == room.report.report_uid
    room.record.engine.dispose()


def test_only_who_reviews_begins_one(room):
    with room.client("bs.binh") as client:
        assert client.post("begin").status_code == 403


def test_the_page_offers_it(room):
    with room.client() as client:
        page = client.get(f"http://localhost/studies/{room.uid}/record").text
        assert f"/studies/{room.uid}/begin" in page
        begun = client.post(f"http://localhost/studies/{room.uid}/begin", follow_redirects=False)
        assert begun.headers["location"] == f"/studies/{room.uid}"
        assert (
            f"/studies/{room.uid}/begin" not in client.get(f"http://localhost/studies/{room.uid}/record").text
        )
