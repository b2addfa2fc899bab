"""Which images leave the spool and the object store by the rules, and which stay."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.forwards_sql import CLOSED, ForwardsSql, Revision
from hoichan.adapters.quarantine_disk import lying_in
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.retention_sql import DONE
from hoichan.errors import RecordsUnavailable
from hoichan.guard.audit import Audited
from hoichan.reporting.forwarding import Errand, ForwardState, Told
from hoichan.reporting.retention import RecordClass, decide
from hoichan.testing.datasets import film, rejection_note
from tests.unit.service.retention_site import NIGHT, Site


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
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


def test_nothing_goes_by_day_or_while_it_is_switched_off(tmp_path):
    (tmp_path / "off").mkdir()
    off = Site(tmp_path / "off", enabled=False)
    stored = off.study()
    assert off.keeper.step() == 0 and off.is_here(stored)
    assert [v.rule for v, _ in off.keeper.plan().goes] == ["old"]  # a dry run tells all the same
    assert off.trimmed == [NIGHT - timedelta(days=30)]  # the engine's memory is no record
    off.engine.dispose()
    (tmp_path / "day").mkdir()
    day = Site(tmp_path / "day")
    stored = day.study()
    day.clock.advance(10 * 3600)  # nine in the morning
    assert day.keeper.step() == 0 and day.is_here(stored) and day.trimmed == []
    day.engine.dispose()


def test_the_class_of_the_record_counts_where_ours_is_the_only_copy(tmp_path):
    site = Site(tmp_path, originals="here")
    general, death = site.study("general", days_ago=4000), site.study("death", days_ago=4000)
    site.retention.classify(death.study_instance_uid, RecordClass.GENERAL, by="uid:0", at=NIGHT)
    site.retention.classify(death.study_instance_uid, RecordClass.DEATH, by="uid:0", at=NIGHT)
    assert site.keeper.plan().reasons == {"record_class": 1}
    assert site.keeper.step() == 1
    assert not site.is_here(general) and site.is_here(death)
    site.engine.dispose()


def test_a_note_that_rejects_images_outlives_them(site):
    image = film()
    site.record(site.receive(image, days_ago=40))
    note = site.receive(rejection_note(image), days_ago=40)
    site.record(note)
    site.answer(note.study_instance_uid)
    assert site.keeper.step() == 1
    assert site.is_here(note) and len(site.spool.listing(note.study_instance_uid)) == 1


def test_a_full_disk_takes_the_oldest_until_there_is_room(tmp_path):
    site = Site(tmp_path, pressure_free_bytes=1000)
    oldest, older, old = (site.study(str(days), days_ago=days) for days in (5, 4, 3))
    site.clock.advance(12 * 3600)  # at any hour
    room = iter([0, 0, 0, 2000, 2000, 2000])
    site.spool.free_bytes = lambda: next(room)
    assert site.keeper.step() == 2
    assert [site.is_here(stored) for stored in (oldest, older, old)] == [False, False, True]
    assert site.studies.trail(oldest.study_instance_uid)[-1].details["rule"] == "disk_pressure"
    site.engine.dispose()


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


def test_a_hold_on_a_patient_outlives_another_number(site):
    stored = site.study()
    site.retention.add_hold(patient_id="BN0001", reason="claim", by="uid:0", at=NIGHT)
    with site.engine.begin() as connection:  # merged into another record since
        connection.exec_driver_sql("UPDATE studies SET patient_id = 'BN9'")
    assert site.keeper.step() == 0 and site.is_here(stored)
    assert site.retention.is_held(stored.study_instance_uid)
