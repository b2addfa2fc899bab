import io
import json
import os
import subprocess
import sys
import zipfile

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.vitals_disk import told
from hoichan.intake.files import MEDIA_DIRECTORY
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import MARKER, film, marked_film
from hoichan.testing.files import as_file
from service.imports import Fate, Verdict
from service.media import Tally, find_files, take_all

COMMAND = (sys.executable, "-P", "-m", "service", "import")


def zipped(*files):
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return place.getvalue()


@pytest.fixture
def medium(tmp_path):
    """A CD as a hospital burns it."""
    root = tmp_path / "cd"
    for name, content in {
        "DICOMDIR": as_file(film(), sop_class_uid=MEDIA_DIRECTORY),
        "AUTORUN.INF": b"[autorun]",
        "IMAGES/IM1": as_file(film()),
        "IMAGES/IM2": as_file(film(instance="2")),
        "IMAGES/IM2 (copy)": as_file(film(instance="2")),
        "VIEWER/help.zip": zipped(("film", as_file(film(instance="3")))),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def spool():
    fake = FakeSpool()
    yield fake
    fake.close()


def take(spool, *paths, archives=False):
    return take_all(find_files(paths, archives=archives), spool, sender="IMPORT")


def test_a_medium_comes_in_whole(medium, spool):
    tally = take(spool, medium)
    assert tally.good and tally.studies == {film().StudyInstanceUID: 2}
    assert tally.fates == {Fate.ACCEPTED: 2, Fate.DUPLICATE: 1, Fate.DIRECTORY: 1, Fate.NOT_DICOM: 2}
    assert not spool.is_open(film().StudyInstanceUID)
    again = take(spool, medium)
    assert again.good and again.fates[Fate.DUPLICATE] == 3 and again.studies == {film().StudyInstanceUID: 0}


def test_archives_in_folders_are_unpacked_when_asked_and_named_ones_always(medium, spool):
    assert take(spool, medium, archives=True).fates[Fate.ACCEPTED] == 3
    named = take(FakeSpool(), medium / "VIEWER" / "help.zip")
    assert named.fates == {Fate.ACCEPTED: 1}


def test_each_file_once_and_no_links(medium):
    (medium / "link").symlink_to(medium / "AUTORUN.INF")
    (medium / "loop").symlink_to(medium)
    files = find_files([medium, medium / "IMAGES", medium / "IMAGES" / "IM1"], archives=False)
    assert len(files) == 6 and dict(files)[(medium / "IMAGES" / "IM1").resolve()] is True


def test_what_was_refused_is_told_with_its_reason(medium, spool):
    (medium / "IMAGES" / "IM3").write_bytes(as_file(film(instance="cut"))[:-9])
    (medium / "IMAGES" / "IM4").write_bytes(as_file(film(pixels=b"\7\0" * 64)))
    tally = take(spool, medium)
    assert not tally.good and [(one.name, one.code) for one in tally.refused] == [
        ("IM3", "intake.not_dicom"),
        ("IM4", "changed_content"),
    ]
    assert any("intake.not_dicom  IM3" in line for line in tally.lines())
    assert tally.as_json()["reasons"][0] == {"file": "IM3", "code": "intake.not_dicom"}


def test_an_empty_folder_is_not_good(tmp_path, spool):
    tally = take(spool, tmp_path)
    assert not tally.good and tally.lines() == ["Nothing found."]


def test_a_full_spool_ends_it_and_says_what_to_do(medium, spool):
    spool.full = True
    tally = take(spool, medium)
    assert tally.full and not tally.good and "No room" in tally.lines()[-1]


def test_a_long_list_is_cut_for_people():
    tally = Tally()
    for number in range(30):
        tally.add(Verdict(name=str(number), fate=Fate.REFUSED, code="intake.not_dicom"))
    assert "and 10 more" in tally.lines()[-1] and len(tally.as_json()["reasons"]) == 30


def run(tmp_path, *arguments):
    return subprocess.run(
        [*COMMAND, *map(str, arguments), "--data-dir", str(tmp_path / "d")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOICHAN_STORAGE__RESERVE_BYTES": "0"},
    )


def test_the_command(tmp_path, medium):
    first = run(tmp_path, medium, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["accepted"] == 2 and first.stderr == ""
    spool = DiskSpool(tmp_path / "d" / "spool")
    assert {one.calling_ae_title for one in spool.listing(film().StudyInstanceUID)} == {"IMPORT"}
    (medium / "IMAGES" / "IM1").write_bytes(as_file(marked_film())[:-9])
    second = run(tmp_path, medium)
    assert second.returncode == 1 and "Refused" in second.stdout
    assert MARKER not in second.stdout + second.stderr
    (counted,) = [one for one in told(tmp_path / "d" / "spool") if one.role == "import"]
    counts = {key.labels: amount for key, amount in counted.totals.items()}
    assert counts["import", "IMPORT", "stored"] == 2 and counts["import", "IMPORT", "refused_object"] == 1
    assert run(tmp_path, tmp_path / "missing").returncode == 2
    assert run(tmp_path, medium, "--from", "x" * 17).returncode == 2
