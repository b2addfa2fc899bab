"""Notices and follow-ups: on SQLite, and on PostgreSQL where HOICHAN_TEST_POSTGRESQL names one."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date

import pytest
import sqlalchemy as sa

from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.database import open_database
from hoichan.adapters.follow_ups_sql import FollowUpsSql
from hoichan.adapters.notices_sql import NoticesSql
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.schema import metadata, trail
from hoichan.adapters.schema_notices import noticed_reports
from hoichan.adapters.sight import Sight
from hoichan.errors import Unreachable
from hoichan.guard.audit import Audited, Outcome
from hoichan.reporting.notices import FollowUpKind, FollowUpState, NoticeState
from hoichan.reporting.reviews import finding_id, withdraw
from hoichan.reporting.signed import signed_report
from hoichan.settings import Settings
from hoichan.testing import a_report, a_study
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder
from hoichan.testing.reports import a_finding
from hoichan.testing.reviews import SIGNER, a_draft, a_review
from hoichan.types import Judgement, SOPInstanceUID, Verdict
from hoichan.uids import derived_uid
from service.notices import Notices

KINDS = ["sqlite", *(["postgresql"] if os.environ.get("HOICHAN_TEST_POSTGRESQL") else [])]
CHANNELS = [
    {"kind": "webhook", "name": "pager", "url": "https://pager.example/x", "secret": "0123456789abcdef"},
    {
        "kind": "email",
        "name": "chief",
        "host": "mail.example",
        "sender": "ai@example.org",
        "to": ["chief@example.org"],
        "after_minutes": 15,
    },
]


class Listening:
    """A channel that takes what it is told, or is out of order."""

    def __init__(self):
        self.heard, self.broken = [], False
        self.meanwhile = lambda: None  # what happens while it is being told, once

    def tell(self, notice, now):
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        if self.broken:
            raise Unreachable("pager", "ConnectError")
        self.heard.append((notice.number, notice.confirmed))
        return "HTTP 204"


class Site:
    """One study with a critical finding of the machine, and two channels."""

    def __init__(self, url, folder):
        self.clock = FakeClock()
        self.engine = open_database(url)
        migrated(self.engine)
        objects = self.objects = ObjectsDisk(folder / "objects")
        self.studies = StudiesSql(self.engine, objects, self.clock)
        self.reviews = ReviewsSql(self.engine, objects, self.clock)
        self.rows = NoticesSql(self.engine, self.clock)
        self.follow_ups = FollowUpsSql(self.engine, self.clock)
        self.log = AuditSql(self.engine, folder / "audit.key")
        study = replace(a_study(), revision=0)
        self.studies.add_arrivals(study, study.instances)
        self.study = self.studies.assemble(study)
        self.uid = self.study.study_instance_uid
        self.pager, self.chief = Listening(), Listening()
        self.settings = Settings.model_validate({"notices": CHANNELS})

    @property
    def leader(self):
        """A new one each time: nothing is remembered outside the rows."""
        tellers = {"pager": self.pager, "chief": self.chief}
        return Notices(self.rows, self.log, self.clock, self.settings, tellers=tellers)

    def report(self, score=0.9):
        found = [a_finding(self.study, "pneumothorax", score), a_finding(self.study, "cardiomegaly", 0.9)]
        made = replace(a_report(self.study, findings=found), created_at=self.clock.now())
        self.studies.save(
            self.study, report=made, documents=FakeEncoder().encode(self.study, made), deliveries=()
        )
        return made

    def sign(self, report, verdict):
        judged = [
            Judgement(
                finding_id=finding_id(report.report_uid, one),
                key=one.key,
                verdict=verdict if one.key == "pneumothorax" else Verdict.ACCEPTED,
                reason="normal_structure" if (one.key, verdict) == ("pneumothorax", Verdict.REJECTED) else "",
            )
            for one in report.findings
        ]
        draft = self.reviews.save_draft(replace(a_draft(report, judged), version=0))
        before = self.reviews.reviews(self.uid)
        review = a_review(report, self.study, before, draft=draft, now=self.clock.now())
        made = signed_report(report, review, self.study, time="10:00")
        documents = FakeEncoder().encode(self.study, made)
        self.reviews.sign(
            review, made, study=self.study, draft_version=draft.version, made=documents, planned=()
        )

    def withdraw(self):
        """The last signature is taken back by a doctor, and the worker writes it."""
        self.write(self.withdraw_only())

    def withdraw_only(self):
        before = self.reviews.reviews(self.uid)
        uid = SOPInstanceUID(derived_uid(before[-1].report_uid, "withdrawn"))
        review = withdraw(before, uid=uid, signer=SIGNER, reason="nhầm ca", now=self.clock.now())
        self.reviews.withdraw(review)
        return uid

    def write(self, uid):
        rows = RetractionsSql(self.engine, self.objects, self.clock)
        (retraction,) = (
            one for one in rows.pending(self.uid) if derived_uid(one.report_uid, "withdrawn") == uid
        )
        rows.keep(retraction, uid, conclusion={"vi": "", "en": ""}, made=(), planned=())

    def events(self):
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(trail.c.event).order_by(trail.c.id)).scalars()
            return [one for one in found if one.startswith(("notice", "follow"))]


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


# ------------------------------------------------------------------ notices
def test_who_was_told_by_a_doctor_hears_of_the_withdrawal(site):
    report = site.report()
    site.sign(report, Verdict.ACCEPTED)
    site.leader.step()
    (signed,) = (one for one in site.rows.open() if one.confirmed)
    assert site.rows.acknowledge(signed.number, "bs.binh")
    site.withdraw()
    site.leader.step()
    assert site.rows.get(signed.number).state is NoticeState.WITHDRAWN
    (told,) = site.rows.open()
    assert told.is_withdrawal and told.critical == () and told.confirmed
    assert site.pager.heard[-1] == (told.number, True)
    assert site.events()[-3:] == ["notice_withdrawn", "notice_raised", "notice_told"]
    site.leader.step()  # looked at once
    assert len(site.rows.open()) == 1
    site.sign(report, Verdict.ACCEPTED)  # the same finding, signed again: it is told again
    site.leader.step()
    assert [one.critical for one in site.rows.open()] == [(), ("pneumothorax",)]


@pytest.mark.parametrize("is_noted", [False, True])
def test_what_was_signed_anew_before_the_withdrawal_was_written_is_told_anew(site, is_noted):
    report = site.report()
    site.sign(report, Verdict.ACCEPTED)
    site.leader.step()
    (first,) = (one for one in site.rows.open() if one.confirmed)
    if is_noted:
        assert site.rows.acknowledge(first.number, "bs.binh")
    uid = site.withdraw_only()
    site.clock.advance(5)
    site.sign(report, Verdict.ACCEPTED)  # the worker is down: the withdrawal is not written yet
    site.leader.step()
    site.clock.advance(5)
    site.write(uid)
    site.leader.step()
    site.leader.step()
    assert [one.critical for one in site.rows.open()] == [(), ("pneumothorax",)]
    anew = site.rows.open()[-1]
    assert anew.confirmed and not anew.is_withdrawal and site.pager.heard[-1] == (anew.number, True)
    site.leader.step()
    assert len(site.rows.open()) == 2


def test_what_was_signed_anew_and_withdrawn_again_is_not_told(site):
    report = site.report()
    site.sign(report, Verdict.ACCEPTED)
    site.leader.step()
    first = site.withdraw_only()
    site.sign(report, Verdict.ACCEPTED)
    second = site.withdraw_only()
    for uid in (first, second):
        site.clock.advance(5)
        site.write(uid)
        site.leader.step()
        site.leader.step()
    assert {one.critical for one in site.rows.open()} == {()}


def test_what_a_machine_found_is_told_once_and_as_its_word(site):
    site.report()
    site.leader.step()
    site.leader.step()
    assert site.pager.heard == [(1, False)]
    assert site.chief.heard == []
    (one,) = site.rows.open()
    assert (one.confirmed, one.critical, one.state) == (False, ("pneumothorax",), NoticeState.OPEN)
    assert site.events() == ["notice_raised", "notice_told"]
    _, lines = site.log.search(Wanted(what=Audited.CRITICAL_TOLD), limit=10)
    assert [(line.record.uids, line.record.detail) for line in lines] == [((site.uid,), "notice 1 by pager")]


def test_a_report_without_anything_critical_tells_nobody(site):
    site.report(score=0.1)
    site.leader.step()
    assert (site.rows.open(), site.rows.unseen(), site.pager.heard) == ([], [], [])


def test_nobody_acknowledges_and_the_next_are_told(site):
    site.report()
    site.leader.step()
    site.clock.advance(14 * 60)
    site.leader.step()
    assert site.chief.heard == []
    site.clock.advance(60)
    site.leader.step()
    assert site.chief.heard == [(1, False)]
    with site.engine.connect() as connection:
        told = connection.execute(sa.select(trail.c.details).where(trail.c.event == "notice_told")).scalars()
        assert [one["people"] for one in told] == ["pager", "chief@example.org"]


def test_who_asks_to_be_reminded_is_told_until_somebody_acknowledges(site):
    channels = [{**CHANNELS[0], "remind_minutes": 30}]
    settings = Settings.model_validate({"notices": channels})
    leader = Notices(site.rows, site.log, site.clock, settings, tellers={"pager": site.pager})
    site.report()
    born = site.clock.now()
    for _ in range(4):  # at 0, 20, 40 and 60 minutes
        leader.step()
        site.clock.advance(20 * 60)
    assert (site.pager.heard, site.rows.oldest_open_at()) == ([(1, False)] * 2, born)
    site.rows.acknowledge(1, "bs.an")
    site.clock.advance(3600)
    leader.step()
    assert (len(site.pager.heard), site.rows.oldest_open_at()) == (2, None)


def test_who_acknowledges_ends_it_once(site):
    site.report()
    site.leader.step()
    assert site.rows.acknowledge(1, "bs.an")
    assert not site.rows.acknowledge(1, "bs.chau")
    assert not site.rows.acknowledge(77, "bs.an")
    site.clock.advance(3600)
    site.leader.step()
    assert (site.chief.heard, site.rows.waiting()) == ([], 0)
    assert site.events() == ["notice_raised", "notice_told", "notice_acknowledged"]


def test_a_channel_that_does_not_answer_is_asked_again_until_it_does(site):
    site.pager.broken = True
    site.report()
    site.leader.step()
    site.leader.step()  # its pause is not over
    ((told,),) = site.rows.tellings([1]).values()
    assert (told.attempts, told.told_at, told.detail) == (1, None, "ConnectError")
    site.clock.advance(10)
    site.leader.step()
    site.pager.broken = False
    site.clock.advance(20)
    site.leader.step()
    ((told,),) = site.rows.tellings([1]).values()
    assert (told.attempts, told.detail) == (3, "HTTP 204")
    assert site.events() == ["notice_raised", "notice_not_told", "notice_told"]
    _, lines = site.log.search(Wanted(what=Audited.CRITICAL_TOLD), limit=10)
    assert [line.record.outcome for line in lines] == [Outcome.SUCCESS, Outcome.MINOR_FAILURE]


# ------------------------------------------------------------------ two that lead
def test_two_that_lead_for_a_moment_tell_it_once(site):
    site.report()
    site.pager.meanwhile = site.leader.step  # another begins while the first one is in the middle of it
    site.leader.step()
    site.leader.step()
    assert site.pager.heard == [(1, False)]
    assert site.events() == ["notice_raised", "notice_told"]


def test_who_stood_still_tells_nothing_that_another_has_told_or_somebody_has_ended(site):
    site.settings = Settings.model_validate({"notices": [CHANNELS[0], {**CHANNELS[1], "after_minutes": 0}]})
    site.report()

    def it_stands_still():
        site.clock.advance(3600)
        site.leader.step()

    site.chief.meanwhile = it_stands_still  # it comes first, and the other channel after it
    site.leader.step()
    assert site.pager.heard == [(1, False)]

    site.report()
    site.chief.meanwhile = lambda: site.rows.acknowledge(1, "bs.an")
    site.clock.advance(60)
    site.leader.step()
    assert len(site.pager.heard) == 1


def test_who_died_in_the_middle_is_made_good_by_another(site):
    def dies():
        raise KeyboardInterrupt

    site.report()
    site.pager.meanwhile = dies
    with pytest.raises(KeyboardInterrupt):
        site.leader.step()
    site.leader.step()  # it may still be at it
    assert site.pager.heard == []
    site.clock.advance(160)
    site.leader.step()
    assert site.pager.heard == [(1, False)]


def test_a_late_failure_does_not_have_it_told_again(site):
    def another_tells_it():
        site.clock.advance(3600)
        site.leader.step()
        site.pager.broken = True

    site.report()
    site.pager.meanwhile = another_tells_it
    site.leader.step()
    site.pager.broken = False
    site.clock.advance(3600)
    site.leader.step()
    assert site.pager.heard == [(1, False)]
    told = next(one for one in site.rows.tellings([1])[1] if one.channel == "pager")
    assert (told.attempts, told.detail) == (1, "HTTP 204")


def test_a_look_that_is_cut_off_is_made_again(site):
    made = site.report()
    with pytest.raises(sa.exc.IntegrityError), site.engine.begin() as connection:
        connection.execute(noticed_reports.insert().values(report_uid=made.report_uid, at=site.clock.now()))
        connection.execute(noticed_reports.insert().values(report_uid=made.report_uid, at=site.clock.now()))
    assert site.rows.unseen() == [made.report_uid]
    assert site.rows.look(made.report_uid) == 1
    assert site.rows.look(made.report_uid) is None


def test_what_a_doctor_accepts_is_told_as_a_doctors_word(site):
    made = site.report()
    site.leader.step()
    site.sign(made, Verdict.ACCEPTED)
    site.leader.step()
    assert site.pager.heard == [(1, False), (2, True)]
    assert [(one.number, one.confirmed) for one in site.rows.open()] == [(2, True)]


def test_what_a_doctor_rejects_is_told_no_more(site):
    made = site.report()
    site.leader.step()
    site.sign(made, Verdict.REJECTED)
    site.clock.advance(3600)
    site.leader.step()
    assert (site.rows.open(), site.chief.heard) == ([], [])
    assert site.events()[-1] == "notice_refuted"


def test_a_channel_may_want_signed_findings_of_its_senders_only(site):
    only = [{**CHANNELS[0], "unconfirmed": False}, {**CHANNELS[1], "after_minutes": 0, "senders": ["OTHER"]}]
    site.settings = Settings.model_validate({"notices": only})
    made = site.report()
    site.leader.step()
    assert (site.pager.heard, site.chief.heard) == ([], [])
    site.sign(made, Verdict.ACCEPTED)
    site.leader.step()
    assert (site.pager.heard, site.chief.heard) == ([(2, True)], [])


def test_who_sees_no_such_study_sees_no_notice(site):
    site.report()
    site.leader.step()
    blind = NoticesSql(site.engine, site.clock, Sight(senders=frozenset({"OTHER"})))
    assert (blind.open(), blind.waiting(), blind.get(1), blind.acknowledge(1, "bs.an")) == (
        [],
        0,
        None,
        False,
    )
    assert site.rows.waiting() == 1


# ------------------------------------------------------------------ follow-ups
def asked(site, **more):
    given = {
        "finding_key": "cardiomegaly",
        "kind": FollowUpKind.REFERRAL,
        "words": "Khám tim mạch",
        "owner": "bs.an",
        "due_on": date(2026, 12, 1),
        "who": "bs.chau",
    }
    return site.follow_ups.ask(site.uid, **{**given, **more})


def test_only_what_is_signed_is_followed_up(site):
    made = site.report()
    assert asked(site) is None
    site.sign(made, Verdict.REJECTED)
    assert asked(site, finding_key="pneumothorax") is None
    assert asked(site) == 1
    (one,) = site.follow_ups.of(site.uid)
    assert (one.owner, one.words.reveal(), one.state) == ("bs.an", "Khám tim mạch", FollowUpState.OPEN)


def test_the_overdue_come_first_and_a_closed_one_stays_closed(site):
    site.sign(site.report(), Verdict.ACCEPTED)
    asked(site)
    asked(site, kind=FollowUpKind.CT, due_on=date(2026, 11, 1))
    assert [one.number for one in site.follow_ups.open()] == [2, 1]
    assert site.follow_ups.overdue(date(2026, 11, 2)) == 1
    assert site.follow_ups.overdue(date(2026, 11, 1)) == 0
    assert site.follow_ups.close(2, FollowUpState.DONE, words="Không thấy khối", who="bs.an")
    assert not site.follow_ups.close(2, FollowUpState.NOT_NEEDED, words="x", who="bs.an")
    assert not site.follow_ups.close(1, FollowUpState.OPEN, words="", who="bs.an")
    assert [one.number for one in site.follow_ups.open()] == [1]
    assert site.events()[-3:] == ["follow_up_asked", "follow_up_asked", "follow_up_closed"]
    with site.engine.connect() as connection:
        told = connection.execute(sa.select(trail.c.details).where(trail.c.event.startswith("follow")))
        assert "khối" not in str(told.all())
    blind = FollowUpsSql(site.engine, site.clock, Sight(senders=frozenset({"OTHER"})))
    assert (blind.open(), blind.of(site.uid), blind.get(1)) == ([], [], None)
