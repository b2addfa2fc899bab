"""What a person decides about a study's patient, at the page and the API."""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.schema import audit
from hoichan.privacy import Phi
from hoichan.testing.datasets import described, film
from hoichan.testing.reading import a_record
from service.api.caller import VISIT, token_of
from tests.unit.service.api.asking import an_app


class Decider:
    """A study with two people in it, and a client with the token of its forms."""

    def __init__(self, folder):
        self.record = a_record(folder)
        other = film(instance="2")
        other.PatientID, other.PatientName, other.PatientSex = "BN0777", "Lê^Bình^Thị", "F"
        first, second = described(film()), described(other)
        self.uid = first.study_instance_uid
        self.record.studies.add_arrivals(first, first.instances)
        self.corrections = CorrectionsSql(self.record.engine, self.record.clock)
        self.corrections.arrived([second])
        self.record.studies.add_arrivals(second, second.instances)
        app = an_app(self.record)
        self.client = TestClient(
            app, base_url="http://localhost:8080", client=("127.0.0.1", 50000), follow_redirects=False
        )
        self.client.get("/docs")
        self.token = token_of(self.client.cookies[VISIT])
        self.headers = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.token}

    def press(self, number, **fields):
        return self.client.post(
            f"/questions/{number}", data={"csrf_token": self.token, **fields}, headers=self.headers
        )

    def number_of_patient(self):
        return self.record.studies.current(self.uid).patient.patient_id.reveal()


@pytest.fixture
def decider(tmp_path):
    made = Decider(tmp_path)
    yield made
    made.record.engine.dispose()


def test_an_open_question_is_seen_everywhere(decider):
    (question,) = decider.client.get("/api/v1/questions").json()["items"]
    assert (question["kind"], question["holds"]) == ("two_patients", True)
    assert (question["current"]["name"], question["told"]["name"]) == ("Nguyễn Văn An", "Lê Thị Bình")
    assert "BN0777" not in str(question)
    page = decider.client.get("/questions").text
    assert "Lê Thị Bình" in page and "hai người khác nhau" in page
    assert 'href="/questions"' in decider.client.get("/").text
    assert "Lê Thị Bình" in decider.client.get(f"/studies/{decider.uid}/record").text
    room = decider.client.get(f"/studies/{decider.uid}").text  # the record where the app was not built
    assert "Chưa rõ ca chụp này của ai" in room or "Lê Thị Bình" in room
    assert "hai người khác nhau" in decider.client.get(f"/studies/{decider.uid}/trail").text


def test_the_api_takes_the_answer_once(decider):
    (question,) = decider.corrections.questions()
    answer = decider.client.post(
        f"/api/v1/questions/{question.id}", json={"take": True}, headers=decider.headers
    )
    assert answer.status_code == HTTPStatus.NO_CONTENT
    assert decider.number_of_patient() == "BN0777"
    again = decider.client.post(
        f"/api/v1/questions/{question.id}", json={"take": False}, headers=decider.headers
    )
    assert (again.status_code, again.json()["code"]) == (HTTPStatus.CONFLICT, "question.answered")
    page = decider.client.get(f"/studies/{decider.uid}/record").text
    assert "Nguyễn Văn An" in page and "do một người quyết định" in page  # whose it was before


def test_nobody_decides_about_a_patient_who_was_not_on_the_screen(decider):
    (question,) = decider.client.get("/api/v1/questions").json()["items"]
    pressed = re.search(r'name="whose" value="(\w{64})"', decider.client.get("/questions").text)[1]
    assert pressed == question["whose"]
    now = decider.record.studies.current(decider.uid).patient
    told = replace(now, patient_id=Phi("BN0555"))  # the hospital corrects it meanwhile
    uid = decider.record.studies.current(decider.uid).instances[0].sop_instance_uid
    decider.corrections.resent(decider.uid, told, None, instance=uid, whole=True)
    asked = {"take": True, "whose": pressed}
    late = decider.client.post(f"/api/v1/questions/{question['id']}", json=asked, headers=decider.headers)
    assert (late.status_code, late.json()["code"]) == (HTTPStatus.CONFLICT, "question.answered")
    assert decider.press(question["id"], take="yes", whose=pressed).status_code == HTTPStatus.CONFLICT
    assert decider.corrections.answer(question["id"], take=True, who="x", whose=pressed) is None
    assert decider.number_of_patient() == "BN0555"
    (still,) = decider.corrections.questions()
    assert decider.press(still.id, take="no", whose=still.whose).status_code == HTTPStatus.SEE_OTHER


def test_a_button_takes_the_answer(decider):
    (question,) = decider.corrections.questions()
    assert decider.press(question.id).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    answer = decider.press(question.id, take="no")
    assert (answer.status_code, answer.headers["location"]) == (HTTPStatus.SEE_OTHER, "/questions")
    assert decider.number_of_patient() == "BN0001"
    assert decider.corrections.released() == (decider.uid,)
    assert decider.press(question.id, take="no").status_code == HTTPStatus.CONFLICT


def test_who_decided_is_audited(decider):
    (question,) = decider.corrections.questions()
    decider.press(question.id, take="yes")
    with decider.record.engine.connect() as connection:
        wanted = sa.select(audit).where(audit.c.what == "patient_corrected")
        (row,) = connection.execute(wanted).mappings()
    assert (row["who"], row["study_instance_uid"]) == ("local", decider.uid)
    assert row["detail"] == f"question {question.id} two_patients taken"
