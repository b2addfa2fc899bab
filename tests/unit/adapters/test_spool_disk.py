import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from hoichan.adapters.parts import Parts
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import HoichanError, IntakeError, NotDicom, SpoolFull, StorageUnusable
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, MARKER, encode, film, marked_film
from hoichan.types import StudyInstanceUID


def store(spool, data_set=None, *, data=None, instance=None, title="CR_ROOM1"):
    data_set = data_set if data_set is not None else film()
    return spool.store(
        encode(data_set) if data is None else data,
        transfer_syntax_uid=EXPLICIT_LITTLE,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=instance or data_set.SOPInstanceUID,
        calling_ae_title=title,
    )


def files(root: Path, folder=""):
    return sorted(str(p.relative_to(root)) for p in (root / folder).rglob("*") if p.is_file())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "spool"


def test_the_layout(root):
    spool = DiskSpool(root)
    stored = store(spool)
    half, study, name = stored.path.parts[1:]
    assert len(half) == 2 and study == film().StudyInstanceUID and name == f"{film().SOPInstanceUID}.dcm"
    assert files(root) == [f"fresh/{study}", str(stored.path)]
    assert dcmread(root / stored.path).PatientID == "BN0001"


def test_a_restart_still_knows_a_duplicate(root):
    store(DiskSpool(root))
    assert store(DiskSpool(root)).duplicate


def test_a_restart_still_knows_changed_content(root):
    store(DiskSpool(root))
    assert store(DiskSpool(root), film(pixels=b"\3\0" * 64)).quarantined == "changed_content"


def test_a_restart_sweeps_parts_and_open_marks_and_keeps_studies(root):
    spool = DiskSpool(root)
    study = store(spool).study_instance_uid
    spool.opened(study, "lost")
    spool.take_fresh()
    (root / "part" / "half.part").write_bytes(b"half")
    again = DiskSpool(root)
    assert again.is_open(study)
    assert again.sweep() == 2
    assert not again.is_open(study) and files(root, "part") == []
    assert len(again.listing(study)) == 1


def test_an_open_mark_older_than_the_cap_is_not_believed(root):
    spool = DiskSpool(root, open_mark_seconds=900)
    study = store(spool).study_instance_uid
    spool.opened(study, "one")
    (mark,) = (root / "open" / study).iterdir()
    assert mark.name == f"{os.getpid()}-one"
    old = time.time() - 901
    os.utime(mark, (old, old))
    assert not spool.is_open(study)


def test_received_at_is_the_time_of_the_file(root):
    spool = DiskSpool(root)
    stored = store(spool)
    os.utime(root / stored.path, (1_790_000_000, 1_790_000_000))
    assert spool.listing(stored.study_instance_uid)[0].received_at.timestamp() == 1_790_000_000


def test_a_damaged_file_does_not_hide_the_others(root):
    spool = DiskSpool(root)
    stored = store(spool)
    folder = (root / stored.path).parent
    (folder / "1.2.dcm").write_bytes(b"")
    (folder / "1.3.dcm").write_bytes(b"damaged")
    (folder / ".note").write_bytes(b"")
    assert len(spool.listing(stored.study_instance_uid)) == 3


def notes(root):
    return [json.loads(path.read_text()) for path in sorted((root / "quarantine").glob("*.json"))]


def test_quarantine_keeps_the_bytes_and_the_reason(root):
    spool = DiskSpool(root)
    data = encode(film())[:-5]
    with pytest.raises(NotDicom):
        store(spool, data=data)
    (note,) = notes(root)
    assert note["reason"] == "intake.not_dicom" and note["calling_ae_title"] == "CR_ROOM1"
    assert note["file"].endswith(".bin")
    assert (root / "quarantine" / note["file"]).read_bytes() == data


def test_a_sender_that_keeps_trying_fills_no_disk(root):
    spool = DiskSpool(root)
    for _ in range(3):
        with pytest.raises(NotDicom):
            store(spool, data=b"broken")
    assert len(files(root, "quarantine")) == 2


def test_quarantined_dicom_can_be_opened(root):
    spool = DiskSpool(root)
    store(spool)
    changed = store(spool, film(pixels=b"\4\0" * 64))
    assert dcmread(root / changed.path).PixelData == b"\4\0" * 64


