"""Marks of arrivals outlive whoever took them and died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.spool_taken import Taken, studies_on_disk
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
