"""The main flow on fakes: every study gets an answer, and the same walk twice changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.settings import FolderDestination
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_film, a_manifest, a_study
from hoichan.types import Outcome, Presence, RefusalCode, StudyState
from service.pipeline import analyse


class Bench:
    """The pipeline with everything it needs."""

    def __init__(self, folder, *, logit=2.0):
        self.clock = FakeClock()
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
        self.runner = FakeRunner(self.clock, logit=logit)
        self.manifests = [a_manifest(["pleural_effusion", "cardiomegaly"])]

    def assembled(self, study):
        self.studies.add_arrivals(study, study.instances)
        current = self.studies.current(study.study_instance_uid)
        return self.studies.assemble(replace(current, closed_by="association_released"))

    def analyse(self, study):
        return analyse(
            study,
            manifests=self.manifests,
            runner=self.runner,
            encoder=FakeEncoder(),
            studies=self.studies,
            destinations=(FolderDestination(name="share", kind="folder", path="share"),),
            clock=self.clock,
        )


@pytest.fixture
def logit():
    return 2.0


@pytest.fixture
def bench(tmp_path, logit):
    opened = Bench(tmp_path, logit=logit)
    yield opened
    opened.database.dispose()


def test_a_film_is_scored_reported_and_due_for_delivery(bench):
    study = bench.assembled(a_study())
    report = bench.analyse(study)
    assert report.outcome is Outcome.WITH_FINDINGS
    assert {f.key for f in report.positives} == {"pleural_effusion", "cardiomegaly"}
    assert [d.report_uid for d in bench.studies.due(bench.clock.now())] == [report.report_uid]
    assert bench.studies.current(study.study_instance_uid).state is StudyState.REPORTED


def test_the_same_walk_twice_changes_nothing(bench):
    study = bench.assembled(a_study())
    first, second = bench.analyse(study), bench.analyse(study)
    assert first.report_uid == second.report_uid
    assert len(bench.studies.deliveries(study.study_instance_uid)) == 1


@pytest.mark.parametrize("logit", [-2.0])
def test_scores_below_the_operating_point_are_absent(bench):
    report = bench.analyse(bench.assembled(a_study()))
    assert report.outcome is Outcome.WITHOUT_FINDINGS
    assert {f.presence for f in report.findings} == {Presence.ABSENT}


def test_an_image_the_model_refuses_is_answered_with_the_reason(bench):
    bench.runner.refuses = RefusalCode.NOT_FRONTAL_CHEST
    study = bench.assembled(a_study())
    report = bench.analyse(study)
    assert report.outcome is Outcome.NOT_ANALYSED
    assert [r.code for r in report.refusals] == [RefusalCode.NOT_FRONTAL_CHEST]
    assert len(bench.studies.due(bench.clock.now())) == 1  # delivered like any result
    assert bench.studies.current(study.study_instance_uid).state is StudyState.NOT_ANALYSED


def test_a_refusal_carries_the_disclaimer_of_the_model_that_refused(bench):
    bench.runner.refuses = RefusalCode.NOT_FRONTAL_CHEST
    report = bench.analyse(bench.assembled(a_study()))
    assert report.disclaimer["en"].startswith("Demonstration, not validated")


def test_a_leg_is_never_given_to_the_model(bench):
    leg = a_film()
    leg.BodyPartExamined = "LEG"
    report = bench.analyse(bench.assembled(a_study(leg)))
    assert (report.outcome, bench.runner.calls) == (Outcome.NOT_ANALYSED, 0)
    assert [r.code for r in report.refusals] == [RefusalCode.WRONG_BODY_PART]


def test_without_any_model_the_answer_says_so(bench):
    bench.manifests = []
    report = bench.analyse(bench.assembled(a_study()))
    assert [r.code for r in report.refusals] == [RefusalCode.NO_MODEL]


def test_a_runtime_that_fails_once_is_asked_again(bench):
    bench.runner.failures = 1
    assert bench.analyse(bench.assembled(a_study())).outcome is Outcome.WITH_FINDINGS


def test_a_runtime_that_fails_twice_is_an_answer_not_silence(bench):
    bench.runner.failures = 2
    report = bench.analyse(bench.assembled(a_study()))
    assert [r.code for r in report.refusals] == [RefusalCode.MODEL_FAILED]


def test_a_later_revision_names_its_predecessor(bench):
    first = bench.analyse(bench.assembled(a_study()))
    late = a_film("late")
    late.StudyInstanceUID = first.study_instance_uid
    second = bench.analyse(bench.assembled(a_study(late, path="late.dcm")))
    assert (second.revision, second.predecessor) == (2, first.report_uid)
