"""Stop the work on a study, or repeat it from a step, without a second effect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.errors import StudyUnknown
from hoichan.reporting.deliveries import plan
from hoichan.settings import FolderDestination
from hoichan.testing.ports import FakeEncoder, FakeRunner
from hoichan.testing.reading import DESTINATIONS, a_record, arrive, assemble, fill
from hoichan.testing.reports import a_manifest, a_report
from hoichan.types import DeliveryState, DocumentKind, RefusalCode, StudyInstanceUID, StudyState
from service.pipeline import analyse

MORE = (*DESTINATIONS, FolderDestination(name="share", kind="folder", path="share"))


class House:
    """A record, and what a person may ask of it."""

    def __init__(self, folder):
        self.record = a_record(folder)
        self.studies, self.clock = self.record.studies, self.record.clock
        objects = ObjectsDisk(self.record.settings.storage.data_dir / "objects")
        self.steering = SteeringSql(self.record.engine, objects, self.clock)

    def closed(self, name):
        return assemble(self.record, replace(arrive(self.record, name), closed_by="quiet_time"))

    def analyse(self, study, destinations=DESTINATIONS, manifests=None, refuses=None):
        runner = FakeRunner(self.clock)
        runner.refuses = refuses
        return analyse(
            self.studies.load(study.study_instance_uid, study.revision),
            manifests=[a_manifest()] if manifests is None else manifests,
            runner=runner,
            encoder=FakeEncoder(),
            studies=self.studies,
            destinations=destinations,
            clock=self.clock,
        )

    def state(self, uid):
        return self.record.reading.study(uid).entry.state

    def events(self, uid):
        return [line.event for line in self.studies.trail(uid)]

    def deliver_all(self, uid):
        for one in self.studies.deliveries(uid):
            if one.state is DeliveryState.PENDING:
                self.studies.acknowledged(one.idempotency_key, "0x0000")


@pytest.fixture
def house(tmp_path):
    opened = House(tmp_path)
    yield opened
    opened.record.engine.dispose()


def test_what_waits_is_stopped_and_taken_up_again_by_a_replay(house):
    study = house.closed("a")
    uid = study.study_instance_uid
    stopped = house.steering.cancel(uid)
    assert (stopped.revisions, stopped.deliveries) == ((1,), 0)
    assert house.state(uid) is StudyState.CANCELLED
    assert house.studies.unfinished() == []
    assert house.studies.rerun(uid) == 1
    assert house.state(uid) is StudyState.ASSEMBLED
    assert house.studies.unfinished() == [(uid, 1, 1)]


def test_the_answer_of_an_analysis_that_was_stopped_is_thrown_away(house):
    study = house.closed("a")
    uid = study.study_instance_uid
    house.studies.begin(uid, 1)
    house.steering.cancel(uid)
    house.analyse(study)
    assert house.state(uid) is StudyState.CANCELLED
    assert house.studies.deliveries(uid) == []
    assert house.events(uid)[-1] == "analysis_discarded"


def test_what_is_not_sent_is_stopped_and_what_was_sent_stays(house):
    study = house.closed("a")
    uid = study.study_instance_uid
    house.analyse(study)
    first, second = house.studies.deliveries(uid)
    house.studies.acknowledged(first.idempotency_key, "0x0000")
    house.studies.refused(second.idempotency_key, status="HTTP 422")
    assert house.steering.cancel(uid).deliveries == 1
    assert [one.state for one in house.studies.deliveries(uid)] == [
        DeliveryState.SENT,
        DeliveryState.CANCELLED,
    ]
    assert house.studies.due(house.clock.now()) == []
    assert house.steering.cancel(uid).deliveries == 0
    assert house.events(uid).count("work_cancelled") == 1


def test_a_repeated_analysis_comes_to_the_same_report_and_sends_nothing_twice(house):
    study = house.closed("a")
    uid = study.study_instance_uid
    report = house.analyse(study)
    house.deliver_all(uid)
    assert house.state(uid) is StudyState.DELIVERED
    assert house.steering.analyse_again(uid) == 1
    assert house.state(uid) is StudyState.ASSEMBLED
    assert house.analyse(study).report_uid == report.report_uid
    assert house.state(uid) is StudyState.DELIVERED
    assert {one.state for one in house.studies.deliveries(uid)} == {DeliveryState.SENT}
    assert house.events(uid)[-1] == "report_confirmed"
    assert house.studies.unfinished() == []


def test_what_another_version_says_replaces_what_the_former_said_of_the_same_images(house):
    """Else the receivers would have two reports side by side that nobody replaced."""
    study = house.closed("a")
    uid = study.study_instance_uid
    nobody = house.analyse(study, manifests=[])
    assert nobody.predecessor is None
    house.deliver_all(uid)
    told = [nobody]
    for version in ("0.1.0", "0.2.0"):
        house.clock.advance(60)
        house.steering.analyse_again(uid)
        told.append(house.analyse(study, manifests=[a_manifest(algorithm_version=version)]))
        assert told[-1].predecessor == told[-2].report_uid
        house.deliver_all(uid)
    assert len({one.report_uid for one in told}) == 3
    view = house.record.reading.study(uid)
    assert view.entry.report.report_uid == view.documents[0].report_uid == told[-1].report_uid
    house.steering.analyse_again(uid)  # the same version once more: nothing changes
    house.analyse(study, manifests=[a_manifest(algorithm_version="0.2.0")])
    assert house.events(uid)[-1] == "report_confirmed"
    assert house.studies.latest_report_uid(uid, before=2) == told[-1].report_uid
    assert {one.state for one in house.studies.deliveries(uid)} == {DeliveryState.SENT}


def test_an_answer_that_was_replaced_by_a_refusal_stands_again_after_the_next_try(house):
    """Models answer, refuse, and answer the same again: receivers and page end with the answer, told once."""
    study = house.closed("a")
    uid = study.study_instance_uid
    first = house.analyse(study)
    for refuses in (RefusalCode.NOT_FRONTAL_CHEST, None):
        house.deliver_all(uid)
        house.clock.advance(60)
        house.steering.analyse_again(uid)
        last = house.analyse(study, refuses=refuses)
    assert last.report_uid != first.report_uid
    assert last.predecessor != first.report_uid
    assert last.findings == first.findings
    assert house.record.reading.study(uid).entry.report.report_uid == last.report_uid
    new = [one for one in house.studies.deliveries(uid) if one.state is DeliveryState.PENDING]
    assert {one.report_uid for one in new} == {last.report_uid}
    house.deliver_all(uid)
    house.steering.analyse_again(uid)
    assert house.analyse(study).report_uid == last.report_uid
    assert house.events(uid)[-1] == "report_confirmed"
    assert house.state(uid) is StudyState.DELIVERED


def test_a_repeated_analysis_reaches_a_receiver_that_was_configured_since(house):
    study = house.closed("a")
    uid = study.study_instance_uid
    house.analyse(study)
    house.deliver_all(uid)
    house.steering.analyse_again(uid)
    house.analyse(study, MORE)
    new = [one for one in house.studies.deliveries(uid) if one.state is DeliveryState.PENDING]
    assert [one.destination for one in new] == ["share"]
    assert house.state(uid) is StudyState.REPORTED


def test_a_report_that_was_taken_back_goes_to_no_receiver_that_was_configured_since(house):
    study = house.closed("a")
    uid, report = study.study_instance_uid, house.analyse(study)
    house.deliver_all(uid)
    made = [one for delivery in house.studies.deliveries(uid) for one in house.studies.documents(delivery)]
    sr = next(one.uid for one in made if one.kind is DocumentKind.SR)
    assert house.studies.take_back(uid, [sr], note="2.25.9", title="113037") == [report.report_uid]
    house.steering.analyse_again(uid)
    house.analyse(study, MORE)
    assert {one.destination for one in house.studies.deliveries(uid)} == {d.name for d in DESTINATIONS}


def test_putting_together_again_makes_a_revision_over_all_images(house):
    study = house.closed("a")
    uid = study.study_instance_uid
    house.analyse(study)
    assert house.steering.assemble_again(uid)
    again = house.studies.assemble(replace(house.studies.current(uid), closed_by="quiet_time"))
    assert (again.revision, len(again.instances)) == (2, len(study.instances))
    assert house.studies.load(uid, 2).instances


def test_nothing_a_machine_does_follows_on_a_signature(house):
    uids = fill(house.record)
    with house.record.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE studies SET state = 'signed' WHERE study_instance_uid = ?", (uids["urgent"],)
        )
    assert house.steering.analyse_again(uids["urgent"]) is None
    assert not house.steering.assemble_again(uids["urgent"])


def test_an_unknown_study_is_said_so(house):
    for ask in (house.steering.cancel, house.steering.analyse_again, house.steering.assemble_again):
        with pytest.raises(StudyUnknown):
            ask(StudyInstanceUID("1.2.3"))


def test_a_step_repeated_after_a_crash_is_told_once(house):
    study = house.closed("a")
    report = a_report(study)
    documents = FakeEncoder().encode(study, report)
    deliveries = plan(report, study, DESTINATIONS, documents, house.clock.now())
    saved = [
        house.studies.save(study, report=report, documents=documents, deliveries=deliveries) for _ in "ab"
    ]
    assert saved == [True, False]
    assert house.events(study.study_instance_uid).count("report_saved") == 1
    assert "report_confirmed" not in house.events(study.study_instance_uid)
