"""The record of studies: what every implementation of the `Studies` port must do.

Runs on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names an empty database.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.schema import metadata
from hoichan.errors import RecordsError, RecordsUnavailable, StudyUnknown
from hoichan.reporting.deliveries import plan
from hoichan.reporting.reports import compose
from hoichan.settings import FolderDestination, Settings
from hoichan.testing.database import migrated
from hoichan.testing.datasets import described, film
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_finding, a_manifest
from hoichan.types import DeliveryState, DocumentKind, Refusal, RefusalCode, StudyInstanceUID, StudyState

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
DESTINATIONS = (
    FolderDestination(name="one", kind="folder", path="one"),
    FolderDestination(name="two", kind="folder", path="two"),
)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=KINDS)
def studies(request, tmp_path, clock):
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    if request.param == "postgresql":
        url = os.environ["HOICHAN_TEST_POSTGRESQL"]
    engine = open_database(url)
    migrated(engine)
    yield StudiesSql(engine, ObjectsDisk(tmp_path / "objects"), clock)
    if request.param == "postgresql":
        metadata.drop_all(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE alembic_version"))
    engine.dispose()


def arrive(studies, study):
    return studies.add_arrivals(study, study.instances)


def assembled(studies, study):
    arrive(studies, study)
    current = studies.current(study.study_instance_uid)
    return studies.assemble(replace(current, closed_by="association_released"))


def save(studies, study, clock, *, destinations=DESTINATIONS, predecessor=None, findings=True):
    manifest = a_manifest()
    results = [FakeRunner(clock).run(manifest, study, study.instances[0])] if findings else []
    report = compose(
        study,
        results=results,
        findings=[a_finding(study, "pleural_effusion", 0.9)] if findings else [],
        refusals=(),
        manifests=[manifest] if findings else [],
        predecessor=predecessor,
        now=clock.now(),
    )
    documents = FakeEncoder().encode(study, report)
    deliveries = plan(report, study, destinations, documents, clock.now())
    return report, studies.save(study, report=report, documents=documents, deliveries=deliveries)


def state(studies, study):
    return studies.current(study.study_instance_uid).state


def test_an_arrival_is_recorded_once(studies):
    study = described(film())
    assert [arrive(studies, study), arrive(studies, study)] == [1, 0]
    assert state(studies, study) is StudyState.RECEIVING
    assert studies.receiving() == [study.study_instance_uid]
    assert [line.event for line in studies.trail(study.study_instance_uid)] == ["instances_received"]


def test_what_was_recorded_reads_back_whole(studies):
    study = described(film())
    closed = assembled(studies, study)
    loaded = studies.load(study.study_instance_uid, 1)
    assert loaded == replace(closed, state=StudyState.ASSEMBLED)
    assert loaded.patient.patient_name.reveal() == "Nguyễn^An^Văn"
    assert loaded.instances == study.instances
    assert loaded.study_datetime == study.study_datetime


def test_a_study_is_assembled_once(studies):
    study = described(film())
    assert assembled(studies, study).revision == 1
    assert studies.assemble(studies.current(study.study_instance_uid)) is None
    assert studies.unfinished() == [(study.study_instance_uid, 1, 0)]


def test_late_instance_makes_a_new_revision(studies, clock):
    first = assembled(studies, described(film()))
    save(studies, first, clock)
    second = assembled(studies, described(film(instance="late")))
    assert (second.revision, len(second.instances)) == (2, 2)
    assert len(studies.load(first.study_instance_uid, 1).instances) == 1
    assert studies.latest_report_uid(first.study_instance_uid, before=2) is not None
    assert studies.latest_report_uid(first.study_instance_uid, before=1) is None


def test_the_answer_that_stands_is_of_just_this_revision(studies, clock):
    first = assembled(studies, described(film()))
    assert studies.answer(first) is None
    report, _ = save(studies, first, clock)
    kept = studies.answer(first)
    assert (kept.report_uid, kept.outcome) == (report.report_uid, report.outcome)
    read = [(one.algorithm_name, one.sop_instance_uid) for one in kept.results]
    assert read == [(one.algorithm_name, one.sop_instance_uid) for one in report.results]
    second = assembled(studies, described(film(instance="late")))
    assert studies.answer(second) is None
    assert studies.answer(studies.load(first.study_instance_uid, 1)).report_uid == report.report_uid


def test_an_answer_is_kept_once_and_only_where_it_stands(studies, clock):
    study = assembled(studies, described(film()))
    uid = study.study_instance_uid
    report, _ = save(studies, study, clock)
    silent = [Refusal(code=RefusalCode.MODEL_FAILED, algorithm_name="M", series_instance_uid=None)]
    assert studies.keep(study, answer=report.report_uid, unheard=silent)  # a repeated step after a crash
    assert studies.trail(uid)[-1].event == "report_saved"
    studies.fail(uid, 1, code="model.runner_failed")
    studies.rerun(uid)
    assert not studies.keep(study, answer="1.2.3", unheard=silent)
    assert studies.unfinished() == [(uid, 1, 1)]
    assert studies.keep(study, answer=report.report_uid, unheard=silent)
    line = studies.trail(uid)[-1]
    assert (line.event, line.details["models"], line.details["refusals"]) == (
        "answer_kept",
        "M",
        "model_failed",
    )
    assert state(studies, study) is StudyState.REPORTED
    assert (studies.unfinished(), len(studies.deliveries(uid))) == ([], 2)


def test_images_that_come_during_a_repetition_stay_to_be_assembled(studies, clock):
    study = assembled(studies, described(film()))
    uid = study.study_instance_uid
    report, _ = save(studies, study, clock)
    studies.fail(uid, 1, code="model.runner_failed")
    studies.rerun(uid)
    arrive(studies, described(film(instance="late")))
    silent = [Refusal(code=RefusalCode.MODEL_FAILED, algorithm_name="M", series_instance_uid=None)]
    assert studies.keep(study, answer=report.report_uid, unheard=silent)
    assert state(studies, study) is StudyState.RECEIVING
    assert studies.receiving() == [uid]


def test_report_and_deliveries_are_saved_once(studies, clock):
    study = assembled(studies, described(film()))
    (report, first), (_, second) = save(studies, study, clock), save(studies, study, clock)
    assert (first, second) == (True, False)
    assert state(studies, study) is StudyState.REPORTED
    assert studies.unfinished() == []
    assert [d.destination for d in studies.deliveries(study.study_instance_uid)] == ["one", "two"]
    assert studies.document(report.report_uid, DocumentKind.SR).content == b"sr with_findings"


def test_documents_come_in_the_order_of_the_delivery(studies, clock):
    study = assembled(studies, described(film()))
    save(studies, study, clock)
    (delivery, _) = studies.due(clock.now())
    assert [d.kind for d in studies.documents(delivery)] == ["sc", "sr", "fhir"]


def test_the_last_acknowledgement_makes_the_study_delivered(studies, clock):
    study = assembled(studies, described(film()))
    save(studies, study, clock)
    one, two = studies.due(clock.now())
    studies.acknowledged(one.idempotency_key, "0x0000")
    assert state(studies, study) is StudyState.REPORTED
    studies.acknowledged(two.idempotency_key, "201")
    studies.acknowledged(two.idempotency_key, "201")  # a step that was repeated after a crash
    assert state(studies, study) is StudyState.DELIVERED
    events = [line.event for line in studies.trail(study.study_instance_uid)]
    assert events.count("delivery_acknowledged") == 2
    assert studies.due(clock.now()) == []


def test_a_study_that_was_not_analysed_stays_so_when_delivered(studies, clock):
    study = assembled(studies, described(film()))
    save(studies, study, clock, findings=False)
    for delivery in studies.due(clock.now()):
        studies.acknowledged(delivery.idempotency_key, "ok")
    assert state(studies, study) is StudyState.NOT_ANALYSED


def test_a_postponed_delivery_is_due_later(studies, clock):
    study = assembled(studies, described(film()))
    save(studies, study, clock, destinations=DESTINATIONS[:1])
    (delivery,) = studies.due(clock.now())
    until = clock.now() + timedelta(seconds=30)
    studies.postponed(delivery.idempotency_key, detail="timeout", until=until)
    assert studies.due(clock.now()) == []
    clock.advance(30)
    (again,) = studies.due(clock.now())
    assert (again.attempts, again.idempotency_key) == (1, delivery.idempotency_key)


def test_a_refused_delivery_waits_for_a_person(studies, clock):
    study = assembled(studies, described(film()))
    save(studies, study, clock, destinations=DESTINATIONS[:1])
    (delivery,) = studies.due(clock.now())
    studies.refused(delivery.idempotency_key, status="0xC000")
    assert studies.due(clock.now()) == []
    assert studies.delivery(delivery.idempotency_key).state is DeliveryState.DEAD
    studies.revive(delivery.idempotency_key)
    assert [d.idempotency_key for d in studies.due(clock.now())] == [delivery.idempotency_key]


def test_an_older_report_goes_before_the_one_that_supersedes_it(studies, clock):
    first = assembled(studies, described(film()))
    save(studies, first, clock, destinations=DESTINATIONS[:1])
    second = assembled(studies, described(film(instance="late")))
    save(studies, second, clock, destinations=DESTINATIONS[:1])
    (due,) = studies.due(clock.now())
    assert studies.load(due.study_instance_uid, 1) and due == studies.deliveries(first.study_instance_uid)[0]
    studies.acknowledged(due.idempotency_key, "ok")
    assert state(studies, first) is StudyState.REPORTED  # the newest revision is not there yet
    (due,) = studies.due(clock.now())
    studies.acknowledged(due.idempotency_key, "ok")
    assert state(studies, first) is StudyState.DELIVERED


def test_a_failed_revision_can_be_asked_for_again(studies):
    study = assembled(studies, described(film()))
    studies.fail(study.study_instance_uid, 1, code="model.runner_failed")
    assert (state(studies, study), studies.unfinished()) == (StudyState.FAILED, [])
    assert studies.rerun(study.study_instance_uid) == 1
    assert studies.unfinished() == [(study.study_instance_uid, 1, 1)]
    assert studies.rerun(study.study_instance_uid) is None


def test_a_revision_without_an_answer_can_be_taken_up_again(studies, clock):
    study = assembled(studies, described(film()))
    uid = study.study_instance_uid
    assert studies.take_up(uid, 1) == 1
    assert studies.unfinished() == [(uid, 1, 1)]
    save(studies, study, clock)
    assert studies.take_up(uid, 1) is None


def test_documents_of_ours_are_known(studies, clock):
    study = assembled(studies, described(film()))
    report, _ = save(studies, study, clock)
    sr = studies.document(report.report_uid, DocumentKind.SR)
    assert studies.own([sr.uid, study.instances[0].sop_instance_uid]) == {sr.uid}


def test_unknown_things_are_said_to_be_unknown(studies):
    with pytest.raises(StudyUnknown):
        studies.load(StudyInstanceUID("1.2.3"), 1)
    with pytest.raises(RecordsError):
        studies.delivery("none")
    assert studies.current(StudyInstanceUID("1.2.3")) is None


def test_a_database_that_is_gone_is_worth_a_retry(tmp_path, clock):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.sqlite'}")
    with pytest.raises(RecordsUnavailable) as caught:
        StudiesSql(engine, ObjectsDisk(tmp_path), clock).receiving()
    assert caught.value.retryable
    engine.dispose()


def test_settings_name_the_outbox_when_no_destination_is_given():
    assert [d.name for d in Settings().effective_destinations] == ["outbox"]


def test_starts_that_had_no_end_are_counted(studies):
    study = assembled(studies, described(film()))
    uid = study.study_instance_uid
    assert [studies.begin(uid, 1), studies.begin(uid, 1)] == [1, 2]
    studies.end(uid, 1)
    assert studies.begin(uid, 1) == 1
    with pytest.raises(StudyUnknown):
        studies.begin(uid, 2)


@pytest.fixture
def post(studies, clock):
    """One delivery that waits; its key."""
    save(studies, assembled(studies, described(film())), clock, destinations=DESTINATIONS[:1])
    (delivery,) = studies.due(clock.now())
    return delivery.idempotency_key


def start(studies, key, times):
    return [studies.begin_try(key) for _ in range(times)]


def test_starts_of_a_delivery_that_had_no_end_are_counted(studies, post):
    assert start(studies, post, 3) == [1, 2, 3]
    studies.forgive_try(post)
    assert start(studies, post, 1) == [3]
    assert studies.begin_try("another") == 0


def test_a_start_is_forgiven_to_none_and_not_below(studies, post):
    for _ in range(2):
        studies.forgive_try(post)
    assert start(studies, post, 1) == [1]


def test_whatever_is_said_of_a_delivery_ends_the_count(studies, clock, post):
    for said in (
        lambda: studies.postponed(post, detail="timeout", until=clock.now()),
        lambda: studies.revive(post),
        lambda: (studies.refused(post, status="0xC000"), studies.revive(post)),
        lambda: (studies.withdrawn(post, reason="cancelled"), studies.revive(post)),
        lambda: (studies.acknowledged(post, "ok"), studies.revive(post, even_sent=True)),
    ):
        assert start(studies, post, 2) == [1, 2]
        said()
    assert start(studies, post, 1) == [1]


def test_every_start_is_an_attempt(studies, clock, post):
    start(studies, post, 2)
    studies.postponed(post, detail="timeout", until=clock.now())
    assert studies.delivery(post).attempts == 2
    studies.acknowledged(post, "ok")  # of another worker, that was thought dead
    assert studies.delivery(post).attempts == 3


def test_what_does_not_wait_any_more_is_not_begun(studies, post):
    studies.acknowledged(post, "ok")
    assert studies.begin_try(post) == 0


def test_a_delivery_that_killed_its_workers_is_a_dead_letter_until_a_person_asks(studies, clock, post):
    start(studies, post, 3)
    studies.set_aside(post, attempts=0, status="kills_worker")
    row = studies.delivery(post)
    assert (row.state, row.acknowledgement, row.attempts) == (DeliveryState.DEAD, "kills_worker", 3)
    line = studies.trail(row.study_instance_uid)[-1]
    assert line.event == "delivery_set_aside"
    assert line.details == {"destination": "one", "attempt": 3, "status": "kills_worker"}
    studies.revive(post)
    assert [d.idempotency_key for d in studies.due(clock.now())] == [post]
    assert start(studies, post, 1) == [1]


@pytest.mark.parametrize("said", ["postponed", "acknowledged", "withdrawn"])
def test_what_somebody_said_meanwhile_stands(studies, clock, post, said):
    start(studies, post, 3)
    match said:
        case "postponed":
            studies.postponed(post, detail="timeout", until=clock.now())
        case "acknowledged":
            studies.acknowledged(post, "ok")
        case "withdrawn":
            studies.withdrawn(post, reason="cancelled")
    before = studies.delivery(post)
    studies.set_aside(post, attempts=0, status="kills_worker")
    assert studies.delivery(post) == before


def test_two_who_begin_the_same_at_once_count_one_each(studies, post):
    with ThreadPoolExecutor(2) as pool:
        counted = list(pool.map(lambda _: start(studies, post, 5), range(2)))
    assert sorted(itertools.chain(*counted)) == list(range(1, 11))