def test_no_name_and_no_note_holds_anything_of_the_patient(root):
    spool = DiskSpool(root)
    marked = marked_film()
    store(spool, marked)
    for data, instance in ((encode(marked)[:-3], None), (encode(marked), MARKER), (b"MARKER MARKER", MARKER)):
        with pytest.raises(IntakeError) as caught:
            store(spool, marked, data=data, instance=instance)
        assert MARKER not in str(caught.value)
    assert len(notes(root)) == 3
    assert not [name for name in files(root) if MARKER in name]
    assert MARKER not in json.dumps(notes(root))


def test_below_the_reserve_nothing_is_accepted_and_service_returns(root):
    spool = DiskSpool(root, reserve_bytes=1 << 62)
    with pytest.raises(SpoolFull):
        store(spool)
    with pytest.raises(SpoolFull):
        store(spool, data=b"garbage goes nowhere either")
    assert files(root) == []
    roomy = DiskSpool(root, reserve_bytes=1)
    assert not store(roomy).duplicate


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB that really fills up."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_runs_full_refuses_and_recovers(tiny_disk):
    spool = DiskSpool(tiny_disk / "spool")
    accepted = []
    with pytest.raises(SpoolFull):
        for number in range(100):
            accepted.append(store(spool, film(instance=str(number), pixels=b"\0\1" * 8000)))
    assert 1 <= len(accepted) < 30
    assert files(tiny_disk / "spool", "part") == []
    assert len(spool.listing(accepted[0].study_instance_uid)) == len(accepted)
    spool.file(accepted[0].path).unlink()
    assert not store(spool, film(instance="0", pixels=b"\0\1" * 8000)).duplicate


def test_a_disk_that_is_full_at_the_start_is_stood_before(tiny_disk):
    DiskSpool(tiny_disk / "spool")
    with suppress(OSError), (tiny_disk / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(b"x" * 4096):
            pass
    spool = DiskSpool(tiny_disk / "spool")
    spool.sweep()
    with pytest.raises(SpoolFull):
        store(spool, film(pixels=b"\0\1" * 8000))
    (tiny_disk / "ballast").unlink()
    assert not store(spool, film(pixels=b"\0\1" * 8000)).duplicate


def test_a_disk_that_becomes_read_only_refuses_and_recovers(tiny_disk):
    spool = DiskSpool(tiny_disk / "spool")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(SpoolFull, match=os.strerror(errno.EROFS)):
        store(spool)
    subprocess.run(["mount", "-o", "remount,rw", str(tiny_disk)], check=True)
    assert not store(spool).duplicate


def test_an_object_whose_mark_failed_is_marked_when_it_comes_again(root):
    spool = DiskSpool(root)
    (root / "fresh").rmdir()
    with pytest.raises(SpoolFull):
        store(spool)
    (root / "fresh").mkdir()
    again = store(spool)
    assert again.duplicate and spool.take_fresh() == [again.study_instance_uid]


def test_a_data_folder_that_cannot_be_used_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnusable, match="cannot be written"):
        DiskSpool(tmp_path / "file" / "spool")


def test_many_threads_store_each_object_once(root):
    spool = DiskSpool(root)
    answers = []

    def send():
        answers.extend(store(spool, film(instance=str(number))).duplicate for number in range(10))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(False) == 10 and answers.count(True) == 30
    assert len(files(root, "studies")) == 10 and files(root, "quarantine") == files(root, "part") == []


def test_two_versions_at_the_same_time_keep_the_first(root):
    spool = DiskSpool(root)
    barrier = threading.Barrier(6)
    answers = []

    def send(number):
        barrier.wait()
        answers.append(store(spool, film(pixels=bytes([number, 0]) * 64)).quarantined)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 1 and answers.count("changed_content") == 5
    assert len(notes(root)) == 5


@given(st.text(max_size=70))
@settings(max_examples=100, deadline=None)
def test_nothing_but_a_uid_becomes_a_path(tmp_path_factory, text):
    spool = DiskSpool(tmp_path_factory.getbasetemp() / "uids")
    study = StudyInstanceUID(text)
    try:
        listing = spool.listing(study)
        spool.is_open(study)
    except HoichanError:
        return
    assert listing == [] and set(text) <= set("0123456789.")


