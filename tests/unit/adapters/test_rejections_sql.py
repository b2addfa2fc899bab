"""What a rejection note of our own SR changes in the record: the place in the list, a search, a draft."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from hoichan.adapters import search_facets
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.search_facets import Facet, FacetKind
from hoichan.reporting.reviews import finding_id
from hoichan.testing.reading import a_record, arrive, assemble, report
from hoichan.testing.reviews import a_draft
from hoichan.types import DocumentKind, Judgement, SOPInstanceUID, StudyInstanceUID, Tier, Verdict

NOTE = SOPInstanceUID("2.25.9")
FINDING = Facet(kind=FacetKind.FINDING, findings=("pneumothorax",))


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def answered(record, name, scores):
    record.clock.advance(60)
    study = assemble(record, arrive(record, name))
    return study, report(record, study, scores)


def taken_back(record, made):
    sr = record.studies.document(made.report_uid, DocumentKind.SR)
    uid = StudyInstanceUID(made.study_instance_uid)
    return record.studies.take_back(uid, [SOPInstanceUID(sr.uid)], note=NOTE, title="113001")


def listed(record):
    return [(one.study_instance_uid, one.tier) for one in record.reading.reading_list().entries]


def test_a_result_that_was_taken_back_raises_no_study(record):
    nothing, _ = answered(record, "nothing", {"pneumothorax": 0.1})
    critical, made = answered(record, "critical", {"pneumothorax": 0.9})
    routine, _ = answered(record, "routine", {"cardiomegaly": 0.9})
    before = [(critical, Tier.CRITICAL), (routine, Tier.ROUTINE), (nothing, None)]
    assert listed(record) == [(one.study_instance_uid, tier) for one, tier in before]
    assert taken_back(record, made) == [made.report_uid]
    after = [(routine, Tier.ROUTINE), (nothing, None), (critical, None)]
    assert listed(record) == [(one.study_instance_uid, tier) for one, tier in after]


def test_a_new_answer_gives_the_place_that_is_its_own(record):
    study, made = answered(record, "film", {"pneumothorax": 0.9})
    taken_back(record, made)
    (image,) = study.instances
    uid = study.study_instance_uid
    named = [image.sop_instance_uid]
    assert record.studies.reject(uid, named, note=NOTE, title="113001", revise=True) == 2
    report(record, record.studies.load(uid, 2), {"pleural_effusion": 0.9})
    assert listed(record) == [(uid, Tier.URGENT)]


def test_a_finding_that_was_taken_back_finds_no_study(record):
    study, made = answered(record, "film", {"pneumothorax": 0.9})

    def found():
        with record.engine.connect() as connection:
            rows = search_facets.find(connection, FINDING, zone=ZoneInfo("Asia/Ho_Chi_Minh"), limit=9)
        return [row["study_instance_uid"] for row in rows]

    assert found() == [study.study_instance_uid]
    taken_back(record, made)
    assert found() == []


def test_a_draft_loses_its_verdicts_on_what_was_taken_back_and_keeps_the_readers_own(record):
    study, made = answered(record, "film", {"pneumothorax": 0.9})
    reviews = ReviewsSql(record.engine, record.reading.objects, record.clock)
    (finding,) = made.findings
    said = Judgement(
        finding_id=finding_id(made.report_uid, finding), key="pneumothorax", verdict=Verdict.ACCEPTED
    )
    own = Judgement(finding_id=None, key="nodule", verdict=Verdict.ADDED)
    draft = reviews.save_draft(replace(a_draft(made, (said, own)), version=0))
    taken_back(record, made)
    kept = reviews.draft(study.study_instance_uid)
    assert kept.judgements == (own,)
    assert kept.sections == draft.sections
    assert kept.version == draft.version + 1  # who has the former one open is told
