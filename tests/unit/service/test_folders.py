import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest
from structlog.testing import capture_logs

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import SpoolFull
from hoichan.intake.files import MEDIA_DIRECTORY
from hoichan.settings import Folder
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import MARKER, film, marked_film
from hoichan.testing.files import as_file
from hoichan.testing.house import wait_until
from service.folders import PATIENCE_SECONDS, FolderWatch, watch

STUDY = film().StudyInstanceUID


class Site:
    def __init__(self, path, after="delete", spool=None, **settings):
        self.path = path / "in"
        self.path.mkdir(exist_ok=True)
        self.spool = spool or FakeSpool()
        self.now = 1000.0
        folder = Folder(path=self.path, sender="GATEWAY", after=after, settled_seconds=2, **settings)
        self.watch = FolderWatch(folder, self.spool, monotonic=lambda: self.now)

    def put(self, name, content):
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def settle(self, seconds=2.5):
        """Two looks that far apart."""
        self.watch.step()
        self.now += seconds
        return self.watch.step()

    def refuse(self):
        """Until nobody hopes any more."""
        self.settle()
        self.now += PATIENCE_SECONDS + 1
        return self.watch.step()

    @property
    def files(self):
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())

    @property
    def instances(self):
        return sum(len(self.spool.listing(study)) for study in self.spool.every_study())


@pytest.fixture
def site(tmp_path):
    made = []

    def make(after="delete", **settings):
        made.append(Site(tmp_path, after, **settings))
        return made[-1]

    yield make
    for one in made:
        if isinstance(one.spool, FakeSpool):
            one.spool.close()


def zipped(*files):
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return place.getvalue()


@pytest.mark.parametrize(
    ("after", "left"),
    [
        ("delete", []),
        ("keep", ["a/1.dcm", "no extension"]),
        ("move", ["_taken/a/1.dcm", "_taken/no extension"]),
    ],
)
def test_files_are_taken_and_put_away(site, after, left):
    house = site(after)
    house.put("a/1.dcm", as_file(film()))
    house.put("no extension", as_file(film(instance="2")))
    assert house.settle() == 2
    assert house.files == left and house.instances == 2
    assert {one.calling_ae_title for one in house.spool.listing(STUDY)} == {"GATEWAY"}
    assert not house.spool.is_open(STUDY) and house.spool.take_fresh() == [STUDY]
    assert house.settle() == 0


def test_a_file_that_grows_is_left_until_it_rests(site):
    house = site()
    whole = as_file(film())
    for end in (200, 400, len(whole)):
        house.put("film", whole[:end])
        assert house.settle(1.5) == 0 and house.instances == 0
    house.now += 1
    assert house.watch.step() == 1
    assert house.instances == 1 and house.spool.quarantine == {}


def test_a_copy_that_pauses_is_taken_when_it_goes_on(site):
    house = site()
    whole = as_file(film())
    house.put("film", whole[:-20])
    house.settle()
    assert house.files == ["film"]
    house.put("film", whole)
    assert house.settle() == 1 and house.files == [] and house.instances == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a text", "intake.not_dicom"),
        (as_file(film())[:-9], "intake.not_dicom"),
        (as_file(film(), meta_syntax=""), "intake.incomplete_object"),
        (zipped(("../evil", as_file(film()))), "intake.archive_refused.unsafe_path"),
        (zipped(("inner.zip", zipped(("film", b"x")))), "intake.archive_refused.nested"),
        (zipped(("readme.txt", b"no film")), "intake.not_dicom"),
        (b"PK\x03\x04 damaged", "intake.archive_refused.damaged"),
    ],
)
def test_what_cannot_be_taken_is_set_aside_with_the_reason(site, content, code):
    house = site()
    house.put("b/odd", content)
    assert house.refuse() == 1
    assert house.files == ["_refused/b/odd", "_refused/b/odd.reason.json"]
    assert json.loads((house.path / "_refused/b/odd.reason.json").read_text())["reasons"] == {code: 1}
    assert (house.path / "_refused/b/odd").read_bytes() == content and house.instances == 0
    house.put("b/odd", content)
    house.refuse()
    assert "_refused/b/odd.1.reason.json" in house.files


def test_a_folder_that_is_kept_is_never_written_to(site):
    house = site("keep")
    house.put("odd", b"a text")
    house.put("film", as_file(film()))
    assert house.settle() == 2 and house.files == ["film", "odd"]
    assert house.settle() == 0
    house.put("odd", as_file(film(instance="2")))  # mended in its place
    assert house.settle() == 1 and house.instances == 2


