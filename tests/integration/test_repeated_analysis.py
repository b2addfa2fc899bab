"""A study is analysed once more, and nobody can be heard: the former answer stands, and the trail says so."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from hoichan.adapters.records_read import ReadingSql
from hoichan.analysis.standing import Action
from hoichan.testing.ports import FakeRunner
from hoichan.testing.shelf import write_version
from hoichan.types import DeliveryState, DocumentKind, Outcome, RefusalCode, StudyState
from service import explain, wiring
from tests.integration.test_governance import MODELS, Desk


class Site(Desk):
    """A desk whose studies have an answer that was delivered, and are analysed again."""

    def answered(self, name="first"):
        """A study with its answer, which every receiver has."""
        study = self.arrive(name)
        _, report = self.analyst.analyse(study.study_instance_uid, study.revision)
        assert report.outcome is not Outcome.NOT_ANALYSED
        for one in self.house.studies.deliveries(study.study_instance_uid):
            self.house.studies.acknowledged(one.idempotency_key, "0x0000")
        return study, report

    def again(self, study):
        """`hoichan replay --from analyse`, and what a worker that was started since makes of it."""
        uid = study.study_instance_uid
        assert self.house.steering.analyse_again(uid) == study.revision
        self.roster = wiring.roster(self.house)
        self.analyst = replace(self.analyst, roster=self.roster, runner=wiring.runner(self.house))
        self.house.studies.begin(uid, study.revision)
        _, report = self.analyst.analyse(uid, study.revision)
        self.house.studies.end(uid, study.revision)
        return report

    def gone(self):
        """Somebody removes the model that answered."""
        shutil.rmtree(self.shelf / "tiny")

    def broken(self):
        """The weights are there, and the runtime cannot make numbers of them."""
        self.gone()
        write_version(self.shelf, MODELS / "nan.onnx")

    def frozen(self):
        """A person keeps the model silent."""
        self.decide(Action.FREEZE, "1.0.0", reason="drift")

    def shown(self, study):
        """The study as the page shows it."""
        return ReadingSql(self.house.engine, self.house.objects).study(study.study_instance_uid)

    def last(self, study):
        """The last line of the trail."""
        return self.house.studies.trail(study.study_instance_uid)[-1]


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
    yield opened
    opened.house.engine.dispose()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Site.gone, RefusalCode.NO_MODEL),
        (Site.broken, RefusalCode.MODEL_FAILED),
        (Site.frozen, RefusalCode.MODEL_FROZEN),
    ],
)
def test_the_answer_stands_where_the_model_cannot_be_asked_again(site, fault, why):
    """The other models refuse the film as they did before: that is no news of it."""
    study, report = site.answered()
    uid = study.study_instance_uid
    before = site.shown(study).entry
    fault(site)
    assert site.again(study) is None
    after = site.shown(study)
    assert (after.entry.state, after.entry.state_reason) == (StudyState.DELIVERED, None)
    assert after.entry == before
    assert after.entry.report.report_uid == report.report_uid
    assert {one.report_uid for one in site.house.studies.deliveries(uid)} == {report.report_uid}
    assert {one.state for one in site.house.studies.deliveries(uid)} == {DeliveryState.SENT}
    assert site.house.studies.unfinished() == []
    assert site.last(study).event == "answer_kept"
    assert site.last(study).details["refusals"] == why
    assert site.last(study).details["models"] == "Tiny"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Tiny gave no answer. The model is not in place any more. The former answer stands"),
        ("vi", "Tiny không cho kết quả. Mô hình không còn trên máy. Kết quả trước vẫn giữ nguyên"),
    ],
)
def test_the_trail_and_where_the_study_is_say_it_in_plain_words(site, language, said):
    study, _ = site.answered()
    uid = study.study_instance_uid
    site.gone()
    site.again(study)
    house = site.house
    spoken = house.settings.site.model_copy(update={"language": language})
    house = replace(house, settings=house.settings.model_copy(update={"site": spoken}))
    entries = ReadingSql(house.engine, house.objects).told(uid)
    assert said in list(explain.trail(entries, language, spoken.zone))[-1]
    (shown,) = [line for line in explain.where(house, uid) if said in line]
    assert shown.startswith("!")


def test_the_next_try_with_the_model_in_place_confirms_it_and_sends_nothing(site):
    study, report = site.answered()
    site.gone()
    site.again(study)
    write_version(site.shelf, MODELS / "plain.onnx")
    assert site.again(study).report_uid == report.report_uid
    assert site.last(study).event == "report_confirmed"
    assert len(site.house.studies.deliveries(study.study_instance_uid)) == 1
    assert not any(line.startswith("!") for line in explain.where(site.house, study.study_instance_uid))


def test_a_refused_delivery_still_wants_a_person(site):
    study, _ = site.answered()
    uid = study.study_instance_uid
    (delivery,) = site.house.studies.deliveries(uid)
    site.house.studies.revive(delivery.idempotency_key, even_sent=True)
    site.house.studies.refused(delivery.idempotency_key, status="HTTP 422")
    site.gone()
    site.again(study)
    assert site.shown(study).entry.state is StudyState.REPORTED


def test_a_late_image_without_a_model_is_not_analysed_and_says_so(site):
    """The former answer knows nothing of that image: it must not pass for the answer."""
    study, former = site.answered()
    site.gone()
    site.roster = wiring.roster(site.house)
    site.analyst = replace(site.analyst, roster=site.roster)
    assert site.house.steering.assemble_again(study.study_instance_uid)
    current = site.house.studies.current(study.study_instance_uid)
    later = site.house.studies.assemble(replace(current, closed_by="quiet_time"))
    _, report = site.analyst.analyse(later.study_instance_uid, later.revision)
    assert (later.revision, report.outcome) == (2, Outcome.NOT_ANALYSED)
    assert report.predecessor == former.report_uid
    assert site.shown(study).entry.state is StudyState.NOT_ANALYSED


def test_an_image_that_was_taken_back_meanwhile_has_no_answer_any_more(site):
    """A note that came between the question and the work makes no revision of its own."""
    study, former = site.answered()
    uid = study.study_instance_uid
    site.gone()
    site.house.steering.analyse_again(uid)
    (image,) = study.instances
    studies = site.house.studies
    assert studies.reject(uid, [image.sop_instance_uid], note="1.2.9", title="113001", revise=True) is None
    report = site.again(study)
    assert (report.outcome, report.predecessor) == (Outcome.NOT_ANALYSED, former.report_uid)
    assert site.shown(study).entry.state is StudyState.NOT_ANALYSED


def test_an_answer_that_was_taken_back_does_not_stand(site):
    study, former = site.answered()
    uid, studies = study.study_instance_uid, site.house.studies
    (delivery,) = studies.deliveries(uid)
    sr = next(one.uid for one in studies.documents(delivery) if one.kind is DocumentKind.SR)
    assert studies.take_back(uid, [sr], note="1.2.9", title="113037") == [former.report_uid]
    site.gone()
    assert site.again(study).outcome is Outcome.NOT_ANALYSED
    assert studies.keep(studies.load(uid, 1), answer=former.report_uid, unheard=()) is False


def test_a_crash_after_the_answer_was_kept_tells_it_once(site):
    study, _ = site.answered()
    uid = study.study_instance_uid
    site.gone()
    site.again(study)
    assert site.analyst.analyse(uid, study.revision)[1] is None
    events = [line.event for line in site.house.studies.trail(uid)]
    assert events.count("answer_kept") == 1


def test_what_was_cancelled_meanwhile_stays_cancelled(site):
    study, _ = site.answered()
    uid = study.study_instance_uid
    site.gone()
    site.house.steering.analyse_again(uid)
    site.house.steering.cancel(uid)
    site.roster = wiring.roster(site.house)
    site.analyst = replace(site.analyst, roster=site.roster)
    assert site.analyst.analyse(uid, study.revision)[1] is None
    assert site.last(study).event == "analysis_discarded"
    assert site.shown(study).entry.state is StudyState.CANCELLED


def test_a_version_that_refuses_the_film_itself_is_an_answer(site):
    """What the model that now runs sees in the pixels replaces what the former one said."""
    study, former = site.answered()
    site.gone()
    write_version(site.shelf, MODELS / "plain.onnx", version="1.1.0")
    site.analyst = replace(site.analyst, runner=FakeRunner(site.house.clock))
    site.house.steering.analyse_again(study.study_instance_uid)
    site.analyst.runner.refuses = RefusalCode.NOT_FRONTAL_CHEST
    site.roster = wiring.roster(site.house)
    site.analyst = replace(site.analyst, roster=site.roster)
    _, report = site.analyst.analyse(study.study_instance_uid, study.revision)
    assert (report.outcome, report.predecessor) == (Outcome.NOT_ANALYSED, former.report_uid)
    assert site.last(study).event == "report_saved"
    assert site.shown(study).entry.state is StudyState.NOT_ANALYSED
