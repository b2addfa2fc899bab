"""Marks of arrivals outlive whoever took them and died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.spool_taken import FIRST_REST_SECONDS, Taken, studies_on_disk
from hoichan.testing.datasets import encode, film

TAKES_AND_STANDS = """
import sys
from pathlib import Path
from hoichan.adapters.spool_taken import Taken
taken = Taken(Path(sys.argv[1]))
print(*taken.take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def spool(tmp_path):
    return DiskSpool(tmp_path)


@pytest.fixture
def other(tmp_path):
    """A reader in a process of its own, which has taken what was marked."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKES_AND_STANDS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate(timeout=60)


@pytest.fixture
def marked(spool):
    for study in ("1.2.3", "1.2.4"):
        spool.mark_fresh(study)


def test_what_a_living_reader_took_is_nobody_elses(marked, spool, other):
    assert sorted(other.stdout.readline().split()) == ["1.2.3", "1.2.4"]
    assert spool.give_back() == 0
    assert spool.take_fresh() == []


def test_what_a_killed_reader_took_is_marked_again(marked, spool, other, tmp_path):
    assert other.stdout.readline()
    other.kill()
    other.wait(60)
    assert spool.give_back() == 2
    assert sorted(spool.take_fresh()) == ["1.2.3", "1.2.4"]
    assert spool.give_back() == 0
    assert len(list((tmp_path / "taken").iterdir())) == 1  # ours


def test_what_was_looked_at_is_not_given_back(marked, spool, tmp_path):
    reader = Taken(tmp_path)
    reader.take()
    reader.looked_at("1.2.3")
    reader.looked_at("1.2.9")  # never marked
    del reader
    assert spool.give_back() == 1
    assert spool.take_fresh() == ["1.2.4"]


def test_an_arrival_while_somebody_looks_is_marked_anew(spool):
    spool.mark_fresh("1.2.3")
    spool.take_fresh()
    spool.mark_fresh("1.2.3")
    spool.looked_at("1.2.3")
    assert spool.take_fresh() == ["1.2.3"]


def test_a_folder_that_is_being_made_is_left_alone(spool, tmp_path):
    (tmp_path / "taken" / "somebody").mkdir(parents=True)
    assert spool.give_back() == 0


def test_everything_on_disk_with_its_paths(spool, tmp_path):
    assert list(studies_on_disk(tmp_path)) == []
    stored = [
        spool.store(
            encode(made),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            sop_class_uid=made.SOPClassUID,
            sop_instance_uid=made.SOPInstanceUID,
            calling_ae_title="CR1",
        )
        for made in (film(), film(instance="2"), film(study="other", instance="3"))
    ]
    (tmp_path / stored[0].path).with_suffix(".txt").touch()  # nobody's
    found = {study: paths for some in spool.everything() for study, paths in some.items()}
    assert found == {
        stored[0].study_instance_uid: {stored[0].path, stored[1].path},
        stored[2].study_instance_uid: {stored[2].path},
    }
    assert all(isinstance(path, PurePosixPath) for paths in found.values() for path in paths)
    assert not Path(stored[0].path).is_absolute()


DIES_LOOKING = """
import os, sys
from pathlib import Path
from hoichan.adapters.spool_taken import Taken
taken = Taken(Path(sys.argv[1]))
for study in sorted(taken.take()):
    taken.looking(study)
    if study == "1.2.4":
        os.kill(os.getpid(), 9)
    taken.looked_at(study)
taken.looking(None)
"""


def _starts(tmp_path, spool):
    """A worker starts, and dies of one study; then the next gives back what it had."""
    ended = subprocess.run([sys.executable, "-c", DIES_LOOKING, str(tmp_path)], timeout=60, check=False)
    spool.give_back()
    return ended.returncode


def test_a_study_that_kills_who_looks_at_it_keeps_no_other_waiting(spool, tmp_path):
    for study in ("1.2.3", "1.2.4", "1.2.5"):
        spool.mark_fresh(study)
    assert _starts(tmp_path, spool) == -9
    assert sorted(spool.fresh()) == ["1.2.4", "1.2.5"]
    assert _starts(tmp_path, spool) == -9
    assert sorted(spool.fresh()) == ["1.2.4", "1.2.5"]
    assert _starts(tmp_path, spool) == 0  # it rests now, and the others have their turn
    assert spool.fresh() == ["1.2.4"]
    spool.mark_fresh("1.2.4")  # an image comes
    assert spool.take_fresh() == []
    mark = tmp_path / "fresh" / "1.2.4"
    long_ago = time.time() - FIRST_REST_SECONDS - 1
    os.utime(mark, (long_ago, long_ago))
    assert _starts(tmp_path, spool) == -9  # it is tried again, and rests twice as long
    os.utime(mark, (long_ago, long_ago))
    assert spool.take_fresh() == []
    ahead = time.time() + 3600  # of a clock that was set back since
    os.utime(mark, (ahead, ahead))
    assert spool.take_fresh() == ["1.2.4"]


def test_who_ends_beside_a_study_blames_none(marked, spool, tmp_path):
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", TAKES_AND_STANDS, str(tmp_path)],
            input="",
            text=True,
            timeout=60,
            check=True,
        )
        assert ended.returncode == 0
        assert spool.give_back() == 2
    assert sorted(spool.take_fresh()) == ["1.2.3", "1.2.4"]
