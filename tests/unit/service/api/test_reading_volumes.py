"""Volumes in the reading room's data: judged, kept, signed, and refused where wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from hoichan.reporting.sealing import is_sealed
from hoichan.reporting.volume_verdicts import measurement_id
from hoichan.testing.reading import PASSWORD, arrive, assemble, keep
from hoichan.testing.reports import a_report
from hoichan.testing.volumes import measured
from hoichan.types import Verdict
from tests.unit.service.api.test_reading import Room

WORDS = {"conclusion": "Hải mã không teo."}


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    made.study = assemble(made.record, arrive(made.record, "two"))
    made.uid = made.study.study_instance_uid
    made.report = replace(a_report(made.study, findings=[]), measurements=measured(made.study))
    keep(made.record, made.study, made.report)
    yield made
    made.record.engine.dispose()


def given(reading):
    first, second, third, _ = reading["report"]["measurements"]
    return [
        {"measurement_id": first["id"], "verdict": "accepted", "value_ml": first["value"]},
        {"measurement_id": second["id"], "verdict": "edited", "value_ml": 1.4},
        {"measurement_id": third["id"], "verdict": "rejected", "reason": "poor_image: nhòe"},
    ]


def test_verdicts_are_kept_signed_and_said_again(room):
    with room.client() as client:
        reading = client.get("reading").json()
        ids = [measurement_id(room.report.report_uid, one) for one in room.report.measurements]
        assert [one["id"] for one in reading["report"]["measurements"]] == ids
        volumes = given(reading)
        answer = client.put("draft", json={"version": 0, "sections": WORDS, "volumes": volumes})
        assert answer.status_code == 200, answer.text
        kept = client.get("reading").json()["draft"]["volumes"]
        assert [(one["verdict"], one["value_ml"]) for one in kept] == [
            ("accepted", 1.524),
            ("edited", 1.4),
            ("rejected", None),
        ]
        signed = client.post("sign", json={"version": 1, "password": PASSWORD})
        assert signed.status_code == 200, signed.text
        assert client.get("reading").json()["history"][0]["volumes"] == kept
    (review,) = room.reviews.reviews(room.study.study_instance_uid)
    assert is_sealed(review)
    assert [one.verdict for one in review.volumes] == [Verdict.ACCEPTED, Verdict.EDITED, Verdict.REJECTED]
    _, lines = room.record.audit.search(Wanted(what=Audited.RESULT_REVIEWED), limit=5)
    told = [line.record.detail for line in lines]
    assert told == ["accepted volume, edited volume, rejected volume"]


def test_a_draft_without_verdicts_of_volumes_is_one_of_before(room):
    with room.client() as client:
        assert client.put("draft", json={"version": 0, "sections": WORDS}).status_code == 200
        assert client.get("reading").json()["draft"]["volumes"] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"value_ml": 1.5}, "review.wrong_size"),
        ({"verdict": "rejected"}, "review.wrong_size"),
        ({"measurement_id": "another"}, "review.unknown_finding"),
        ({"value_ml": -1}, "request.malformed"),
        ({"verdict": "added"}, "request.malformed"),
    ],
)
def test_a_verdict_that_breaks_a_rule_is_not_kept(room, change, code):
    with room.client() as client:
        wrong = {**given(client.get("reading").json())[0], **change}
        answer = client.put("draft", json={"version": 0, "sections": WORDS, "volumes": [wrong]})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert client.get("reading").json()["draft"] is None
