"""Somebody begins to read: each EMR that gets Tasks hears it once, between the result and the signature."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from hoichan.adapters.begun_sql import BegunSql
from hoichan.adapters.review_receivers import have_it
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.schema import trail
from hoichan.reporting.deliveries import plan, reading_key
from hoichan.settings import FhirDestination, FolderDestination
from hoichan.testing.ports import FakeEncoder
from hoichan.testing.reading import a_record, arrive, assemble, report
from hoichan.testing.reviews import SIGNER, a_draft, a_review
from hoichan.types import DeliveryState, Document, DocumentKind, ReportStatus, SOPInstanceUID, StudyState
from service.begun import Begun
from tests.unit.encoding.test_fhir_task import bundle, task

RECEIVERS = (
    FolderDestination(name="pacs", kind="folder", path="pacs"),
    FhirDestination(name="emr", kind="fhir", url="http://127.0.0.1/fhir"),
    FhirDestination(name="asks_not", kind="fhir", url="http://127.0.0.1/a", review_task=False),
    FhirDestination(name="imr", kind="fhir", url="http://127.0.0.1/b", content="imr"),
)


class Desk:
    """A record with a report of the machine that waits for its receivers."""

    def __init__(self, folder):
        self.record = a_record(folder)
        settings = self.record.settings.model_copy(update={"destinations": RECEIVERS})
        self.study = assemble(self.record, arrive(self.record, "one"))
        self.report = report(self.record, self.study, {"pleural_effusion": 0.91}, encode=self.encode)
        self.sql = BegunSql(self.record.engine, self.record.reading.objects, self.record.clock)
        self.begun = Begun(self.sql, settings, self.record.clock)
        self.key = reading_key(self.report.report_uid, "emr")

    def encode(self, study, made):
        others = [one for one in FakeEncoder().encode(study, made) if one.kind is not DocumentKind.FHIR]
        kept = Document(
            kind=DocumentKind.FHIR,
            uid="1.2",
            sop_class_uid=None,
            media_type="application/fhir+json",
            content=bundle(made, study),
        )
        return [*others, kept]

    def tell(self):
        self.record.clock.advance(1)
        return self.begun.tell(self.report, SIGNER)

    def due(self):
        return [one.idempotency_key for one in self.sql.due(self.record.clock.now())]

    def send(self, key):
        self.sql.acknowledged(key, "200")

    def sign(self):
        self.record.clock.advance(1)
        now = self.record.clock.now()
        reviews = ReviewsSql(self.record.engine, self.record.reading.objects, self.record.clock)
        draft = reviews.save_draft(replace(a_draft(self.report), version=0))
        review = a_review(self.report, self.study, draft=draft)
        signed = replace(
            self.report,
            report_uid=review.report_uid,
            status=ReportStatus.FINAL,
            created_at=now,
            review=review,
        )
        made = FakeEncoder().encode(self.study, signed)
        planned = plan(signed, self.study, RECEIVERS[1:2], made, now)
        reviews.sign(
            review, signed, study=self.study, draft_version=draft.version, made=made, planned=planned
        )
        return planned[0].idempotency_key


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.record.engine.dispose()


def test_it_is_told_once_and_after_the_result(desk):
    first = f"{desk.report.report_uid}:emr"
    assert desk.tell() == 1
    assert desk.tell() == 0
    assert first in desk.due()
    assert desk.key not in desk.due()
    desk.send(first)
    assert desk.key in desk.due()
    (note,) = desk.sql.documents(desk.sql.delivery(desk.key))
    _, begun = task(note.content)
    assert (begun["status"], begun["owner"]["display"]) == ("in-progress", SIGNER.full_name)
    with desk.record.engine.connect() as connection:
        told = connection.execute(sa.select(trail.c.details).where(trail.c.event == "reading_told")).scalars()
        assert list(told) == [{"revision": 1, "deliveries": 1}]


def test_only_receivers_that_have_or_await_the_result_are_told(desk):
    desk.sql.refused(f"{desk.report.report_uid}:emr", status="HTTP 404")
    assert desk.tell() == 0


def test_the_signature_comes_after_it_and_it_never_after_the_signature(desk):
    desk.send(f"{desk.report.report_uid}:emr")
    desk.tell()
    signed = desk.sign()
    assert desk.key in desk.due()
    assert signed not in desk.due()
    desk.sql.refused(desk.key, status="Task: none")
    desk.send(signed)
    desk.sql.revive(desk.key)
    assert desk.sql.overtaken(desk.key)


def test_after_a_signature_nothing_begins(desk):
    desk.send(f"{desk.report.report_uid}:emr")
    desk.sign()
    assert desk.tell() == 0
    note = desk.encode(desk.study, desk.report)[-1]
    assert not desk.sql.keep(desk.report, replace(note, kind=DocumentKind.FHIR_TASK), [])


def test_a_note_is_no_newer_report(desk):
    first = f"{desk.report.report_uid}:emr"
    desk.tell()
    assert not desk.sql.followed(first)
    desk.sql.refused(first, status="HTTP 404")
    desk.send(desk.key)
    desk.sql.revive(first)
    assert not desk.sql.overtaken(first)


def test_a_note_that_waits_keeps_no_study_from_being_delivered(desk):
    desk.tell()
    for name in ("pacs", "emr"):
        desk.send(f"{desk.report.report_uid}:{name}")
    assert desk.sql.delivery(desk.key).state is DeliveryState.PENDING
    uid = desk.study.study_instance_uid
    entry = desk.record.reading.study(uid).entry
    assert entry.state is StudyState.DELIVERED
    assert [one.destination for one in entry.deliveries] == ["emr", "pacs"]


def test_a_receiver_of_a_result_is_named_once_where_it_is_taken_back(desk):
    desk.tell()
    with desk.record.engine.connect() as connection:
        assert have_it(connection, SOPInstanceUID(desk.report.report_uid)) == ["emr", "pacs"]
