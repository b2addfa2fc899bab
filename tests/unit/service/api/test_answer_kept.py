"""A repeated analysis that came to nothing: what the page shows, and a signature in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.reporting.signed import signed_report
from hoichan.testing.ports import FakeEncoder, FakeRunner
from hoichan.testing.reading import DESTINATIONS, a_record, arrive, assemble
from hoichan.testing.reports import a_manifest
from hoichan.testing.reviews import a_draft, a_review
from hoichan.types import StudyState
from service.pipeline import analyse
from tests.unit.service.api.asking import an_app


class Room:
    """A study with an answer; IT asked for the analysis once more, and the model is gone."""

    def __init__(self, folder):
        self.record = a_record(folder)
        self.study = assemble(self.record, replace(arrive(self.record, "a"), closed_by="quiet_time"))
        self.uid = self.study.study_instance_uid
        self.answer = self.analyse([a_manifest()])
        objects = self.record.reading.objects
        SteeringSql(self.record.engine, objects, self.record.clock).analyse_again(self.uid)

    def analyse(self, manifests):
        return analyse(
            self.record.studies.load(self.uid, 1),
            manifests=manifests,
            runner=FakeRunner(self.record.clock, logit=2.0),
            encoder=FakeEncoder(),
            studies=self.record.studies,
            destinations=DESTINATIONS,
            clock=self.record.clock,
        )

    def sign(self):
        reviews = ReviewsSql(self.record.engine, self.record.reading.objects, self.record.clock)
        draft = reviews.save_draft(replace(a_draft(self.answer), version=0))
        review = a_review(self.answer, self.study, draft=draft)
        final = signed_report(self.answer, review, self.study, time="08:32 20/11/2026")
        reviews.sign(review, final, study=self.study, draft_version=draft.version, made=[], planned=[])
        return final


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    yield made
    made.record.engine.dispose()


@pytest.mark.parametrize(("language", "said"), [("en", "The former answer stands"), ("vi", "vẫn giữ nguyên")])
def test_the_trail_shows_it_above_with_what_to_do_and_in_its_place(room, language, said):
    assert room.analyse([]) is None
    with TestClient(
        an_app(room.record), base_url="http://localhost:8080", client=("127.0.0.1", 50000)
    ) as asked:
        page = asked.get(f"/studies/{room.uid}/trail", params={"lang": language}).text
        lines = asked.get(f"/api/v1/studies/{room.uid}/trail").json()["items"]
    assert page.count(said) == 2
    assert "--from analyse" in page
    assert lines[-1]["event"] == "answer_kept"


def test_a_signature_between_the_question_and_the_failure_stands(room):
    final = room.sign()
    before = room.record.studies.deliveries(room.uid)
    assert room.analyse([]) is None
    entry = room.record.reading.study(room.uid).entry
    assert (entry.state, entry.report.report_uid) == (StudyState.SIGNED, final.report_uid)
    assert room.record.studies.deliveries(room.uid) == before