def test_an_archive_is_unpacked_with_what_media_bring_along(site):
    house = site()
    house.put(
        "cd.zip",
        zipped(
            ("DICOMDIR", as_file(film(), sop_class_uid=MEDIA_DIRECTORY)),
            ("IMG/1", as_file(film())),
            ("IMG/2", as_file(film(instance="2"))),
            ("VIEWER.EXE", b"MZ"),
        ),
    )
    assert house.settle() == 1
    assert house.files == [] and house.instances == 2 and house.spool.quarantine == {}


def test_a_media_directory_is_ignored(site):
    house = site()
    house.put("DICOMDIR", as_file(film(), sop_class_uid=MEDIA_DIRECTORY))
    house.put("renamed", as_file(film(), sop_class_uid=MEDIA_DIRECTORY))
    house.settle()
    assert house.instances == 0 and house.spool.quarantine == {}


def test_links_hidden_empty_and_unfinished_files_are_left_alone(site, tmp_path):
    house = site()
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(as_file(film()))
    (house.path / "link").symlink_to(outside)
    (house.path / "folder").symlink_to(tmp_path)
    for name in (".hidden", "~lock", "film.part", "film.TMP", ".git/film"):
        house.put(name, as_file(film()))
    house.put("empty", b"")
    assert house.refuse() == 0 and house.instances == 0 and outside.exists()


def test_a_full_spool_leaves_everything_where_it_is(site):
    house = site()
    house.put("film", as_file(film()))
    house.spool.full = True
    with pytest.raises(SpoolFull):
        house.settle()
    assert house.files == ["film"]
    house.spool.full = False
    assert house.watch.step() == 1 and house.files == []


def test_a_file_beyond_the_limit_is_set_aside(site):
    house = site(maximum_bytes=500)
    house.put("film", as_file(film()))
    house.refuse()
    assert house.files == ["_refused/film", "_refused/film.reason.json"]


def test_changed_content_is_in_quarantine_so_the_file_may_go(site):
    house = site()
    house.put("1", as_file(film()))
    house.settle()
    house.put("2", as_file(film(pixels=b"\3\1" * 64)))
    house.settle()
    assert house.files == [] and len(house.spool.quarantine) == 1


def test_no_line_of_the_log_holds_a_name(site):
    house = site()
    house.put(f"{MARKER}.dcm", as_file(marked_film()))
    house.put(f"{MARKER}/{MARKER}.txt", MARKER.encode())
    house.put(f"{MARKER}.zip", zipped((f"{MARKER}.dcm", as_file(marked_film())[:-3]), (MARKER, b"MARKER")))
    with capture_logs() as lines:
        house.refuse()
    assert len(lines) >= 3 and MARKER not in json.dumps(lines, default=str)


TAKE = """
import sys
from pathlib import Path
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.settings import Folder
from service.folders import FolderWatch

spool = DiskSpool(Path(sys.argv[1]))
watch = FolderWatch(Folder(path=Path(sys.argv[2]), after="delete", settled_seconds=0), spool)
print("ready", flush=True)
while True:
    watch.step()
"""


def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path):
    house = Site(tmp_path, spool=DiskSpool(tmp_path / "spool"))
    number = 0
    for round_ in range(6):
        for _ in range(15):
            staged = tmp_path / "staged"
            staged.write_bytes(as_file(film(instance=str(number), pixels=b"\0\1" * 50_000)))
            staged.rename(house.path / f"{number}.dcm")
            number += 1
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(tmp_path / "spool"), str(house.path)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        wanted = number - 15 + 2 * round_ + 1
        wait_until(lambda wanted=wanted: house.instances >= wanted, seconds=30, what="some are taken")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    house.settle()
    assert house.instances == number and house.files == []
    house.spool.sweep()
    assert list((tmp_path / "spool" / "part").glob("*.part")) == []
    assert list((tmp_path / "spool" / "quarantine").iterdir()) == []


def test_threads_watch_until_they_are_stopped(tmp_path):
    house = Site(tmp_path)
    missing = Folder(path=tmp_path / "missing")
    ready = Folder(path=house.path, after="delete", settled_seconds=0)
    house.put("film", as_file(film()))
    stop = threading.Event()
    threads = watch([missing, ready], house.spool, stop)
    wait_until(lambda: house.instances == 1 and house.files == [], seconds=30, what="the film is taken")
    stop.set()
    deadline = time.monotonic() + 30
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads)
    house.spool.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_an_unreadable_file_does_not_hide_the_others(site):
    house = site()
    house.put("1", as_file(film())).chmod(0)
    house.put("2", as_file(film(instance="2")))
    assert house.settle() == 1 and house.files == ["1"]
