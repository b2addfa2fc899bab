"""Second opinions: who is asked sees one study while the question is open, and may only read."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.schema import trail
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import PEOPLE, a_record, add_user, arrive, assemble, report
from service.api.caller import SESSION, token_of
from service.web.people import spoken_name
from tests.unit.service.api.asking import an_app

FACILITIES = [
    {"code": "79001", "name": "BV Trung tâm", "senders": ["CR_ROOM1"]},
    {"code": "79002", "name": "TTYT Huyện", "senders": ["CR_DISTRICT"]},
]
QUESTION = "Đám mờ này có phải lao không?\nĐã có phim cũ."


class Site:
    """Two facilities with a study and doctors each, and one doctor who sees all."""

    def __init__(self, folder):
        settings = Settings.model_validate(
            {"storage": {"data_dir": folder, "reserve_bytes": 0}, "facilities": FACILITIES}
        )
        self.record = a_record(folder, settings)
        self.uids = {}
        for number, (which, sender) in enumerate((("centre", "CR_ROOM1"), ("district", "CR_DISTRICT"))):
            study = assemble(self.record, arrive(self.record, which, person=PEOPLE[number], sender=sender))
            report(self.record, study, {"pneumothorax": 0.9})
            self.uids[which] = str(study.study_instance_uid)
        self.app = an_app(self.record)
        for name, role, codes in (
            ("bs.huyen", Role.RADIOLOGIST, ["79002"]),
            ("bs.chau", Role.RADIOLOGIST, ["79001"]),
            ("bs.binh", Role.CLINICIAN, ["79001"]),
            ("bs.xa", Role.RADIOLOGIST, None),
            ("ktv", Role.TECHNICIAN, ["79001"]),
        ):
            add_user(self.record, name, role)
            self.app.state.desk.access.bind(name, codes)

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

    def ask(self, name, which="district", **asked):
        with self.client(name) as client:
            return client.post(
                f"/api/v1/studies/{self.uids[which]}/opinions", json={"words": QUESTION, **asked}
            )

    def status(self, name, path, method="GET", **more):
        with self.client(name) as client:
            return client.request(method, path, **more).status_code


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.record.engine.dispose()


def test_a_colleague_of_another_facility_sees_it_while_the_question_is_open(site):
    uid = site.uids["district"]
    assert site.status("bs.chau", f"/api/v1/studies/{uid}/reading") == 403
    made = site.ask("bs.huyen", user="bs.chau")
    assert made.status_code == 201, made.text
    number = made.json()["number"]
    with site.client("bs.chau") as chau:
        reading = chau.get(f"/api/v1/studies/{uid}/reading")
        assert reading.status_code == 200
        may = reading.json()["may"]
        assert (may["review"], may["sign"]) == (False, False)
        (mine,) = chau.get("/api/v1/opinions").json()["to_me"]
        assert (mine["asked_by"], mine["said"][0]["words"]) == ("bs.huyen", QUESTION)
        assert uid in chau.get("/").text
        assert "<b>1</b>" in chau.get("/opinions").text
        answer = {"words": "Nghĩ nhiều đến lao, đề nghị xét nghiệm đàm."}
        assert chau.post(f"/api/v1/opinions/{number}/words", json=answer).status_code == 204
        assert chau.post(f"/api/v1/opinions/{number}/close").status_code == 403  # who asked ends it
    with site.client("bs.huyen") as huyen:
        (asked,) = huyen.get(f"/api/v1/studies/{uid}/opinions").json()["items"]
        assert [one["author"] for one in asked["said"]] == ["bs.huyen", "bs.chau"]
        assert asked["is_answered"]
        assert huyen.post(f"/api/v1/opinions/{number}/close").status_code == 204
        assert huyen.post(f"/api/v1/opinions/{number}/close").status_code == 409
        assert huyen.post(f"/api/v1/opinions/{number}/words", json=answer).status_code == 409
    assert site.status("bs.chau", f"/api/v1/studies/{uid}/reading") == 403
    with site.record.engine.connect() as connection:
        events = connection.execute(
            sa.select(trail.c.event).where(trail.c.study_instance_uid == uid)
        ).scalars()
        told = [event for event in events if event.startswith("opinion")]
    assert sorted(told) == ["opinion_asked", "opinion_closed", "opinion_given"]
    _, lines = site.record.audit.search(Wanted(what=Audited.OPINION_CHANGED), limit=9)
    assert [(line.record.who, line.record.detail) for line in reversed(lines)] == [
        ("bs.huyen", "asked bs.chau"),
        ("bs.chau", f"said to {number}"),
        ("bs.huyen", f"closed {number}"),
    ]
    assert "lao" not in " ".join(line.record.detail for line in lines)


def test_what_is_lent_may_only_be_read(site):
    uid = site.uids["district"]
    site.ask("bs.huyen", user="bs.chau")
    draft = {"version": 0, "judgements": [], "sections": {}, "seconds_spent": 1}
    for method, path, body in (
        ("PUT", "draft", draft),
        ("PUT", "lock", None),
        ("POST", "sign", {"version": 1, "password": "x", "may_train": False, "kind": "final", "reason": ""}),
        ("POST", "opinions", {"user": "bs.xa", "words": "?"}),
        ("GET", "shares", None),
        ("POST", "replay", None),
        ("GET", "documents/fhir", None),
    ):
        assert site.status("bs.chau", f"/api/v1/studies/{uid}/{path}", method, json=body) == 403, path
    assert site.status("bs.chau", f"/api/v1/studies/{site.uids['centre']}/lock", "PUT") == 200  # its own


def test_a_whole_facility_is_asked(site):
    uid = site.uids["district"]
    number = site.ask("bs.huyen", facility="79001").json()["number"]
    for name in ("bs.chau", "bs.binh"):
        assert site.status(name, f"/api/v1/studies/{uid}/opinions") == 200
        said = {"words": f"Ý kiến của {name}"}
        assert site.status(name, f"/api/v1/opinions/{number}/words", "POST", json=said) == 204
    assert site.status("ktv", f"/api/v1/studies/{uid}/opinions") == 403
    assert site.status("bs.xa", f"/api/v1/opinions/{number}/words", "POST", json={"words": "!"}) == 403


def test_who_is_asked_sees_only_the_own_question(site):
    uid = site.uids["district"]
    site.ask("bs.huyen", user="bs.chau")
    site.ask("bs.huyen", user="bs.binh", words="Bệnh sử thế nào?")
    with site.client("bs.chau") as chau:
        (one,) = chau.get(f"/api/v1/studies/{uid}/opinions").json()["items"]
    assert one["asked_user"] == "bs.chau"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"user": "bs.chau", "facility": "79001"},
        {"user": "nobody"},
        {"user": "ktv"},
        {"user": "bs.huyen"},
        {"facility": "79009"},
        {"user": "bs.chau", "words": " \n "},
        {"user": "bs.chau", "words": "a" * 2001},
        {"user": "bs.chau", "words": 5},
        {"user": "bs.chau", "words": None},
        {"user": "bs.chau", "words": "\u202e\ufeff"},
    ],
)
def test_a_question_that_cannot_be_asked(site, asked):
    assert site.ask("bs.huyen", **asked).status_code == 422


def test_the_page_asks_answers_and_ends(site):
    uid = site.uids["district"]
    with site.client("bs.huyen") as huyen:
        fields = {"user": "bs.chau", "facility": "", "words": "<b>Lao?</b>"}
        assert huyen.post(f"/studies/{uid}/opinions", data=fields).status_code == 303
        page = huyen.get(f"/studies/{uid}/opinions").text
        assert "&lt;b&gt;Lao?&lt;/b&gt;" in page and "<b>Lao" not in page
    with site.client("bs.chau") as chau:
        page = chau.get("/opinions").text
        assert "/opinions/1/words" in page and "/opinions/1/close" not in page
        assert spoken_name(PEOPLE[1][0]) in page  # whose it is, as long as it is asked
        assert chau.post("/opinions/1/words", data={"words": "Có"}).headers["location"] == "/opinions#o1"
        assert chau.post("/opinions/1/words", data={"words": ""}).status_code == 422
    with site.client("bs.huyen") as huyen:
        gone = huyen.post("/opinions/1/close", data={"to": "study"})
        assert gone.headers["location"] == f"/studies/{uid}/opinions"
