"""Documents of a kept report once more: what is kept suffices, or the models are asked after all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.reporting.begun import begun_report
from hoichan.testing.ports import FakeEncoder, FakeRunner
from hoichan.testing.reading import a_record, arrive, assemble
from hoichan.testing.reports import a_manifest
from hoichan.types import DeliveryState, StudyState
from service.pipeline import analyse
from service.recomposing import compose_again
from service.steering import Step, replay_from
from service.wiring import encoder, open_house


@pytest.fixture
def house(tmp_path):
    record = a_record(tmp_path)
    opened = open_house(record.settings)
    study = assemble(record, replace(arrive(record, "a"), closed_by="quiet_time"))
    yield opened, opened.studies.load(study.study_instance_uid, study.revision)
    opened.engine.dispose()
    record.engine.dispose()


def said(house, study):
    return analyse(
        study,
        manifests=[a_manifest()],
        runner=FakeRunner(house.clock),
        encoder=FakeEncoder(),
        studies=house.studies,
        destinations=(),
        clock=house.clock,
    )


def test_a_receiver_that_lacks_the_report_is_owed_it_once(house):
    house, study = house
    report, uid = said(house, study), study.study_instance_uid
    assert replay_from(house, uid, Step.COMPOSE).composed == 1
    (owed,) = house.studies.deliveries(uid)
    assert (owed.report_uid, owed.state) == (report.report_uid, DeliveryState.PENDING)
    again = replay_from(house, uid, Step.COMPOSE)
    assert (again.composed, again.is_empty) == (0, False)
    assert [line.event for line in house.studies.trail(uid)].count("report_confirmed") == 1
    assert house.studies.current(uid).state is StudyState.REPORTED


def test_without_an_answer_the_models_are_asked(house):
    house, study = house
    uid = study.study_instance_uid
    assert compose_again(house, uid) is None
    assert replay_from(house, uid, Step.COMPOSE).analysed_again == 1


def test_while_the_models_are_asked_again_they_answer(house):
    house, study = house
    uid = study.study_instance_uid
    said(house, study)
    house.steering.analyse_again(uid)
    assert compose_again(house, uid) is None


def test_what_a_person_began_never_leaves(house):
    house, study = house
    ReviewsSql(house.engine, house.objects, house.clock).begin(
        begun_report(study, house.clock.now()), who="bs.a"
    )
    with house.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE revisions SET state = 'reported'")
    assert compose_again(house, study.study_instance_uid) is None
    assert house.studies.deliveries(study.study_instance_uid) == []


def test_the_maps_come_back_and_the_words_are_the_same(house):
    house, study = house
    report = said(house, study)
    kept = ReviewsSql(house.engine, house.objects, house.clock).machine_report(study, maps=True)
    pairs = [
        (one.heatmap, other.heatmap)
        for finding, back in zip(report.findings, kept.findings, strict=True)
        for one, other in zip(finding.evidence, back.evidence, strict=True)
    ]
    assert any(one is not None for one, _ in pairs)
    for one, other in pairs:
        assert (one is None) == (other is None)
        assert one is None or np.abs(one - other).max() <= 1 / 255
    assert kept.findings == report.findings
    assert kept.conclusion == report.conclusion
    documents = {one.kind: one.uid for one in encoder(house).encode(study, report)}
    assert documents == {one.kind: one.uid for one in encoder(house).encode(study, kept)}
