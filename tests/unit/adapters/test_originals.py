"""Received files beyond their machine: two data folders, one record, one object store."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.originals import Originals
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.errors import DamagedObject, ObjectUnknown, RecordsUnavailable
from hoichan.intake.dataset import read_spooled
from hoichan.intake.part10 import read_meta
from hoichan.testing.database import migrated
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.objects import FakeObjects
from hoichan.testing.ports import FakeClock

EXPLICIT = "1.2.840.10008.1.2.1"


class Machine:
    """A data folder of its own over the record and the store that all share."""

    def __init__(self, folder, site):
        self.folder = folder
        self.site = site
        originals = Originals(
            folder / "spool",
            engine=site.engine,
            objects=site.objects,
            cache_dir=folder / "cache",
            cache_bytes=100_000,
        )
        self.spool = SharedSpool(folder / "spool", originals)
        self.originals = originals

    def receive(self, data_set):
        return self.spool.store(
            encode(data_set),
            transfer_syntax_uid=EXPLICIT,
            sop_class_uid=COMPUTED_RADIOGRAPHY,
            sop_instance_uid=data_set.SOPInstanceUID,
            calling_ae_title="CR1",
        )

    def read(self, stored):
        (spooled,) = [s for s in self.spool.listing(stored.study_instance_uid) if s.path == stored.path]
        return read_spooled(self.spool, spooled, UTC)

    def record(self, stored):
        study = self.read(stored)
        (instance,) = study.instances
        self.originals.share(instance)
        self.site.studies.add_arrivals(study, study.instances)
        return instance


class Site:
    def __init__(self, folder):
        self.engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.engine)
        self.objects = FakeObjects()
        self.studies = StudiesSql(self.engine, FakeObjects(), FakeClock())
        self.one, self.two = Machine(folder / "one", self), Machine(folder / "two", self)


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
    yield opened
    opened.engine.dispose()


def test_what_one_machine_recorded_is_read_on_the_other(site):
    stored = site.one.receive(film())
    instance = site.one.record(stored)
    here, there = site.one.spool.file(stored.path), site.two.spool.file(stored.path)
    assert here != there and here.read_bytes() == there.read_bytes()
    content = there.read_bytes()
    assert read_meta(content).sop_instance_uid == instance.sop_instance_uid
    assert site.two.spool.listing(stored.study_instance_uid) == []  # a copy is no arrival


def test_a_copy_is_fetched_once_and_again_when_it_is_gone(site):
    stored = site.one.receive(film())
    site.one.record(stored)
    copy = site.two.spool.file(stored.path)
    site.objects.away = True
    assert site.two.spool.file(stored.path) == copy and copy.exists()
    copy.unlink()
    with pytest.raises(RecordsUnavailable):
        site.two.spool.file(stored.path)
    site.objects.away = False
    assert site.two.spool.file(stored.path).exists()


def test_what_is_not_in_the_store_is_told(site):
    stored = site.one.receive(film())
    instance = site.one.record(stored)
    site.objects.remove(instance.sha256)
    with pytest.raises(ObjectUnknown):
        site.two.spool.file(stored.path)


def test_an_unknown_path_is_a_place_where_nothing_is(site):
    assert not site.two.spool.file(film_path("1.2.3", "4.5.6")).exists()


def film_path(study, instance):
    return PurePosixPath("studies", "00", study, f"{instance}.dcm")


def test_a_file_that_the_disk_changed_is_not_shared(site):
    stored = site.one.receive(film())
    study = site.one.read(stored)
    place = site.one.spool.file(stored.path)
    content = bytearray(place.read_bytes())
    content[-1] ^= 0xFF
    place.write_bytes(bytes(content))
    with pytest.raises(DamagedObject):
        site.one.originals.share(study.instances[0])
    assert site.objects.kept == {}


def test_sharing_again_after_a_crash_changes_nothing(site):
    stored = site.one.receive(film())
    site.one.record(stored)
    kept = dict(site.objects.kept)
    site.one.record(stored)
    assert site.objects.kept == kept and len(kept) == 1


def test_other_bytes_under_a_recorded_uid_go_to_quarantine_on_their_machine(site):
    recorded = site.one.record(site.one.receive(film()))
    other = site.two.receive(film(pixels=b"\2\3" * 64))
    (spooled,) = site.two.spool.listing(other.study_instance_uid)
    assert site.two.originals.set_aside_if_other(recorded, spooled)
    assert site.two.spool.listing(other.study_instance_uid) == []
    (note,) = (site.two.folder / "spool" / "quarantine").glob("*.json")
    about = json.loads(note.read_text())
    assert about["reason"] == CHANGED_CONTENT and about["sop_instance_uid"] == recorded.sop_instance_uid
    content = (note.parent / about["file"]).read_bytes()
    assert content[read_meta(content).offset :] == encode(film(pixels=b"\2\3" * 64))


def test_the_same_bytes_on_two_machines_stay(site):
    recorded = site.one.record(site.one.receive(film()))
    same = site.two.receive(film())
    (spooled,) = site.two.spool.listing(same.study_instance_uid)
    assert not site.two.originals.set_aside_if_other(recorded, spooled)
    (mine,) = site.one.spool.listing(same.study_instance_uid)
    assert not site.one.originals.set_aside_if_other(recorded, mine)


def test_copies_that_nobody_asks_for_make_room(site):
    paths = []
    for number in range(3):
        stored = site.one.receive(film(study=str(number)))
        site.one.record(stored)
        paths.append(stored.path)
    first, second = (site.two.spool.file(path) for path in paths[:2])
    site.two.originals._cache_bytes = first.stat().st_size * 2
    hours_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(first, (hours_ago, hours_ago))
    third = site.two.spool.file(paths[2])
    assert (first.exists(), second.exists(), third.exists()) == (False, True, True)


def test_only_what_is_older_than_the_moment_is_removed(site):
    instance = site.one.record(site.one.receive(film()))
    place = site.one.spool.file(instance.path)
    removed = site.one.originals.remove([instance.path], before=datetime.now(UTC) - timedelta(hours=1))
    assert (removed.files, place.exists()) == (0, True)  # it came after the decision
    size = place.stat().st_size
    removed = site.one.originals.remove([instance.path], before=datetime.now(UTC) + timedelta(seconds=1))
    assert (removed.files, removed.size_bytes, place.exists()) == (1, size, False)
    assert site.one.originals.remove_shared([instance.sha256]) == 1
    assert site.one.originals.remove_shared([instance.sha256]) == 0 and site.objects.kept == {}


def test_what_is_set_aside_as_changed_is_known_by_its_uid(site):
    stored = site.one.receive(film())
    site.one.receive(film(pixels=b"\2\3" * 64))
    assert site.one.originals.quarantined() == {stored.sop_instance_uid}
    assert site.two.originals.quarantined() == set()
