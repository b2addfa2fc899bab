"""Counts of processes without a database: they go on over restarts, kills and damage, and never go back."""

import os
import time

import pytest

from hoichan.adapters.vitals_disk import SILENT_SECONDS, DiskVitals, told
from hoichan.errors import StorageUnusable
from hoichan.meters import ASSOCIATIONS_REJECTED, Key, Tally

KEY = Key("associations_rejected_total", ("no_room",))
FACTS = {"version": "0", "ports": {"plain": 11112}}


def counted(spool, amount, *, role="listener"):
    tally = Tally()
    with DiskVitals(spool, role, tally, FACTS):
        tally.add(ASSOCIATIONS_REJECTED, "no_room", amount=amount)


def test_what_a_living_process_tells(tmp_path):
    tally = Tally()
    with DiskVitals(tmp_path, "listener", tally, FACTS) as vitals:
        (one,) = told(tmp_path)
        assert (one.role, one.lives, one.facts, one.totals) == ("listener", True, FACTS, {})
        tally.add(ASSOCIATIONS_REJECTED, "no_room")
        vitals.tell()
        (one,) = told(tmp_path)
        assert one.totals == {KEY: 1}
    (one,) = told(tmp_path)
    assert not one.lives and one.totals == {KEY: 1}


def test_totals_go_on_after_a_restart(tmp_path):
    counted(tmp_path, 2)
    counted(tmp_path, 3)
    (one,) = told(tmp_path)
    assert one.totals == {KEY: 5}


def test_two_at_a_time_have_a_place_each(tmp_path):
    first, second = Tally(), Tally()
    with DiskVitals(tmp_path, "listener", first, FACTS), DiskVitals(tmp_path, "listener", second, FACTS):
        first.add(ASSOCIATIONS_REJECTED, "no_room")
        second.add(ASSOCIATIONS_REJECTED, "no_room", amount=7)
    assert sorted(one.totals[KEY] for one in told(tmp_path)) == [1, 7]
    counted(tmp_path, 1)
    assert sum(one.totals[KEY] for one in told(tmp_path)) == 9


def test_a_process_that_is_gone_is_seen_to_be(tmp_path):
    with DiskVitals(tmp_path, "listener", Tally(), FACTS):
        long_ago = time.time() - SILENT_SECONDS - 1
        os.utime(tmp_path / "vitals" / "listener-1.json", (long_ago, long_ago))
        assert not told(tmp_path)[0].lives


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"facts": {}, "totals": [[1]]}', b"\xff"])
def test_a_damaged_file_is_begun_anew(tmp_path, damage):
    counted(tmp_path, 2)
    (tmp_path / "vitals" / "listener-1.json").write_bytes(damage)
    assert told(tmp_path)[0].totals == {}
    counted(tmp_path, 3)
    assert told(tmp_path)[0].totals == {KEY: 3}


def test_no_room_keeps_the_counts_for_later(tmp_path):
    tally = Tally()
    with DiskVitals(tmp_path, "listener", tally, FACTS) as vitals:
        part = tmp_path / "vitals" / "listener-1.part"
        part.mkdir()
        tally.add(ASSOCIATIONS_REJECTED, "no_room")
        vitals.tell()
        assert told(tmp_path)[0].totals == {} and told(tmp_path)[0].lives
        part.rmdir()
    assert told(tmp_path)[0].totals == {KEY: 1}


def test_a_spool_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(StorageUnusable):
        DiskVitals(tmp_path / "spool", "listener", Tally(), FACTS)


def test_nothing_told_is_nothing(tmp_path):
    assert told(tmp_path / "nowhere") == []
