"""Finding an instance by its UID alone: quick where it is known, and right whatever becomes of the index."""

import os
import random
import sqlite3
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.spool_index import index_of
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film
from hoichan.testing.spool import bring

LONG_AGO = 1_700_000_000


class Site:
    """A spool whose studies changed long ago, unless a test says otherwise."""

    def __init__(self, root):
        self.root = root
        self.spool = DiskSpool(root)

    def bring(self, study, instance="1", *, at=LONG_AGO):
        stored = bring(self.spool, film(study=study, instance=instance))
        folder = (self.root / stored.path).parent
        os.utime(folder, (at, at))
        return stored

    def locate(self, *stored):
        """Which of them are found, and how many studies were listed for it; None: the index was of no use."""
        with capture_logs() as logs:
            found = self.spool.locate([one.sop_instance_uid for one in stored])
        assert set(found.values()) <= {COMPUTED_RADIOGRAPHY}
        unusable = any(line["event"] == "instance_index_unusable" for line in logs)
        listed = sum(line["studies"] for line in logs if line["event"] == "instances_indexed")
        return set(found), None if unusable else listed

    @property
    def index(self):
        return self.root / "index" / "instances.sqlite"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def uids(*stored):
    return {one.sop_instance_uid for one in stored}


def test_every_study_is_listed_once_and_then_only_what_changed(site):
    first, second, third = (site.bring(name) for name in "abc")
    assert site.locate(first) == (uids(first), 3)
    assert site.locate(first, second, third) == (uids(first, second, third), 0)
    late = site.bring("b", "2", at=LONG_AGO + 1)
    assert site.locate(late, first) == (uids(late, first), 1)


def test_what_is_not_there_costs_a_look_at_every_folder_but_no_listing(site):
    here = site.bring("a")
    assert site.locate(here) == (uids(here), 1)
    assert site.spool.locate(["1.2.3", here.sop_instance_uid]).keys() == uids(here)
    with index_of(site.root) as index:
        assert index.refresh() == 0


def test_a_folder_that_changed_just_now_is_listed_again(site):
    """Another file may come within the same tick of the file system's clock."""
    here = bring(site.spool, film(study="a"))
    folder = (site.root / here.path).parent
    now = folder.stat().st_mtime_ns
    assert site.locate(here) == (uids(here), 1)
    more = bring(site.spool, film(study="a", instance="2"))
    os.utime(folder, ns=(now, now))
    assert site.locate(more) == (uids(more), 1)


def test_what_was_taken_away_is_not_committed_because_of_a_hint(site):
    here, other = site.bring("a"), site.bring("b")
    site.locate(here, other)
    (site.root / here.path).unlink()
    (site.root / here.path).parent.rmdir()
    (site.root / other.path).unlink()
    assert site.locate(here, other)[0] == set()
    with closing(sqlite3.connect(site.index)) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM studies").fetchone() == (1,)


def test_the_same_instance_in_two_studies_is_found_in_the_one_that_is_left(site):
    here, there = site.bring("a"), film(study="b")
    there.SOPInstanceUID = here.sop_instance_uid
    bring(site.spool, there)
    site.locate(here)
    (site.root / here.path).unlink()
    assert site.locate(here)[0] == uids(here)


@pytest.mark.parametrize("damage", ["no database", "cut off", "overwritten"])
def test_a_damaged_index_is_made_anew(site, damage):
    stored = [site.bring(str(number)) for number in range(200)]
    site.locate(*stored)
    content = site.index.read_bytes()
    spoilt = {
        "no database": b"MARKER" * 1000,
        "cut off": content[: len(content) // 2],
        "overwritten": content[:4096] + b"\xff" * (len(content) - 4096),
    }
    site.index.write_bytes(spoilt[damage])
    assert site.locate(*stored) == (uids(*stored), None)
    assert site.locate(*stored) == (uids(*stored), 200)


def test_without_room_for_an_index_every_study_is_looked_through(site):
    here = site.bring("a")
    (site.root / "index").touch()  # no folder can be made there
    assert site.locate(here) == (uids(here), None)


def test_while_another_process_lists_every_study_is_looked_through(site):
    here = site.bring("a")
    site.index.parent.mkdir()
    with closing(sqlite3.connect(site.index, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert site.locate(here) == (uids(here), None)
    assert site.locate(here) == (uids(here), 1)


def test_whatever_happens_the_answer_is_that_of_the_disk(site):
    chance, here, gone = random.Random(14), {}, {}
    for step in range(300):
        what = chance.random()
        if what < 0.5:
            stored = site.bring(str(chance.randrange(20)), str(step), at=LONG_AGO + step)
            here[stored.sop_instance_uid] = stored
        elif what < 0.7 and here:
            uid = chance.choice(sorted(here))
            gone[uid] = here.pop(uid)
            (site.root / gone[uid].path).unlink()
        else:
            asked = chance.sample(sorted(here | gone), k=min(5, len(here | gone)))
            assert site.spool.locate(asked).keys() == here.keys() & set(asked)