# ---------------------------------------------------------------------- several processes
STORE = """
import json, sys
from pathlib import Path
from hoichan.adapters.parts import Parts
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.intake.headers import EXPLICIT_LITTLE

spool = DiskSpool(Path(sys.argv[1]))
films = [film(instance=str(number), pixels=b"\\0\\1" * 20000) for number in range(int(sys.argv[2]))]
data = [encode(one) for one in films]
print("ready", flush=True)
sys.stdin.readline()
told = []
for one, body in zip(films, data):
    stored = spool.store(
        body,
        transfer_syntax_uid=EXPLICIT_LITTLE,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=one.SOPInstanceUID,
        calling_ae_title="DOOR",
    )
    told.append([stored.duplicate, stored.quarantined])
print(json.dumps(told), flush=True)
"""


def test_two_processes_that_bring_the_same_objects_keep_each_once(root):
    doors = [
        subprocess.Popen(
            [sys.executable, "-c", STORE, str(root), "40"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for door in doors:
        assert door.stdout.readline() == "ready\n"
    for door in doors:
        door.stdin.write("\n")
        door.stdin.flush()
    told = [json.loads(door.communicate(timeout=60)[0]) for door in doors]
    assert [door.returncode for door in doors] == [0, 0]
    for first, second in zip(*told, strict=True):  # both heard Success, one of them was first
        assert sorted((first[0], second[0])) == [False, True] and first[1] is second[1] is None
    assert len(files(root, "studies")) == 40 and files(root, "quarantine") == files(root, "part") == []


def test_a_sweep_leaves_alone_what_a_living_process_does(root):
    spool = DiskSpool(root)
    study = store(spool).study_instance_uid
    (root / "part" / "abandoned.part").write_bytes(b"half")
    living = root / "open" / study / f"{os.getppid()}-one"
    living.parent.mkdir()
    living.touch()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (root / "open" / study / f"{gone.pid}-two").touch()
    with (root / "part" / "written.part").open("xb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        assert DiskSpool(root).sweep() == 2
        assert files(root, "part") == ["part/written.part"]
    assert list((root / "open" / study).iterdir()) == [living]
    old = time.time() - 901
    os.utime(living, (old, old))
    assert (
        DiskSpool(root).sweep() == 2
    )  # its writer let go of the part, and the mark is not believed any more
    assert files(root, "part") == files(root, "open") == []


def test_a_spool_can_be_opened_while_another_process_sweeps(root):
    first, opened = DiskSpool(root), threading.Event()

    def sweep():
        while not opened.is_set():
            first.sweep_unfinished()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(300):
            DiskSpool(root)
    finally:
        opened.set()
        sweeper.join()


def test_what_died_is_swept_at_any_time_and_marks_stay(root):
    spool = DiskSpool(root)
    study = store(spool).study_instance_uid
    (root / "part" / "abandoned.part").write_bytes(b"half")
    mark = root / "open" / study / "1-another"
    mark.parent.mkdir()
    mark.touch()
    with (root / "part" / "written.part").open("xb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        assert spool.sweep_unfinished() == 1
    assert files(root, "part") == ["part/written.part"] and mark.exists()
    assert len(spool.listing(study)) == 1


def test_an_own_mark_survives_a_sweep_of_the_same_process(root):
    spool = DiskSpool(root)
    study = store(spool).study_instance_uid
    spool.opened(study, "one")
    assert spool.sweep() == 0 and spool.is_open(study)
    spool.released("one")
    assert not spool.is_open(study)


def test_a_file_system_without_links_keeps_the_first_too(root, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no links here")

    spool = DiskSpool(root)
    monkeypatch.setattr(os, "link", refuse)  # no such file system can be mounted here
    assert not store(spool).duplicate
    parts = Parts(root / "part")
    with pytest.raises(FileExistsError):
        parts.write(b"", b"other", root / store(spool).path)
    assert store(spool).duplicate and list((root / "part").glob("*.part")) == []


def test_a_filed_object_that_was_damaged_on_the_disk_is_not_called_the_same(root):
    spool = DiskSpool(root)
    stored = store(spool)
    (root / stored.path).write_bytes(b"")
    assert store(spool).quarantined == "changed_content"
