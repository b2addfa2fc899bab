"""Images leave the spool and the object store when the rules say so, and never before; kill -9 anywhere."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from hoichan.adapters.audit_sql import KEY_FILE, AuditSql, Wanted
from hoichan.adapters.database import open_database
from hoichan.adapters.forwards_sql import CLOSED, ForwardsSql, Revision
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.originals import Originals
from hoichan.adapters.quarantine_sql import QuarantineSql, lying_in
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retention_sql import DONE, RetentionSql
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.errors import ConfigurationError, RecordsUnavailable
from hoichan.guard.audit import Audited
from hoichan.intake.dataset import read_spooled
from hoichan.reporting.deliveries import plan
from hoichan.reporting.forwarding import Errand, ForwardState, Told
from hoichan.reporting.reports import compose
from hoichan.reporting.retention import RecordClass, decide
from hoichan.settings import FolderDestination, Retention, RetentionRule, Settings
from hoichan.testing.database import migrated
from hoichan.testing.datasets import encode, film, rejection_note
from hoichan.testing.objects import FakeObjects
from hoichan.testing.ports import FakeClock, FakeEncoder
from service.retention import Keeper, mark_removed

EXPLICIT = "1.2.840.10008.1.2.1"
NIGHT = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)  # 23:00 in Vietnam
RULES = (RetentionRule(name="old", days=30),)
OUTBOX = FolderDestination(name="outbox", kind="folder", path="outbox")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    file = tmp_path_factory.mktemp("template") / "records.sqlite"
    engine = open_database(f"sqlite:///{file}")
    migrated(engine)
    engine.dispose()
    return file


class Site:
    """A house without processes: record, spool, objects, and the keeper of one night."""

    def __init__(self, folder, template, **settings):
        self.folder = folder
        shutil.copy(template, folder / "records.sqlite")
        self.engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        self.clock = FakeClock(NIGHT)
        self.objects = FakeObjects()
        self.documents = ObjectsDisk(folder / "objects")
        self.studies = StudiesSql(self.engine, self.documents, self.clock)
        self.retention = RetentionSql(self.engine)
        self.audit = AuditSql(self.engine, folder / KEY_FILE)
        self.spool = self.machine("spool")
        self.settings = Settings(
            retention=Retention(
                **{"enabled": True, "originals": "elsewhere", "rules": RULES, "pressure_days": 1} | settings
            )
        )
        self.trimmed = []
        self.keeper = self.restarted()

    def machine(self, name):
        originals = Originals(
            self.folder / name,
            engine=self.engine,
            objects=self.objects,
            cache_dir=self.folder / f"{name}-cache",
            cache_bytes=1 << 20,
        )
        return SharedSpool(self.folder / name, originals)

    def restarted(self, spool=None):
        return Keeper(
            self.retention,
            spool or self.spool,
            self.clock,
            self.settings,
            audit=self.audit,
            trim=self.trimmed.append,
            elsewhere=QuarantineSql(self.engine, self.clock).changed,
        )

    def receive(self, data_set, *, days_ago, spool=None):
        spool = spool or self.spool
        stored = spool.store(
            encode(data_set),
            transfer_syntax_uid=EXPLICIT,
            sop_class_uid=data_set.SOPClassUID,
            sop_instance_uid=data_set.SOPInstanceUID,
            calling_ae_title="CR1",
        )
        came = (self.clock.now() - timedelta(days=days_ago)).timestamp()
        os.utime(spool.file(stored.path), (came, came))
        return stored

    def record(self, stored, spool=None):
        spool = spool or self.spool
        (one,) = [s for s in spool.listing(stored.study_instance_uid) if s.path == stored.path]
        part = read_spooled(spool, one, UTC)
        spool.originals.share(part.instances[0])
        self.studies.add_arrivals(part, part.instances)

    def answer(self, uid, *, delivered=True):
        study = self.studies.assemble(self.studies.current(uid))
        report = compose(
            study, results=[], findings=[], refusals=(), manifests=[], predecessor=None, now=self.clock.now()
        )
        documents = FakeEncoder().encode(study, report)
        deliveries = plan(report, study, (OUTBOX,), documents, self.clock.now())
        self.studies.save(study, report=report, documents=documents, deliveries=deliveries)
        for delivery in deliveries if delivered else ():
            self.studies.acknowledged(delivery.idempotency_key, "ok")
        return report

    def study(self, name="study", *, days_ago=40, delivered=True):
        """A study that was received, answered and delivered; its place on the disk."""
        stored = self.receive(film(study=name), days_ago=days_ago)
        self.record(stored)
        self.answer(stored.study_instance_uid, delivered=delivered)
        return stored

    def is_here(self, stored):
        return (self.folder / "spool" / stored.path).exists()

    def events(self, stored):
        return [line.event for line in self.studies.trail(stored.study_instance_uid)]


@pytest.fixture
def site(tmp_path, template):
    opened = Site(tmp_path, template)
    yield opened
    opened.engine.dispose()


def test_images_go_and_everything_that_was_said_of_them_stays(site):
    stored = site.study()
    digest = site.studies.current(stored.study_instance_uid).instances[0].sha256
    assert site.objects.has(digest)
    documents = set(site.documents.every())
    assert site.keeper.step() == 1
    assert not site.is_here(stored) and not site.objects.has(digest)
    assert set(site.documents.every()) == documents and documents
    line = site.studies.trail(stored.study_instance_uid)[-1]
    assert line.event == "images_removed"
    assert (line.details["rule"], line.details["files"]) == ("old", 1) and line.details["size_bytes"] > 0
    total, (recorded,) = site.audit.search(Wanted(what=Audited.STUDY_DELETED), limit=5)
    assert total == 1 and recorded.record.uids == (stored.study_instance_uid,)
    assert recorded.record.detail == "retention:old" and site.audit.verify() is None
    site.clock.advance(7200)
    assert site.keeper.step() == 0 and site.events(stored).count("images_removed") == 1


def test_what_is_undelivered_young_held_or_in_quarantine_stays(site):
    undelivered = site.study("undelivered", delivered=False)
    young = site.study("young", days_ago=29)
    held, held_patient = site.study("held"), site.study("patient")
    quarantined = site.study("quarantined")
    site.receive(film(study="quarantined", pixels=b"\2\3" * 64), days_ago=0)
    waiting = site.receive(film(study="waiting"), days_ago=40)
    site.record(waiting)
    unrecorded = site.receive(film(study="unrecorded"), days_ago=400)
    site.retention.add_hold(study=held.study_instance_uid, reason="court", by="uid:0", at=NIGHT)
    with site.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE studies SET patient_id='BN7' WHERE study_instance_uid=?",
            (held_patient.study_instance_uid,),
        )
    site.retention.add_hold(patient_id="BN7", reason="claim", by="uid:0", at=NIGHT)
    assert site.keeper.plan().reasons == {
        "in_work": 1,
        "legal_hold": 2,
        "quarantined": 1,
        "undelivered": 1,
    }
    assert site.keeper.step() == 0
    everything = (undelivered, young, held, held_patient, quarantined, waiting, unrecorded)
    assert all(site.is_here(stored) for stored in everything)


def test_what_lies_in_the_quarantine_of_another_machine_keeps_its_study_too(site):
    stored, other = site.study(), site.machine("other")
    site.receive(film(), days_ago=40, spool=other)
    changed = site.receive(film(pixels=b"\2\3" * 64), days_ago=0, spool=other)
    assert changed.quarantined
    quarantine = QuarantineSql(site.engine, site.clock)
    lying = lying_in(site.folder / "other")
    assert quarantine.tell("other", lying) == 1
    assert quarantine.tell("other", lying_in(site.folder / "other", lying)) == 0
    assert quarantine.tell("spool", {}) == 0  # each tells of its own
    assert site.keeper.plan().reasons == {"quarantined": 1}
    assert site.keeper.step() == 0 and site.is_here(stored)
    (note,) = (site.folder / "other" / "quarantine").glob("*.json")
    note.unlink()  # somebody looked at it
    assert quarantine.tell("other", lying_in(site.folder / "other", lying)) == 1
    site.clock.advance(7200)
    assert site.keeper.step() == 1 and not site.is_here(stored)


def test_a_note_of_the_quarantine_that_nobody_can_read_is_told(site):
    folder = site.folder / "spool" / "quarantine"
    (folder / "odd.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecordsUnavailable):
        lying_in(site.folder / "spool")


def test_a_refused_delivery_keeps_the_images_until_a_later_one_arrives(site):
    stored = site.study(delivered=False)
    (delivery,) = site.studies.deliveries(stored.study_instance_uid)
    site.studies.refused(delivery.idempotency_key, status="0xA900")
    assert site.keeper.step() == 0 and site.is_here(stored)
    site.studies.revive(delivery.idempotency_key)
    site.studies.acknowledged(delivery.idempotency_key, "ok")
    site.clock.advance(7200)
    assert site.keeper.step() == 1 and not site.is_here(stored)


def test_images_that_a_rule_still_has_to_send_on_stay(site):
    stored = site.study()
    forwards = ForwardsSql(site.engine, site.clock)
    errand = Errand(
        rule="all",
        destination="far",
        study_instance_uid=stored.study_instance_uid,
        sop_instance_uid=stored.sop_instance_uid,
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=str(stored.path),
    )
    revision = Revision(study=stored.study_instance_uid, revision=1, answer=None)
    forwards.plan("all", revision, CLOSED, [errand])
    assert site.keeper.step() == 0 and site.is_here(stored)
    forwards.settle([Told(errand=errand, state=ForwardState.SENT, detail="0x0000")], {})
    site.clock.advance(7200)
    assert site.keeper.step() == 1 and not site.is_here(stored)


def test_a_lifted_hold_lets_go(site):
    stored = site.study()
    number = site.retention.add_hold(
        study=stored.study_instance_uid, reason="court", by="uid:0", at=site.clock.now()
    )
    assert site.keeper.step() == 0
    assert site.retention.lift_hold(number, by="uid:0", at=site.clock.now())
    assert not site.retention.lift_hold(number, by="uid:0", at=site.clock.now())
    assert [hold.hold_id for hold in site.retention.holds(lifted=True)] == [number]
    assert site.retention.holds() == []
    site.clock.advance(7200)
    assert site.keeper.step() == 1 and not site.is_here(stored)
    assert site.events(stored)[-3:] == ["hold_added", "hold_lifted", "images_removed"]


def test_nothing_goes_by_day_or_while_it_is_switched_off(tmp_path, template):
    (tmp_path / "off").mkdir()
    off = Site(tmp_path / "off", template, enabled=False)
    stored = off.study()
    assert off.keeper.step() == 0 and off.is_here(stored)
    assert [v.rule for v, _ in off.keeper.plan().goes] == ["old"]  # a dry run tells all the same
    assert off.trimmed == [NIGHT - timedelta(days=30)]  # the engine's memory is no record
    off.engine.dispose()
    (tmp_path / "day").mkdir()
    day = Site(tmp_path / "day", template)
    stored = day.study()
    day.clock.advance(10 * 3600)  # nine in the morning
    assert day.keeper.step() == 0 and day.is_here(stored) and day.trimmed == []
    day.engine.dispose()


def test_the_class_of_the_record_counts_where_ours_is_the_only_copy(tmp_path, template):
    site = Site(tmp_path, template, originals="here")
    general, death = site.study("general", days_ago=4000), site.study("death", days_ago=4000)
    site.retention.classify(death.study_instance_uid, RecordClass.GENERAL, by="uid:0", at=NIGHT)
    site.retention.classify(death.study_instance_uid, RecordClass.DEATH, by="uid:0", at=NIGHT)
    assert site.keeper.plan().reasons == {"record_class": 1}
    assert site.keeper.step() == 1
    assert not site.is_here(general) and site.is_here(death)
    site.engine.dispose()


class Killed(Exception):
    """As kill -9 would: nothing after it runs."""


@pytest.mark.parametrize("after", ["mark", "files", "objects", "audit"])
def test_a_kill_at_any_step_is_finished_after_the_next_start(site, after):
    stored = site.study()
    digest = site.studies.current(stored.study_instance_uid).instances[0].sha256

    class Dying:
        """The real parts, until the step at which the process is killed."""

        def __init__(self, real, *methods):
            self._real, self._methods = real, methods

        def __getattr__(self, name):
            if name in self._methods:
                raise Killed
            return getattr(self._real, name)

    where = {"mark": "is_held", "audit": "end"}
    retention = Dying(site.retention, where.get(after, ""))
    spool = Dying(site.spool, "")
    spool.originals = Dying(site.spool.originals, {"files": "remove_shared", "objects": ""}.get(after, ""))

    audit = Dying(site.audit, "append" if after == "objects" else "")
    with pytest.raises(Killed):
        Keeper(retention, spool, site.clock, site.settings, audit=audit).step()
    assert len(site.retention.marked()) == 1
    assert site.is_here(stored) is (after == "mark")
    site.clock.advance(12 * 3600)  # by day, too: it was decided
    assert site.restarted().step() == 1
    assert not site.is_here(stored) and not site.objects.has(digest) and site.retention.marked() == []
    assert site.events(stored).count("images_removed") == 1


def test_a_hold_that_comes_between_the_decision_and_the_deed_wins(site):
    stored = site.study()
    site.retention.mark(
        stored.study_instance_uid,
        lambda facts: next(v for f, v in site.keeper._verdicts(pressure=False)),
        set(),
        site.clock.now(),
    )
    number = site.retention.add_hold(
        study=stored.study_instance_uid, reason="court", by="uid:0", at=site.clock.now()
    )
    assert site.keeper.step() == 0 and site.is_here(stored)
    assert site.events(stored)[-1] == "images_kept" and site.retention.marked() == []
    site.retention.lift_hold(number, by="uid:0", at=site.clock.now())
    site.clock.advance(7200)
    assert site.keeper.step() == 1


def test_a_store_that_is_away_is_tried_again(site):
    stored = site.study()
    site.objects.away = True
    with pytest.raises(RecordsUnavailable):
        site.keeper.step()
    site.objects.away = False
    assert site.keeper.step() == 1 and site.events(stored)[-1] == "images_removed"
    assert site.objects.kept == {}


def test_an_image_that_comes_later_stays_and_the_rules_begin_anew(site):
    stored = site.study()
    assert site.keeper.step() == 1
    site.clock.advance(3600)
    late = site.receive(film(instance="late"), days_ago=0)
    site.record(late)
    study = mark_removed(site.studies.current(stored.study_instance_uid), site.retention, site.spool)
    assert sorted(instance.removed for instance in study.instances) == [False, True]
    site.answer(stored.study_instance_uid)
    site.clock.advance(86400)
    assert site.keeper.step() == 0 and site.is_here(late)
    site.clock.advance(86400 * 31)
    assert site.keeper.step() == 1 and not site.is_here(late)
    assert len(site.retention.done_of([stored.study_instance_uid])) == 1


def test_a_study_whose_images_are_here_is_not_changed(site):
    stored = site.study()
    study = site.studies.current(stored.study_instance_uid)
    assert mark_removed(study, site.retention, site.spool) is study


def test_a_note_that_rejects_images_outlives_them(site):
    image = film()
    site.record(site.receive(image, days_ago=40))
    note = site.receive(rejection_note(image), days_ago=40)
    site.record(note)
    site.answer(note.study_instance_uid)
    assert site.keeper.step() == 1
    assert site.is_here(note) and len(site.spool.listing(note.study_instance_uid)) == 1


def test_a_full_disk_takes_the_oldest_until_there_is_room(tmp_path, template):
    site = Site(tmp_path, template, pressure_free_bytes=1000)
    oldest, older, old = (site.study(str(days), days_ago=days) for days in (5, 4, 3))
    site.clock.advance(12 * 3600)  # at any hour
    room = iter([0, 0, 0, 2000, 2000, 2000])
    site.spool.free_bytes = lambda: next(room)
    assert site.keeper.step() == 2
    assert [site.is_here(stored) for stored in (oldest, older, old)] == [False, False, True]
    assert site.studies.trail(oldest.study_instance_uid)[-1].details["rule"] == "disk_pressure"
    site.engine.dispose()


def test_a_removed_image_that_is_sent_again_unchanged_goes_by_the_rules_once_more(site):
    stored = site.study()
    assert site.keeper.step() == 1 and not site.is_here(stored)
    site.clock.advance(3600)
    again = site.receive(film(), days_ago=0)
    assert not again.duplicate and not again.quarantined and site.is_here(stored)
    site.clock.advance(24 * 3600)
    assert site.keeper.step() == 0 and site.keeper.sweep() == 0 and site.is_here(stored)  # young
    site.clock.advance(30 * 24 * 3600)
    hold = site.retention.add_hold(
        study=stored.study_instance_uid, reason="court", by="uid:0", at=site.clock.now()
    )
    assert site.keeper.sweep() == 0 and site.is_here(stored)
    site.retention.lift_hold(hold, by="uid:0", at=site.clock.now())
    site.clock.advance(24 * 3600)
    assert site.keeper.sweep() == 1 and not site.is_here(stored)
    assert site.events(stored).count("images_removed") == 2
    total, _ = site.audit.search(Wanted(what=Audited.STUDY_DELETED), limit=10)
    assert total == 2 and site.audit.verify() is None
    site.clock.advance(24 * 3600)
    assert site.keeper.sweep() == 0


def test_another_machine_removes_its_own_files(site):
    other = site.machine("other")
    stored = site.receive(film(), days_ago=40, spool=other)
    site.record(stored, spool=other)
    site.answer(stored.study_instance_uid)
    assert site.keeper.step() == 1  # the record and the store; the file is on the other machine
    place = other.file(stored.path)
    assert place.exists()
    keeper = site.restarted(other)
    assert keeper.sweep() == 1 and not (site.folder / "other" / stored.path).exists()
    assert keeper.sweep() == 0
    assert len(site.retention.done_of([stored.study_instance_uid])) == 1


def test_a_dry_run_says_what_and_how_much_and_changes_nothing(site):
    stored = site.study()
    plan_ = site.keeper.plan()
    ((verdict, size),) = plan_.goes
    assert verdict.study_instance_uid == stored.study_instance_uid and verdict.rule == "old"
    assert size == (site.folder / "spool" / stored.path).stat().st_size
    assert site.is_here(stored) and site.retention.marked() == []


def test_many_studies_are_looked_at_page_by_page(site):
    for number in range(3):
        site.study(str(number), days_ago=40)
    with site.engine.begin() as connection:
        for number in range(1200):
            connection.exec_driver_sql(
                "INSERT INTO studies (study_instance_uid, state, calling_ae_title, patient_id, patient_name,"
                " modalities, first_received_at, last_received_at) SELECT ?, 'delivered', 'CR1', 'x', 'x',"
                " 'CR', first_received_at, last_received_at FROM studies LIMIT 1",
                (f"1.2.3.{number}",),
            )
    found = [f.study_instance_uid for f in site.retention.candidates(NIGHT, set())]
    assert len(found) == len(set(found)) == 1203
    removal = site.retention.mark(
        found[700],
        lambda facts: decide(facts, site.settings.retention, NIGHT),
        set(),
        NIGHT,
    )
    assert site.retention.end(removal, DONE, at=NIGHT)
    left = [f.study_instance_uid for f in site.retention.candidates(NIGHT, set())]
    assert len(left) == 1202 and found[700] not in left


def test_nothing_goes_that_could_not_be_recorded(site):
    stored = site.study()
    site.audit.check()
    (site.folder / KEY_FILE).chmod(0o644)  # others can read the key: the log cannot be trusted
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keeper(
            site.retention,
            site.spool,
            site.clock,
            site.settings,
            audit=AuditSql(site.engine, site.folder / KEY_FILE),
        ).step()
    assert site.is_here(stored)


def test_a_hold_on_a_patient_outlives_another_number(site):
    stored = site.study()
    site.retention.add_hold(patient_id="BN0001", reason="claim", by="uid:0", at=NIGHT)
    with site.engine.begin() as connection:  # merged into another record since
        connection.exec_driver_sql("UPDATE studies SET patient_id = 'BN9'")
    assert site.keeper.step() == 0 and site.is_here(stored)
    assert site.retention.is_held(stored.study_instance_uid)
