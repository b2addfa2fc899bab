"""Critical findings and follow-ups at the page and the API, asked from outside."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.access_sql import AccessSql
from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.notices_sql import NoticesSql
from hoichan.adapters.patients_sql import people_of
from hoichan.adapters.sight import Sight
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.testing.reading import DESTINATIONS, PASSWORD, a_record, add_user, arrive, assemble, report
from hoichan.types import DocumentKind, SOPInstanceUID
from service.api.caller import SESSION, token_of
from service.notices import Notices
from service.web.people import masked, spoken_name
from tests.unit.service.api.asking import an_app

SCORES = {"pneumothorax": 0.91, "cardiomegaly": 0.7}
ASK = {"finding": "pneumothorax", "kind": "ct", "owner": "bs.binh", "due_on": "2026-11-01"}


class Room:
    """A study with a critical finding, its notice, and people of three roles."""

    def __init__(self, folder, *, told=True):
        record = a_record(folder)
        self.record = replace(
            record, settings=record.settings.model_copy(update={"destinations": DESTINATIONS})
        )
        for name, role in (
            ("bs.chau", Role.RADIOLOGIST),
            ("bs.binh", Role.CLINICIAN),
            ("ktv.an", Role.TECHNICIAN),
            ("kiem.toan", Role.AUDITOR),
        ):
            add_user(self.record, name, role)
        self.record.people.set_licence("bs.chau", full_name="Lê Minh Châu", licence_number="012345/HCM-CCHN")
        self.study = assemble(self.record, arrive(self.record, "one"))
        self.report = report(self.record, self.study, SCORES)
        self.password = PASSWORD
        self.uid = self.study.study_instance_uid
        self.rows = NoticesSql(record.engine, record.clock)
        self.leader = Notices(self.rows, record.audit, record.clock, record.settings)
        if told:
            self.leader.step()
        self.app = an_app(self.record)

    @contextmanager
    def client(self, name):
        session = self.record.people.begin_session(name)
        headers = {
            "Sec-Fetch-Site": "same-origin",
            "Cookie": f"{SESSION}={session}",
            "X-CSRF-Token": token_of(session),
        }
        with TestClient(
            self.app, base_url="http://localhost", headers=headers, follow_redirects=False
        ) as client:
            yield client

    def sign(self):
        with self.client("bs.chau") as client:
            base = f"/api/v1/studies/{self.uid}"
            found = client.get(f"{base}/reading").json()
            judged = [
                {"finding_id": one["id"], "key": one["key"], "verdict": "accepted"}
                for one in found["findings"]
                if one["presence"] == "present"
            ]
            draft = {
                "version": 0,
                "report_uid": found["report"]["report_uid"],
                "judgements": judged,
                "sections": {
                    "description": "Tràn khí.",
                    "conclusion": "Tràn khí màng phổi.",
                    "recommendation": "",
                    "comparison": "",
                },
                "seconds_spent": 30,
            }
            kept = client.put(f"{base}/draft", json=draft)
            assert kept.status_code == 200, kept.text
            signed = client.post(
                f"{base}/sign",
                json={
                    "version": kept.json()["version"],
                    "password": PASSWORD,
                    "may_train": False,
                    "kind": "final",
                    "reason": "",
                },
            )
            assert signed.status_code == 200, signed.text

    def audited(self, what):
        lines = self.record.audit.search(Wanted(what=what), limit=10)[1]
        return [(line.record.who, line.record.detail) for line in lines]


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    yield made
    made.record.engine.dispose()


def test_a_clinician_acknowledges_and_the_record_says_so(room):
    with room.client("bs.binh") as client:
        assert 'href="/notices"' in client.get("/").text
        (one,) = client.get("/api/v1/notices").json()["items"]
        assert (one["number"], one["study_instance_uid"], one["confirmed"]) == (1, room.uid, False)
        assert one["findings"][0]["en"] == "Pneumothorax"
        page = client.get("/notices").text
        assert "CHƯA bác sĩ nào xác nhận" in page
        assert client.post("/api/v1/notices/1/acknowledge").status_code == 204
        again = client.post("/api/v1/notices/1/acknowledge")
        assert (again.status_code, again.json()["code"]) == (409, "notice.ended")
        assert client.post("/api/v1/notices/9/acknowledge").json()["code"] == "notice.ended"
        assert 'href="/notices"' not in client.get("/").text.split("<main")[1]
    last = room.record.reading.trail(room.uid)[-1]
    assert (last.event, last.details) == ("notice_acknowledged", {"number": 1, "user": "bs.binh"})
    assert room.audited(Audited.CRITICAL_TOLD) == [("bs.binh", "notice 1 acknowledged")]


def take_back(room):
    sr = room.record.studies.document(room.report.report_uid, DocumentKind.SR)
    note = SOPInstanceUID("2.25.9")
    assert room.record.studies.take_back(room.uid, [SOPInstanceUID(sr.uid)], note=note, title="113001")


def test_a_finding_that_was_told_and_taken_back_waits_for_a_person_and_says_so(room):
    take_back(room)
    with room.client("bs.binh") as client:
        (one,) = client.get("/api/v1/notices").json()["items"]
        assert (one["taken_back"], one["confirmed"], one["findings"][0]["en"]) == (
            True,
            False,
            "Pneumothorax",
        )
        assert "ĐÃ LOẠI BỎ kết quả đó. CHƯA bác sĩ nào xác nhận" in client.get("/notices").text
        assert "REJECTED that result" in client.get("/notices?lang=en").text
        assert client.post("/api/v1/notices/1/acknowledge").status_code == 204
        assert client.get("/api/v1/notices").json()["items"] == []


def test_what_was_taken_back_before_anybody_was_told_is_not_told(tmp_path):
    room = Room(tmp_path, told=False)
    take_back(room)
    room.leader.step()
    assert room.rows.open() == [] and room.rows.unseen() == []
    room.record.engine.dispose()


def test_a_notice_that_a_doctor_confirmed_is_not_of_the_machine_any_more(room):
    room.sign()
    room.leader.step()
    with room.client("bs.binh") as client:
        (one,) = client.get("/api/v1/notices").json()["items"]
        assert (one["taken_back"], one["confirmed"]) == (False, True)


def test_a_technician_sees_and_cannot_acknowledge(room):
    with room.client("ktv.an") as client:
        page = client.get("/notices")
        assert page.status_code == 200
        assert "/acknowledge" not in page.text
        assert client.post("/api/v1/notices/1/acknowledge").status_code == 403
    assert room.rows.waiting() == 1


def test_the_button_of_the_page_acknowledges(room):
    with room.client("bs.chau") as client:
        answer = client.post("/notices/1/acknowledge")
        assert (answer.status_code, answer.headers["location"]) == (303, "/notices")
    assert room.rows.waiting() == 0


def test_each_line_says_whose_it_is_as_the_list_does(room):
    room.sign()
    room.leader.step()
    number = room.study.patient.patient_id.reveal()
    with room.client("bs.binh") as client:
        client.post(f"/api/v1/studies/{room.uid}/follow-ups", json=ASK)
        of_study = [f"/studies/{room.uid}/{what}" for what in ("follow-ups", "opinions", "shares")]
        for page in ("/notices", "/follow-ups", *of_study):
            text = client.get(page).text
            assert spoken_name(room.study.patient.patient_name.reveal()) in text, page
            assert masked(number) in text and number not in text, page
    blind = Sight(senders=frozenset({"OTHER"}))
    assert people_of(room.record.engine, [room.uid], blind) == {}


def test_a_follow_up_says_that_its_finding_was_withdrawn(room):
    room.sign()
    with room.client("bs.chau") as client:
        asked = client.post(f"/api/v1/studies/{room.uid}/follow-ups", json=ASK).json()
        assert asked["finding_stands"] and "không còn phát hiện này" not in client.get("/follow-ups").text
        told = {"password": PASSWORD, "reason": "Nhầm phim."}
        assert client.post(f"/api/v1/studies/{room.uid}/withdraw", json=told).status_code == 200
        (one,) = client.get("/api/v1/follow-ups").json()["items"]
        assert (one["state"], one["finding_stands"]) == ("open", False)
        for page in ("/follow-ups", f"/studies/{room.uid}/follow-ups"):
            assert "không còn phát hiện này" in client.get(page).text
        client.post("/api/v1/follow-ups/1/close", json={"state": "done", "words": "x"})
        assert "không còn phát hiện này" not in client.get(f"/studies/{room.uid}/follow-ups").text


def test_a_follow_up_says_that_its_owner_is_gone(room):
    room.sign()
    with room.client("bs.chau") as client:
        asked = client.post(f"/api/v1/studies/{room.uid}/follow-ups", json=ASK).json()
        assert asked["owner_may"] and "tài khoản đã khoá" not in client.get("/follow-ups").text
        room.record.people.disable("bs.binh")
        (one,) = client.get("/api/v1/follow-ups").json()["items"]
        assert (one["owner"], one["owner_may"]) == ("bs.binh", False)
        assert "tài khoản đã khoá" in client.get("/follow-ups").text


def test_every_step_has_a_sentence(room):
    room.sign()
    room.leader.step()
    with room.client("bs.chau") as client:
        base = f"/studies/{room.uid}"
        client.post("/notices/2/acknowledge")
        client.post(f"/api/v1{base}/follow-ups", json=ASK)
        client.post("/api/v1/follow-ups/1/close", json={"state": "not_reached"})
        text = client.get(f"{base}/trail?lang=en").text
    for sentence in (
        "no physician has confirmed it",
        "the signed report holds a critical finding",
        "A newer notice or report took the place of notice 1",
        "bs.chau acknowledged notice 2",
        "bs.chau gave follow-up 1 to bs.binh, due 1 Nov 2026",
        "the patient could not be reached",
    ):
        assert sentence in text


def test_a_follow_up_from_the_signature_to_its_outcome(room):
    with room.client("bs.binh") as client:
        base = f"/api/v1/studies/{room.uid}/follow-ups"
        assert client.post(base, json=ASK).json()["code"] == "follow_up.not_signed"
        room.sign()
        made = client.post(base, json=ASK)
        assert (made.status_code, made.json()["number"], made.json()["is_overdue"]) == (201, 1, True)
        client.post(base, json={**ASK, "kind": "sputum_test", "due_on": "2030-01-01"})
        found = client.get("/api/v1/follow-ups").json()["items"]
        assert [(one["number"], one["is_overdue"]) for one in found] == [(1, True), (2, False)]
        assert 'href="/follow-ups"' in client.get("/").text
        assert "QUÁ HẠN" in client.get("/follow-ups").text
        closed = client.post("/api/v1/follow-ups/1/close", json={"state": "done", "words": "Đã chụp"})
        assert closed.status_code == 204
        again = client.post("/api/v1/follow-ups/1/close", json={"state": "done"})
        assert (again.status_code, again.json()["code"]) == (409, "follow_up.closed")
        (first, _) = client.get(base).json()["items"]
        assert (first["state"], first["outcome"], first["closed_by"]) == ("done", "Đã chụp", "bs.binh")
    assert room.audited(Audited.FOLLOW_UP_CHANGED)[0] == ("bs.binh", "closed 1 done")


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"kind": "other"}, 422, "follow_up.words_needed"),
        ({"owner": "nobody"}, 422, "follow_up.owner_unknown"),
        ({"owner": "kiem.toan"}, 422, "follow_up.owner_unknown"),  # sees no study
        ({"finding": "nodule"}, 409, "follow_up.not_signed"),
        ({"kind": "dance"}, 422, "request.malformed"),
    ],
)
def test_what_cannot_be_followed_up(room, more, status, code):
    room.sign()
    with room.client("bs.chau") as client:
        answer = client.post(f"/api/v1/studies/{room.uid}/follow-ups", json={**ASK, **more})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_owner_is_chosen_of_those_who_see_the_study(room):
    access = AccessSql(room.record.engine, room.record.clock, {"79002": frozenset()})
    access.bind("bs.binh", ["79002"])  # of a facility that never sent this study
    base = f"/api/v1/studies/{room.uid}/follow-ups"
    with room.client("bs.chau") as client:
        assert client.get(base).json()["owners"] == []  # nothing is signed: nothing to ask for
        room.sign()
        owners = client.get(base).json()["owners"]
        assert [one["user_name"] for one in owners] == ["bs.chau", "ktv.an"]
        assert owners[0]["display_name"] == "Người bs.chau"
        assert client.post(base, json=ASK).json()["code"] == "follow_up.owner_unknown"
        page = client.get(f"/studies/{room.uid}/follow-ups").text
        assert '<option value="bs.chau" selected>' in page and 'value="bs.binh"' not in page
        access.bind("bs.binh", None)
        assert client.post(base, json=ASK).status_code == 201
    with room.client("ktv.an") as client:  # who may not ask is told of nobody
        assert client.get(base).json()["owners"] == []


def test_the_forms_of_the_page_ask_and_close(room):
    room.sign()
    page = f"/studies/{room.uid}/follow-ups"
    with room.client("bs.chau") as client:
        assert 'name="due_on"' in client.get(page).text
        assert client.post(page, data=ASK).status_code == 303
        assert client.post(page, data={**ASK, "due_on": "soon"}).status_code == 422
        assert client.post("/follow-ups/1/close", data={"state": "not_needed"}).status_code == 422
        said = {"state": "not_needed", "words": "Đã mổ"}
        assert client.post("/follow-ups/1/close", data=said).status_code == 303
    with room.client("ktv.an") as client:
        text = client.get(page).text
        assert "Đã mổ" in text
        assert 'name="due_on"' not in text
        assert client.post(page, data=ASK).status_code == 403
