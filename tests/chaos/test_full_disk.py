"""A disk that fills up: the sender hears 0xA700, nothing is lost, and the service returns by itself."""

import errno
import os
import subprocess
from contextlib import contextmanager

import pytest

from hoichan.adapters.scu import Address, send
from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from tests.acceptance.packages import write_package

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root to mount")

OUT_OF_RESOURCES = 0xA700
SUCCESS = 0x0000
SIZE = "24m"
SECONDS = 180  # the engine waits longer after each try


@contextmanager
def small_disk(folder):
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def house(tmp_path, disk):
    made = RunningHouse(tmp_path / "house")
    made.data_dir = disk / "data"
    write_package(made.data_dir / "models")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def films(tmp_path):
    def write(seed):
        film = a_film(seed, rows=512, columns=448)  # 450 kB; its documents need more
        return film.StudyInstanceUID, write_film(film, tmp_path / "films")

    return write


def fill(disk, *, leave=0):
    """Take all free space but `leave` bytes; the house that writes beside us may take a part of it first."""
    space = os.statvfs(disk)
    try:
        with (disk / "filler").open("wb", buffering=0) as filler:
            for _ in range((space.f_bavail * space.f_frsize - leave) // space.f_frsize):
                filler.write(bytes(space.f_frsize))
    except OSError as error:
        assert error.errno == errno.ENOSPC


def store(house, film):
    (sent,) = send([film], Address.parse(house.address), calling_ae_title="CR_ROOM1")
    return sent.status


def test_the_sender_is_told_to_try_later_and_then_it_goes_on(house, disk, films):
    before, before_path = films("before")
    assert store(house, before_path) == SUCCESS
    house.wait_for_event(before, "delivery_acknowledged", seconds=SECONDS)
    pids = house.pids()

    fill(disk)
    study, path = films("while full")
    assert store(house, path) == OUT_OF_RESOURCES
    assert store(house, path) == OUT_OF_RESOURCES
    assert before in house.get()  # reading goes on

    (disk / "filler").unlink()
    assert store(house, path) == SUCCESS
    house.wait_for_event(study, "delivery_acknowledged", seconds=SECONDS)
    assert house.pids() == pids  # nobody had to be started again
    assert house.status()["studies"] == {"delivered": 2}
    assert list((house.data_dir / "spool" / "part").iterdir()) == []


def test_what_was_accepted_before_the_disk_was_full_is_reported_when_it_is_not(house, disk, films):
    study, path = films("just fits")
    fill(disk, leave=700_000)
    assert store(house, path) == SUCCESS
    wait_until(
        lambda: any(sign in house.log() for sign in ("round_failed", "heartbeat_failed", "library_log")),
        seconds=SECONDS,
        what="the worker meets the full disk",
    )
    assert house.reports(study) == []

    (disk / "filler").unlink()
    house.wait_for_event(study, "delivery_acknowledged", seconds=SECONDS)
    assert len(house.reports(study)) == 1
    assert house.status()["studies"] == {"delivered": 1}
    assert list((house.data_dir / "objects").rglob("*.part")) == []
    assert "Traceback" not in house.log()
