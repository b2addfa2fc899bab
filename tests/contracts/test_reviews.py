"""Drafts, locks and signed reviews: on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names one."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from hoichan.adapters.audit_sql import AuditSql
from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.reviews_sql import Mark, ReviewsSql
from hoichan.adapters.schema import metadata
from hoichan.encoding.retraction import retraction_uid
from hoichan.errors import DraftChanged, PatientChanged, RecordsUnavailable, ReportChanged, StepRefused
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.privacy import Phi
from hoichan.reporting.deliveries import plan
from hoichan.reporting.reviews import sign, withdraw
from hoichan.reporting.sealing import is_sealed
from hoichan.reporting.signed import signed_report
from hoichan.settings import FhirDestination, FolderDestination
from hoichan.testing import a_report, a_study
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder
from hoichan.testing.reviews import SIGNER, a_draft
from hoichan.types import ReviewKind, StudyState
from service.reviews_check import check_reviews

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
DESTINATIONS = (
    FolderDestination(name="folder", kind="folder", path="out"),
    FhirDestination(name="emr", kind="fhir", url="http://127.0.0.1/fhir"),
)


class Site:
    """One study with a report of the machine, and what a signature needs."""

    def __init__(self, url, folder):
        self.clock = FakeClock()
        self.engine = open_database(url)
        migrated(self.engine)
        objects = ObjectsDisk(folder / "objects")
        self.studies = StudiesSql(self.engine, objects, self.clock)
        self.reviews = ReviewsSql(self.engine, objects, self.clock)
        self.retractions = RetractionsSql(self.engine, objects, self.clock)
        self.log = AuditSql(self.engine, folder / "audit.key")
        study = replace(a_study(), revision=0)
        self.studies.add_arrivals(study, study.instances)
        self.study = self.studies.assemble(study)
        self.report = a_report(self.study)
        self.keep(self.report)

    @property
    def uid(self):
        return self.study.study_instance_uid

    def keep(self, report):
        made = FakeEncoder().encode(self.study, report)
        planned = plan(report, self.study, DESTINATIONS, made, self.clock.now())
        self.studies.save(self.study, report=report, documents=made, deliveries=planned)

    def drafted(self):
        return self.reviews.save_draft(replace(a_draft(self.report), version=0))

    def made(self, draft, kind=ReviewKind.FINAL):
        """A signature that is not kept yet."""
        review = sign(
            self.report,
            draft,
            self.study,
            self.reviews.reviews(self.uid),
            signer=SIGNER,
            kind=kind,
            reason="" if kind is ReviewKind.FINAL else "Đo lại.",
            language="vi",
            may_train=True,
            now=self.clock.now(),
            stands=self.reviews.stands(self.uid),
        )
        report = signed_report(self.report, review, self.study, time="08:32")
        documents = FakeEncoder().encode(self.study, report)
        planned = plan(report, self.study, DESTINATIONS, documents, self.clock.now())
        rest = {"study": self.study, "made": documents, "planned": planned, "draft_version": draft.version}
        return review, report, rest

    def sign(self, kind=ReviewKind.FINAL):
        review, report, rest = self.made(self.drafted(), kind)
        self.reviews.sign(review, report, **rest)
        self.tell(review)
        return review

    def withdraw(self):
        before = self.reviews.reviews(self.uid)
        uid = retraction_uid(before[-1].report_uid)
        review = withdraw(before, uid=uid, signer=SIGNER, reason="Nhầm phim.", now=self.clock.now())
        self.reviews.withdraw(review)
        self.tell(review)
        return review

    def tell(self, review, outcome=Outcome.SUCCESS):
        withdrawn = review.kind is ReviewKind.WITHDRAWAL
        self.log.append(
            AuditRecord(
                what=Audited.RESULT_WITHDRAWN if withdrawn else Audited.RESULT_SIGNED,
                when=self.clock.now(),
                who=review.reviewer,
                role="radiologist",
                source="10.0.0.7",
                outcome=outcome,
                uids=(self.uid, review.report_uid),
                detail=f"{review.kind.value} {review.content_sha256}",
            )
        )


@pytest.fixture(params=KINDS)
def site(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    if request.param == "postgresql":
        url = os.environ["HOICHAN_TEST_POSTGRESQL"]
    made = Site(url, tmp_path)
    yield made
    if request.param == "postgresql":
        metadata.drop_all(made.engine)
        with made.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE alembic_version"))
    made.engine.dispose()


# ------------------------------------------------------------------ drafts
def test_a_draft_comes_back_as_it_was_saved(site):
    kept = site.drafted()
    assert kept.version == 1
    assert site.reviews.draft(site.uid) == kept
    site.reviews.discard_draft(site.uid)
    assert site.reviews.draft(site.uid) is None


def test_of_two_who_save_one_is_told(site):
    first = site.drafted()
    with pytest.raises(DraftChanged):
        site.drafted()  # as if there were none
    second = site.reviews.save_draft(first)
    assert second.version == 2
    with pytest.raises(DraftChanged):
        site.reviews.save_draft(first)
    assert site.reviews.draft(site.uid) == second


def test_saves_at_once_lose_nothing(site):
    base, told = site.drafted(), []

    def save():
        try:
            told.append(site.reviews.save_draft(base).version)
        except DraftChanged:
            told.append("changed")

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, told)) == ["2", "changed", "changed", "changed"]


# ------------------------------------------------------------------ locks
def test_a_lock_is_of_whoever_was_first_until_it_expires(site):
    first = site.reviews.lock(site.uid, "bs.an", 60)
    assert site.reviews.lock(site.uid, "bs.chau", 60).reader == "bs.an"
    renewed = site.reviews.lock(site.uid, "bs.an", 0.05)
    assert (renewed.reader, renewed.since) == (first.reader, first.since)  # it began when it began
    assert renewed.until < first.until  # by the database's clock, and by what was said last
    deadline = time.monotonic() + 60
    while site.reviews.locked(site.uid) is not None:
        assert time.monotonic() < deadline
    assert site.reviews.lock(site.uid, "bs.chau", 60).reader == "bs.chau"
    site.reviews.release(site.uid, "bs.an")
    assert site.reviews.locked(site.uid).reader == "bs.chau"
    site.reviews.release(site.uid, "bs.chau")
    assert site.reviews.locked(site.uid) is None


# ------------------------------------------------------------------ signatures
def test_a_signature_is_kept_whole(site):
    review = site.sign()
    assert site.reviews.reviews(site.uid) == (review,)
    assert site.reviews.draft(site.uid) is None
    assert site.studies.current(site.uid).state is StudyState.SIGNED
    waiting = {
        one.destination for one in site.studies.deliveries(site.uid) if one.report_uid == review.report_uid
    }
    assert waiting == {"folder", "emr"}
    assert site.reviews.marks([site.uid])[site.uid] == Mark(signed_by="bs.chau", signed_revision=1)


def test_of_two_who_sign_one_is_told_and_leaves_nothing(site):
    draft = site.drafted()
    first, second = site.made(draft), site.made(draft)
    site.reviews.sign(first[0], first[1], **first[2])
    with pytest.raises(DraftChanged):
        site.reviews.sign(second[0], second[1], **second[2])
    assert len(site.reviews.reviews(site.uid)) == 1
    draft = site.drafted()
    stale = replace(first[0], report_uid="2.25.7")
    with pytest.raises(StepRefused):  # a second first signature
        site.reviews.sign(stale, first[1], **{**first[2], "draft_version": draft.version})
    assert site.reviews.draft(site.uid) == draft


def test_documents_of_a_former_patient_are_not_signed(site):
    review, report, rest = site.made(site.drafted())
    other = replace(site.study.patient, patient_id=Phi("BN-2"))
    with pytest.raises(PatientChanged):
        site.reviews.sign(review, report, **{**rest, "study": replace(site.study, patient=other)})
    assert site.reviews.reviews(site.uid) == ()
    assert site.reviews.draft(site.uid) is not None


def test_a_newer_report_stops_a_signature(site):
    made = site.made(site.drafted())
    site.clock.advance(60)
    newer = replace(a_report(site.study), report_uid="2.25.99", created_at=site.clock.now())
    site.keep(newer)
    with pytest.raises(ReportChanged):
        site.reviews.sign(made[0], made[1], **made[2])
    assert site.reviews.reviews(site.uid) == ()
    assert site.reviews.draft(site.uid) is not None


def test_a_signature_cannot_be_changed_or_removed(site):
    review = site.sign()
    for statement in ("UPDATE reviews SET reason = 'x'", "DELETE FROM reviews"):
        with pytest.raises(sa.exc.DBAPIError), site.engine.begin() as connection:
            connection.execute(sa.text(statement))
    assert site.reviews.reviews(site.uid) == (review,)


def test_a_machine_never_follows_a_signature_to_an_emr(site):
    site.sign()
    later = replace(a_report(site.study), report_uid="2.25.99")
    site.keep(later)
    told = {one.destination for one in site.studies.deliveries(site.uid) if one.report_uid == "2.25.99"}
    assert told == {"folder"}


def test_a_withdrawal_is_owed_to_whoever_may_have_it(site):
    review = site.sign()
    site.studies.acknowledged(f"{review.report_uid}:emr", "HTTP 200")
    gone = site.withdraw()
    (owed,) = site.retractions.pending(site.uid)
    assert (owed.report_uid, owed.destinations, owed.by_reader) == (
        review.report_uid,
        ("emr", "folder"),
        True,
    )
    assert gone.report_uid == retraction_uid(review.report_uid)
    assert not site.reviews.stands(site.uid)
    assert site.reviews.marks([site.uid]) == {}
    again = site.sign()
    assert again.known_as == again.report_uid
    assert site.reviews.stands(site.uid)


# ------------------------------------------------------------------ what is checked later
def test_every_review_is_held_against_its_hash_and_the_log(site):
    review = site.sign()
    amended = site.sign(ReviewKind.AMENDMENT)
    checked = check_reviews(site.reviews, site.log)
    assert (checked.reviews, checked.is_intact) == (2, True)
    site.tell(replace(amended, report_uid="2.25.5"))
    assert check_reviews(site.reviews, site.log).missing == ("2.25.5",)
    site.tell(replace(amended, report_uid="2.25.5"), Outcome.SERIOUS_FAILURE)  # it was not kept after all
    assert check_reviews(site.reviews, site.log).is_intact
    with site.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(sa.text("DROP TRIGGER reviews_no_update"))
        else:
            connection.execute(sa.text("DROP TRIGGER reviews_append_only ON reviews"))
        connection.execute(
            sa.text("UPDATE reviews SET licence_number = '1' WHERE report_uid = :uid"),
            {"uid": review.report_uid},
        )
    changed = site.reviews.reviews(site.uid)[0]
    assert not is_sealed(changed)
    assert check_reviews(site.reviews, site.log).changed == (review.report_uid,)


def test_a_database_that_does_not_answer_is_worth_a_retry(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    reviews = ReviewsSql(engine, ObjectsDisk(tmp_path / "objects"), FakeClock())
    for ask in (
        lambda: reviews.draft("1.2.3"),
        lambda: reviews.lock("1.2.3", "bs.an", 60),
        lambda: reviews.reviews("1.2.3"),
        lambda: reviews.marks(["1.2.3"]),
    ):
        with pytest.raises(RecordsUnavailable):
            ask()
    engine.dispose()
