"""The reading room's data: what is shown, kept, signed, amended and taken back, asked from outside."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from PIL import Image

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.changes_sql import ChangesSql
from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.links_sql import LinksSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.schema import deliveries, studies
from hoichan.encoding.retraction import BY_A_READER, retraction_uid
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.privacy import Phi
from hoichan.reporting.sealing import is_sealed
from hoichan.testing.datasets import described, film
from hoichan.testing.reading import (
    DESTINATIONS,
    PASSWORD,
    a_record,
    add_user,
    arrive,
    assemble,
    report,
)
from hoichan.testing.reports import a_film, a_study
from hoichan.types import DocumentKind, ReviewKind
from service.api.caller import SESSION, token_of
from service.corrections import Corrections
from tests.unit.service.api.asking import an_app

SCORES = {"pleural_effusion": 0.91, "cardiomegaly": 0.7, "pneumothorax": 0.02}
FORBIDDEN_WORDS = ("Nguyễn", "BN-2026")


class Room:
    """A record with one study that the machine has answered, and a radiologist with a licence."""

    def __init__(self, folder):
        record = a_record(folder)
        settings = record.settings.model_copy(update={"destinations": DESTINATIONS})
        self.record = replace(record, settings=settings)
        for name, role in (
            ("bs.chau", Role.RADIOLOGIST),
            ("bs.an", Role.RADIOLOGIST),
            ("bs.binh", Role.CLINICIAN),
        ):
            add_user(self.record, name, role)
        self.record.people.set_licence("bs.chau", full_name="Lê Minh Châu", licence_number="012345/HCM-CCHN")
        self.study = assemble(self.record, arrive(self.record, "one"))
        self.report = report(self.record, self.study, SCORES)
        self.app = an_app(self.record)
        self.uid = self.study.study_instance_uid

    @contextmanager
    def client(self, name="bs.chau"):
        session = self.record.people.begin_session(name)
        headers = {
            "Sec-Fetch-Site": "same-origin",
            "Cookie": f"{SESSION}={session}",
            "X-CSRF-Token": token_of(session),
        }
        with TestClient(self.app, base_url="http://localhost", headers=headers) as client:
            client.base_url = client.base_url.join(f"/api/v1/studies/{self.uid}/")
            yield client

    @property
    def reviews(self):
        return ReviewsSql(self.record.engine, self.record.reading.objects, self.record.clock)

    def state(self):
        with self.record.engine.connect() as connection:
            return connection.execute(sa.select(studies.c.state)).scalar_one()

    def waiting(self, report_uid):
        with self.record.engine.connect() as connection:
            found = connection.execute(
                sa.select(deliveries.c.destination, deliveries.c.state).where(
                    deliveries.c.report_uid == report_uid
                )
            )
            return dict(found.all())


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    yield made
    made.record.engine.dispose()


def a_draft(reading, **changes):
    judgements = [
        {
            "finding_id": one["id"],
            "key": one["key"],
            "verdict": "accepted" if number == 0 else "rejected",
            "reason": "" if number == 0 else "not_seen: chồng hình",
            "boxes": one["boxes"] if number == 0 else [],
        }
        for number, one in enumerate(reading["findings"])
        if one["presence"] == "present"
    ]
    judgements.append(
        {"finding_id": None, "key": "nodule", "verdict": "added", "laterality": "left", "size_mm": 7}
    )
    draft = {
        "version": 0,
        "judgements": judgements,
        "sections": {"conclusion": "Tràn dịch màng phổi.", "description": "Mờ góc sườn hoành."},
        "seconds_spent": 31,
    }
    return {**draft, **changes}


def drafted(client, **changes):
    draft = a_draft(client.get("reading").json(), **changes)
    answer = client.put("draft", json=draft)
    assert answer.status_code == 200, answer.text
    return answer.json()["version"]


def signed(client, **changes):
    version = drafted(client)
    asked = {"version": version, "password": PASSWORD, "may_train": True, "kind": "final", "reason": ""}
    return client.post("sign", json={**asked, **changes})


# ------------------------------------------------------------------ reading
def test_everything_that_a_reading_needs(room):
    with room.client() as client:
        reading = client.get("reading").json()
    assert reading["study"]["patient"]["name"] == "Nguyễn Văn An"
    assert reading["report"]["status"] == "unverified"
    assert reading["report"]["report_uid"] == room.report.report_uid
    effusion = reading["findings"][0]
    assert (effusion["key"], effusion["presence"]) == ("pleural_effusion", "present")
    (box,) = effusion["boxes"]
    assert box["sop_instance_uid"] == room.study.instances[0].sop_instance_uid
    assert box["width"] > 0 and box["column"] + box["width"] <= 560
    (series,) = reading["images"]
    (image,) = series["instances"]
    assert (image["rows"], image["columns"], image["scorable"]) == (640, 560, True)
    assert (reading["lock"], reading["mine"], reading["draft"], reading["history"]) == (None, False, None, [])
    assert reading["may"] == dict.fromkeys(("review", "sign", "acknowledge", "follow_up"), True)
    assert reading["settings"] == {"read_first": False, "sign_needs": "password"}
    assert {one["key"] for one in reading["finding_choices"]} >= {"nodule", "pneumothorax"}
    assert all(one["names"]["vi"] for one in reading["rejection_reasons"])


def test_who_may_not_review_sees_it_all_the_same(room):
    with room.client("bs.binh") as client:
        may = client.get("reading").json()["may"]
        assert may == {"review": False, "sign": False, "acknowledge": True, "follow_up": True}
        for method, path in (("PUT", "draft"), ("PUT", "lock"), ("POST", "sign"), ("POST", "withdraw")):
            assert client.request(method, path, json={}).status_code == 403
    with room.client("bs.an") as client:  # a radiologist whose licence nobody has entered
        may = client.get("reading").json()["may"]
        assert may == {"review": True, "sign": False, "acknowledge": True, "follow_up": True}


def test_priors_are_of_the_same_number_only(room):
    earlier = arrive(room.record, "earlier")
    other = arrive(room.record, "other", person=("Nguyễn^An^Văn", "M", 1958, "BN-9"))
    with room.client() as client:
        priors = client.get("reading").json()["priors"]
    assert [one["study_uid"] for one in priors] == [earlier.study_instance_uid]
    assert other.study_instance_uid not in json.dumps(priors)


def test_the_heat_map_lies_over_the_film(room):
    with room.client() as client:
        address = client.get("reading").json()["findings"][0]["heatmap"]
        answer = client.get(f"http://localhost{address}")
        assert client.get("findings/00000000-0000-5000-8000-000000000000/heatmap.png").status_code == 404
    picture = Image.open(BytesIO(answer.content))
    assert (picture.mode, picture.size) == ("RGBA", (448, 512))
    assert picture.getchannel("A").getextrema()[0] == 0
    assert picture.getchannel("A").getextrema()[1] > 100


# ------------------------------------------------------------------ drafts and locks
def test_a_draft_is_kept_and_nobody_overwrites_it_unseen(room):
    with room.client() as mine, room.client("bs.an") as theirs:
        first = a_draft(mine.get("reading").json())
        assert mine.put("draft", json=first).json()["version"] == 1
        answer = theirs.put("draft", json=first)
        assert (answer.status_code, answer.json()["code"]) == (409, "draft_changed")
        kept = answer.json()["draft"]
        assert (kept["version"], kept["author"]) == (1, "bs.chau")
        assert kept["sections"]["conclusion"] == "Tràn dịch màng phổi."
        assert theirs.put("draft", json={**first, "version": 1}).json()["version"] == 2
        assert mine.put("draft", json={**first, "version": 1}).status_code == 409
        assert mine.get("reading").json()["draft"]["judgements"][-1]["key"] == "nodule"
        assert mine.delete("draft").status_code == 204
        assert mine.get("reading").json()["draft"] is None


def test_a_draft_that_breaks_a_rule_is_told_which(room):
    with room.client() as client:
        draft = a_draft(client.get("reading").json())
        draft["judgements"][0]["site"] = "elbow"
        answer = client.put("draft", json=draft)
        assert (answer.status_code, answer.json()["code"]) == (422, "review.unknown_site")
        assert client.put("draft", json={**draft, "report_uid": "1.2.3"}).status_code == 409
        assert client.put("draft", content=b"{").status_code == 422


def test_the_text_is_drafted_in_both_languages(room):
    with room.client() as client:
        judgements = a_draft(client.get("reading").json())["judgements"]
        for language, words in (("vi", "Nốt mờ phổi bên trái"), ("en", "Left pulmonary nodule")):
            answer = client.post("draft/text", json={"judgements": judgements, "language": language})
            assert words in answer.json()["sections"]["conclusion"]


def test_the_soft_lock_tells_others(room):
    with room.client() as mine, room.client("bs.an") as theirs:
        assert mine.put("lock").json()["mine"] is True
        told = theirs.put("lock").json()
        assert (told["reader"], told["mine"]) == ("bs.chau", False)
        theirs.delete("lock")  # not theirs to release
        assert theirs.get("reading").json()["lock"]["reader"] == "bs.chau"
        mine.delete("lock")
        assert theirs.put("lock").json()["mine"] is True


def test_whoever_has_it_open_is_told_what_stands_now(room):
    with room.client() as client:
        reading = client.get("reading").json()
        told = client.put("lock").json()
        shown = (reading["study"]["whose"], "", reading["report"]["report_uid"], False)
        assert tuple(told[key] for key in ("whose", "last_signed", "report_uid", "taken_back")) == shown
        made = signed(client).json()["report_uid"]
        newer = report(room.record, _late(room), SCORES)
        told = client.put("lock").json()
        assert (told["last_signed"], told["report_uid"]) == (made, newer.report_uid)


# ------------------------------------------------------------------ signing
def test_a_signature_leaves_for_every_receiver(room):
    with room.client() as client:
        answer = signed(client)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["status"] == "final"
        reading = client.get("reading").json()
    assert (reading["report"]["status"], reading["draft"]) == ("final", None)
    (history,) = reading["history"]
    assert (history["reviewer"], history["licence_number"]) == ("bs.chau", "012345/HCM-CCHN")
    assert history["content_sha256"] == made["content_sha256"]
    assert room.state() == "signed"
    assert room.waiting(made["report_uid"]) == {"pacs": "pending", "emr": "pending"}
    (review,) = room.reviews.reviews(room.uid)
    assert is_sealed(review)
    assert (review.may_train, review.seconds_spent, review.reviewer_name) == (True, 31, "Lê Minh Châu")
    (record,) = room.record.audit.search(Wanted(what=Audited.RESULT_SIGNED), limit=9)[1]
    assert record.record.uids == (room.uid, made["report_uid"], room.report.report_uid)
    assert record.record.detail == f"final {made['content_sha256']}"


def test_the_password_is_asked_again_under_the_limits_of_sign_in(room):
    with room.client() as client:
        version = drafted(client)
        asked = {"version": version, "password": "sai", "kind": "final"}
        codes = [client.post("sign", json=asked).json()["code"] for _ in range(8)]
        assert codes[0] == "review.wrong_password"
        assert codes[-1] == "access.too_many_tries"
        right = client.post("sign", json={**asked, "password": PASSWORD})
        assert right.status_code == 429 and int(right.headers["retry-after"]) > 0
    assert room.reviews.reviews(room.uid) == ()
    refused = room.record.audit.search(Wanted(what=Audited.RESULT_SIGNED), limit=20)[1]
    assert len(refused) == 9 and all(one.record.detail.startswith("refused") for one in refused)


def test_without_a_licence_nobody_signs(room):
    with room.client("bs.an") as client:
        answer = signed(client)
    assert (answer.status_code, answer.json()["code"]) == (403, "review.no_licence")


def test_a_draft_that_moved_or_a_suggestion_without_verdict_is_not_signed(room):
    with room.client() as client:
        assert signed(client, version=7).json()["code"] == "draft_changed"
        draft = a_draft(client.get("reading").json(), version=1)
        draft["judgements"] = draft["judgements"][1:]
        client.put("draft", json=draft)
        answer = client.post("sign", json={"version": 2, "password": PASSWORD})
        assert (answer.status_code, answer.json()["code"]) == (422, "review.unjudged")
        assert client.post("sign", json={"version": 2, "password": PASSWORD, "auto": True}).status_code == 422


def test_an_amendment_follows_and_a_second_final_does_not(room):
    with room.client() as client:
        first = signed(client).json()
        assert signed(client).json()["code"] == "review.step_refused"
        client.delete("draft")
        second = signed(client, kind="amendment", reason="Đo lại.")
        assert second.json()["status"] == "amended"
        third = signed(client, kind="addendum", reason="Đã báo khoa Nội.").json()
        history = client.get("reading").json()["history"]
    assert [one["status"] for one in history] == ["final", "amended", "amended"]
    chain = room.reviews.reviews(room.uid)
    assert [one.predecessor for one in chain] == [
        room.report.report_uid,
        first["report_uid"],
        second.json()["report_uid"],
    ]
    assert third["report_uid"] == chain[-1].report_uid


def test_a_signature_of_who_did_not_see_the_last_one_is_refused(room):
    room.record.people.set_licence("bs.an", full_name="Trần Thị An", licence_number="012346/HCM-CCHN")
    with room.client() as client, room.client("bs.an") as colleague:
        first = signed(client, last_signed="").json()["report_uid"]
        again = client.post("sign", json={"version": 1, "password": PASSWORD, "last_signed": ""})
        assert again.json()["code"] == "review.step_refused"  # the line took the answer: it is signed
        amended = signed(colleague, kind="amendment", reason="Đo lại.", last_signed=first)
        assert amended.status_code == 200, amended.text

        late = a_draft(client.get("reading").json())
        refused = client.put("draft", json={**late, "last_signed": first})
        assert (refused.status_code, refused.json()["code"]) == (409, "review.step_refused")
        assert client.get("reading").json()["draft"] is None
        asked = {"password": PASSWORD, "reason": "Nhầm phim.", "last_signed": first}
        assert client.post("withdraw", json=asked).json()["code"] == "review.step_refused"
        drafted(colleague)  # the same number as the one that the first page has
        told = {**asked, "version": 1, "kind": "amendment"}
        assert client.post("sign", json=told).json()["code"] == "review.step_refused"

        told["last_signed"] = asked["last_signed"] = amended.json()["report_uid"]
        assert client.post("sign", json=told).status_code == 200
        assert client.post("withdraw", json=asked).json()["code"] == "review.step_refused"
        del asked["last_signed"]  # who does not say what was seen speaks of what stands
        assert client.post("withdraw", json=asked).status_code == 200
    assert [one.kind for one in room.reviews.reviews(room.uid)] == [
        ReviewKind.FINAL,
        ReviewKind.AMENDMENT,
        ReviewKind.AMENDMENT,
        ReviewKind.WITHDRAWAL,
    ]


def test_a_late_image_never_puts_a_machine_before_a_signature(room):
    with room.client() as client:
        signed(client)
        machine = report(room.record, _late(room), {**SCORES, "nodule": 0.8})
        assert room.state() == "reported"  # somebody has to look at it again
        assert room.waiting(machine.report_uid) == {"pacs": "pending"}  # never to the EMR
        reading = client.get("reading").json()
        assert reading["report"]["report_uid"] == machine.report_uid
        assert reading["report"]["status"] == "final"
        answer = signed(client, kind="amendment", reason="Có thêm phim.")
        assert answer.status_code == 200, answer.text
        assert room.waiting(answer.json()["report_uid"]) == {"pacs": "pending", "emr": "pending"}
    assert {one.known_as for one in room.reviews.reviews(room.uid)} == {room.report.report_uid}


def test_what_was_written_about_a_former_result_is_carried_over_to_the_newer(room):
    with room.client() as client:
        draft = {**a_draft(client.get("reading").json()), "report_uid": room.report.report_uid}
        machine = report(room.record, _late(room), SCORES)
        refused = client.put("draft", json=draft)
        assert (refused.status_code, refused.json()["code"]) == (409, "review.report_changed")
        other = client.put("draft", json={**draft, "report_uid": "1.2.3", "carry_over": True})
        assert other.json()["code"] == "review.report_changed"
        assert client.put("draft", json={**draft, "carry_over": True}).json()["version"] == 1
        reading = client.get("reading").json()
        kept = reading["draft"]
        assert kept["sections"]["conclusion"] == "Tràn dịch màng phổi." and not kept["carried_over"]
        known = {one["id"] for one in reading["findings"]}
        judged = [one["finding_id"] for one in kept["judgements"] if one["finding_id"]]
        assert len(judged) == 2 and set(judged) <= known
        answer = client.post("sign", json={"version": 1, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
    assert room.reviews.reviews(room.uid)[0].judged == machine.report_uid


def test_nobody_signs_for_a_patient_who_was_not_on_the_screen(room):
    with room.client() as client:
        version = drafted(client)
        shown = client.get("reading").json()["study"]["whose"]
        corrections = CorrectionsSql(room.record.engine, room.record.clock)
        other = replace(room.study.patient, patient_id=Phi("BN-9"), patient_name=Phi("Lê^Thị Hoa"))
        uid = room.study.instances[0].sop_instance_uid
        assert corrections.resent(room.uid, other, None, instance=uid, whole=True)
        asked = {"version": version, "password": PASSWORD, "whose": shown}
        refused = client.post("sign", json=asked)
        assert (refused.status_code, refused.json()["code"]) == (409, "review.patient_corrected")
        assert not room.reviews.reviews(room.uid)
        now = client.get("reading").json()["study"]["whose"]
        assert shown != now and len(now) == 64
        assert client.post("sign", json={**asked, "whose": now}).status_code == 200


def test_a_draft_of_before_the_newer_result_says_so(room):
    with room.client() as client:
        drafted(client)
        report(room.record, _late(room), SCORES)
        reading = client.get("reading").json()
        assert reading["draft"]["carried_over"]  # kept anew by a page that shows the new result, then signed
        told = client.post("sign", json={"version": 1, "password": PASSWORD})
        assert told.json()["code"] == "review.report_changed"
        draft = {**a_draft(reading), "version": 1, "report_uid": reading["report"]["report_uid"]}
        assert client.put("draft", json=draft).status_code == 200
        assert client.post("sign", json={"version": 2, "password": PASSWORD}).status_code == 200


def _late(room):
    (series,) = room.study.series
    uid = a_study(a_film("late")).instances[0].sop_instance_uid
    more = replace(series.instances[0], sop_instance_uid=uid, instance_number=2)
    study = replace(room.study, series=(replace(series, instances=(*series.instances, more)),))
    room.record.studies.add_arrivals(study, [more])
    return assemble(room.record, study)


# ------------------------------------------------------------------ taking back
def test_a_withdrawal_goes_where_the_report_went(room):
    with room.client() as client:
        made = signed(client).json()
        room.record.studies.acknowledged(f"{made['report_uid']}:emr", "HTTP 200")
        answer = client.post("withdraw", json={"password": PASSWORD, "reason": "Nhầm phim."})
        assert answer.json()["status"] == "withdrawn", answer.text
        told = client.get("retractions").json()
        assert {(one["destination"], one["state"]) for one in told} == {("emr", "owed"), ("pacs", "owed")}
        page = client.get(f"http://localhost/studies/{room.uid}/retraction")
        assert page.status_code == 200 and "<main" in page.text
        assert not [word for word in FORBIDDEN_WORDS if word in page.text]
        again = client.post("withdraw", json={"password": PASSWORD, "reason": "Nhầm phim."})
        assert again.json()["code"] == "review.step_refused"
        assert client.get("reading").json()["report"]["status"] == "withdrawn"
        anew = signed(client)  # the patient needs a report
        assert anew.json()["status"] == "final", anew.text
    pending = RetractionsSql(room.record.engine, room.record.reading.objects, room.record.clock).pending()
    assert [(one.report_uid, one.destinations, one.by_reader) for one in pending] == [
        (made["report_uid"], ("emr", "pacs"), True)
    ]
    assert room.waiting(made["report_uid"]) == {"emr": "sent", "pacs": "cancelled"}
    last = room.reviews.reviews(room.uid)[-1]
    assert last.known_as == last.report_uid


def test_the_taking_back_is_written_and_followed_to_each_receiver(room):
    record = room.record
    retractions = RetractionsSql(record.engine, record.reading.objects, record.clock)
    with room.client() as client:
        made = signed(client).json()
        for name in ("emr", "pacs"):
            record.studies.acknowledged(f"{made['report_uid']}:{name}", "0x0000")
        client.post("withdraw", json={"password": PASSWORD, "reason": "Nhầm phim."})
        corrections = Corrections(
            CorrectionsSql(record.engine, record.clock),
            LinksSql(record.engine, record.clock),
            retractions,
            ChangesSql(record.engine, record.clock),
            record.held.spool,
            record.studies,
            record.clock,
            record.settings,
        )
        corrections.retract(room.uid)
        corrections.retract(room.uid)  # once more, as after a crash
        told = {one["destination"]: (one["form"], one["state"]) for one in client.get("retractions").json()}
        assert told == {"emr": ("bundle", "pending"), "pacs": ("note", "pending")}
        uid = retraction_uid(made["report_uid"])
        record.studies.acknowledged(f"{uid}:emr", "HTTP 200")
        told = {one["destination"]: one["state"] for one in client.get("retractions").json()}
        assert told == {"emr": "sent", "pacs": "pending"}
        line = client.get("http://localhost/api/v1/studies").json()["items"][0]
        assert line["report"]["status"] == "unverified"  # the machine's word is what is left
    kept = record.studies.document(uid, DocumentKind.FHIR)
    assert BY_A_READER["vi"] in kept.content.decode()


def test_nothing_is_withdrawn_that_was_not_signed(room):
    with room.client() as client:
        answer = client.post("withdraw", json={"password": PASSWORD, "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (409, "review.step_refused")


def test_the_database_keeps_signatures_as_they_were_signed(room):
    with room.client() as client:
        signed(client)
    for statement in ("UPDATE reviews SET reason = 'x'", "DELETE FROM reviews"):
        with pytest.raises(sa.exc.DBAPIError), room.record.engine.begin() as connection:
            connection.execute(sa.text(statement))


def test_a_form_of_another_site_signs_nothing(room):
    with room.client() as client:
        for method in ("PUT", "POST", "DELETE"):
            path = {"PUT": "draft", "POST": "sign", "DELETE": "draft"}[method]
            away = client.request(method, path, json={}, headers={"Sec-Fetch-Site": "cross-site"})
            assert away.json()["code"] == "request.cross_origin"
            bare = client.request(method, path, json={}, headers={"X-CSRF-Token": "0"})
            assert bare.json()["code"] == "request.token_missing"


def test_a_line_of_the_list_says_who_reads_and_until_when(room):
    def line(client):
        (one,) = [
            one
            for state in ("", "?state=signed")
            for one in client.get(f"http://localhost/api/v1/studies{state}").json()["items"]
        ]
        return one

    with room.client() as client:
        fresh = line(client)
        assert fresh["reading"] == {"state": "unread", "by": None, "lock": None}
        assert (fresh["tier"], fresh["urgency"]) == ("urgent", "routine")
        received = datetime.fromisoformat(fresh["first_received_at"])
        assert datetime.fromisoformat(fresh["due_at"]) - received == timedelta(hours=4)
        client.put("lock")
        drafted(client)
        assert line(client)["reading"] == {"state": "draft", "by": "bs.chau", "lock": {"reader": "bs.chau"}}
        client.delete("draft")
        signed(client)
        assert line(client)["reading"] == {"state": "signed", "by": "bs.chau", "lock": None}


def test_a_study_with_two_people_in_it_is_not_signed(room):
    other = film(instance="2")
    other.StudyInstanceUID = room.uid
    other.PatientID, other.PatientName = "BN0777", "Lê^Bình^Thị"
    CorrectionsSql(room.record.engine, room.record.clock).arrived([described(other)])
    with room.client() as client:
        answer = signed(client)
        assert (answer.status_code, answer.json()["code"]) == (403, "review.whose_study")
        assert client.get("reading").json()["report"]["status"] == "unverified"
