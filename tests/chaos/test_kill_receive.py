"""kill -9 of the listener while dcmtk's senders store: what a sender was told is there, whole and once.

CHAOS_KILLS sets how often it dies (12), CHAOS_SEED when. A modality sends again what it was not told of.
"""

import os
import random
import shutil
import threading

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.part10 import split
from hoichan.testing.datasets import encode, film
from hoichan.testing.files import as_file
from tests.chaos import dcmtk
from tests.chaos.door import DoorProcess

KILLS = int(os.environ.get("CHAOS_KILLS", "12"))
SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
FILES = 8  # new ones a round, in two studies
SIZES = (100, 4_000, 200_000)  # 16-bit pixels of a film
SENDERS = ("dcmsend", "storescu", "dcmsend")  # the last two send the same files: a race for each name

pytestmark = pytest.mark.skipif(not dcmtk.is_available(), reason="dcmtk is not installed (make peers)")


@pytest.fixture
def door(tmp_path):
    with DoorProcess(tmp_path / "door") as made:
        yield made


class Films:
    """The films of a run, made anew when asked for, so that a thousand rounds fit into memory."""

    def __init__(self, folder):
        self._folder = folder
        self._sizes = {}
        folder.mkdir()

    def made(self, number, chance):
        self._sizes[number] = chance.choice(SIZES)
        path = self._folder / f"{number}.dcm"
        path.write_bytes(as_file(self.film(number)))
        return path

    def film(self, number):
        pixels = number.to_bytes(4, "little") * (self._sizes[number] // 2)
        return film(study=f"chaos {number // (FILES // 2)}", instance=str(number), pixels=pixels)


def filed(door):
    """How many objects have their names."""
    return sum(1 for _ in (door.data_dir / "spool" / "studies").rglob("*.dcm"))


def one_life(door, files, chance, *, after=0):
    """Start, send by three senders, kill at a random moment; the files whose Success somebody heard of.

    `after`: so many objects have been filed by then, so that a slow machine is killed between answers, too.
    """
    door.start(processes=chance.choice((1, 2)))  # with helpers, and without
    before = filed(door)
    half = len(files) // 2
    shares = (files[:half], files[half:], files[half:])
    sendings = [
        dcmtk.Sending(program, door.port, share) for program, share in zip(SENDERS, shares, strict=True)
    ]
    while filed(door) < before + after and not all(sending.is_done for sending in sendings):
        threading.Event().wait(0.002)
    # the moment of the kill is the point of the test
    threading.Event().wait(chance.uniform(0, 0.01 if after else 0.5))
    door.kill()
    return {file for sending in sendings for file, status in sending.told().items() if status == "Success"}


def what_is_there(spool: DiskSpool):
    """(SOP Instance UID, its data set) of every object that is filed."""
    for study in spool.every_study():
        for spooled in spool.listing(study):
            yield spooled.path.stem, split(spool.file(spooled.path).read_bytes()).data_set


def test_what_was_told_is_there_once(door, tmp_path):
    chance = random.Random(SEED)
    films = Films(tmp_path / "films")
    told, waiting, sent, in_the_middle = set(), [], 0, 0
    for number in range(KILLS):
        fresh = [films.made(number * FILES + n, chance) for n in range(FILES)]
        waiting += fresh
        sent += len(fresh)
        offered = waiting[: 3 * FILES]
        heard = one_life(door, offered, chance, after=chance.randint(4, FILES) * (number % 2))
        in_the_middle += 0 < len(heard) < len(offered)
        told |= {int(file.stem) for file in heard}
        for file in heard:
            file.unlink()
        waiting = [file for file in waiting if file not in heard]
    door.start()
    while waiting:  # it is left in peace now
        heard = dcmtk.Sending("dcmsend", door.port, waiting[:50]).told()
        assert set(heard.values()) == {"Success"}
        told |= {int(file.stem) for file in heard}
        waiting = waiting[50:]
    door.stop()

    spool = door.spool
    fresh_marks = set(spool.fresh())
    kept = dict(what_is_there(spool))
    lost = [one for one in told if kept.get(films.film(one).SOPInstanceUID) != encode(films.film(one))]
    instances = [path.name for path in (door.data_dir / "spool" / "studies").rglob("*.dcm")]
    print(
        f"seed {SEED}: {KILLS} kills, {in_the_middle} of them between two answers; {sent} films,"
        f" {len(lost)} lost, {len(instances) - sent} doubled"
    )
    assert in_the_middle >= KILLS // 10  # else the test has seen nothing
    assert len(told) == sent
    assert lost == []
    assert len(instances) == len(set(instances)) == len(kept) == sent
    assert {
        films.film(one).StudyInstanceUID for one in told
    } <= fresh_marks  # the house looks at each of them
    assert list((door.data_dir / "spool" / "quarantine").iterdir()) == []
    assert list((door.data_dir / "spool" / "part").glob("*.part")) == []
    assert "Traceback" not in door.log_file.read_text(encoding="utf-8")
    shutil.rmtree(door.data_dir)
