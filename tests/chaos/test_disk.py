"""A disk that is slow, broken or read-only under the listener: others are answered, and every word is true.

strace slows or fails the system calls of the real process; a read-only disk is a tmpfs made for the test.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import split
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.files import as_file
from hoichan.testing.house import wait_until
from tests.chaos import dcmtk
from tests.chaos.door import DoorProcess
from tests.chaos.faultproxy import Fault, Wire
from tests.chaos.test_full_disk import small_disk
from tests.chaos.wire import IMPLICIT_LITTLE, VERIFICATION, Peer

STORE = (COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)
FSYNC_SECONDS = 0.25
OUT_OF_RESOURCES = 0xA700
SUCCESS = 0x0000
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mount, or tracing of a process")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture
def door(tmp_path):
    with DoorProcess(tmp_path / "door") as made:
        made.start()
        yield made


@contextmanager
def injected(door, what):
    """The listener's system calls go wrong as strace is told, until the end."""
    tracing = subprocess.Popen(
        ["strace", "-fqq", "-o/dev/null", "-e", "trace=fsync,fdatasync", "-e", what, "-p", str(door.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        status = Path(f"/proc/{door.pid}/status")
        wait_until(
            lambda: f"TracerPid:\t{tracing.pid}" in status.read_text() or tracing.poll() is not None,
            seconds=20,
            what="strace holds the listener",
        )
        if tracing.poll() is not None:
            pytest.skip("this machine does not let us trace")
        yield
    finally:
        tracing.send_signal(signal.SIGINT)
        tracing.wait(20)


def stored(peer, name, *, study="disk"):
    one = film(study=study, instance=name)
    return peer.store(STORE, encode(one), sop_class=STORE[0], sop_instance=one.SOPInstanceUID).status


@contextmanager
def association(door):
    peer = Peer(door.connect(timeout=60))
    try:
        peer.associate([STORE, (VERIFICATION, IMPLICIT_LITTLE)])
        yield peer
        peer.release()
    finally:
        peer.close()


@needs_root
@needs_strace
def test_a_slow_disk_makes_nobody_else_wait(door):
    with association(door) as sender, association(door) as other:
        assert stored(sender, "quick") == SUCCESS
        microseconds = int(FSYNC_SECONDS * 1e6)
        with injected(door, f"inject=fsync,fdatasync:delay_enter={microseconds}"):
            statuses = []
            work = threading.Thread(target=lambda: statuses.extend(stored(sender, f"{n}") for n in range(4)))
            began = time.monotonic()
            work.start()
            slowest = 0.0
            while work.is_alive():
                asked = time.monotonic()
                assert other.echo().status == SUCCESS
                slowest = max(slowest, time.monotonic() - asked)
                work.join(0.05)
            assert time.monotonic() - began > 4 * FSYNC_SECONDS  # Success waits for the disk, every time
        assert statuses == [SUCCESS] * 4
        print(f"slowest C-ECHO beside a disk of {FSYNC_SECONDS} s an fsync: {slowest * 1000:.0f} ms")
        assert slowest < 1


@needs_root
@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EROFS"])
def test_a_disk_that_fails_is_told_and_the_same_object_is_taken_later(door, error):
    with association(door) as sender:
        assert stored(sender, "before") == SUCCESS
        with injected(door, f"inject=fsync,fdatasync:error={error}"):
            assert stored(sender, "during") == OUT_OF_RESOURCES
            assert stored(sender, "during") == OUT_OF_RESOURCES
            assert sender.echo().status == SUCCESS
        assert stored(sender, "during") == SUCCESS
        assert stored(sender, "before") == SUCCESS
    spool = door.spool
    kept = {
        spooled.path.stem: split(spool.file(spooled.path).read_bytes()).data_set
        for spooled in spool.listing(film(study="disk").StudyInstanceUID)
    }
    both = [film(study="disk", instance=name) for name in ("before", "during")]
    assert kept == {one.SOPInstanceUID: encode(one) for one in both}
    assert list((door.data_dir / "spool" / "part").glob("*.part")) == []
    assert list((door.data_dir / "spool" / "quarantine").iterdir()) == []


@needs_root
@pytest.mark.skipif(not dcmtk.is_available(), reason="dcmtk is not installed (make peers)")
def test_a_disk_that_turns_read_only_in_the_middle(tmp_path):
    films = []
    for number in range(150):
        one = film(study="read-only", instance=str(number))
        films.append(tmp_path / f"{one.SOPInstanceUID}.dcm")
        films[-1].write_bytes(as_file(one))
    with small_disk(tmp_path / "disk") as disk, DoorProcess(tmp_path / "door") as door:
        door.data_dir = disk / "data"
        elsewhere(tmp_path / "vitals", disk / "data" / "spool" / "vitals")
        door.start()
        pid = door.pid
        with Wire(
            door.port, lambda _: Fault(delay_seconds=0.03)
        ) as wire:  # between two films nothing is open
            sending = dcmtk.Sending("storescu", wire.port, films)
            wait_until(lambda: len(list(disk.rglob("*.dcm"))) > 5, seconds=30, what="it stores")
            wait_until(lambda: remounted(disk, "ro"), seconds=30, what="no file is being written")
            told = sending.told()
        assert set(told.values()) == {"Success", "Refused: OutOfResources"}
        first = [path for path, status in told.items() if status == "Success"]
        there = {path.stem for path in disk.rglob("*.dcm")}
        assert {path.stem for path in first} <= there
        with association(door) as peer:
            assert stored(peer, "while read-only") == OUT_OF_RESOURCES
            assert peer.echo().status == SUCCESS

        assert remounted(disk, "rw")
        rest = [path for path in films if path not in first]
        again = dcmtk.Sending("dcmsend", door.port, rest).told()
        assert set(again.values()) == {"Success"} and len(again) == len(rest)
        assert {path.stem for path in disk.rglob("*.dcm")} == {path.stem for path in films}
        assert door.pid == pid and list(disk.rglob("*.part")) == []
        door.stop()
        subprocess.run(["umount", str(disk / "data" / "spool" / "vitals")], check=True)


def elsewhere(folder, place):
    """The lock by which a door shows that it lives is open all the time; no disk turns read-only under it."""
    folder.mkdir()
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(folder), str(place)], check=True)


def remounted(disk, how):
    done = subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], capture_output=True, check=False)
    return done.returncode == 0
