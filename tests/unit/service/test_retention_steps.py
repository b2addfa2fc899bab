"""Images are removed in steps: kill -9 anywhere, a store that is away, what comes in between or after."""

from __future__ import annotations

import pytest

from hoichan.adapters.audit_sql import KEY_FILE, AuditSql, Wanted
from hoichan.errors import ConfigurationError, RecordsUnavailable
from hoichan.guard.audit import Audited
from hoichan.testing.datasets import film
from service.retention import Keeper, mark_removed
from tests.unit.service.retention_site import Site


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
    yield opened
    opened.engine.dispose()


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
