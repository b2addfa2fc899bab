"""A clock that jumps a day, forward and back, under a whole house: work goes on, once each.

A PACS that is gone meanwhile is asked again when it is back, whatever the clock said when it was last tried.
The clock is that of the house only, by a library that is compiled here (clock.c). Times of files stay true,
as if the clock had been set after they were written.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from tests.acceptance.packages import write_package
from tests.chaos.counts import counts
from tests.chaos.receiver import Receiver

COMPILER = shutil.which("cc") or shutil.which("gcc")
DAY = 86_400
SECONDS = 90
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler: the clock library cannot be made")


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def clock(tmp_path):
    """Sets the house's clock off by so many seconds."""
    file = tmp_path / "clock"

    def off(seconds):
        file.with_suffix(".new").write_text(f"{seconds:+d}\n")
        file.with_suffix(".new").replace(file)

    off(0)
    return off


@pytest.fixture
def house(tmp_path, receiver, clock):
    library = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(tmp_path / "clock")}
    made = RunningHouse(tmp_path / "house", config=receiver.destination(), environment=environment)
    write_package(made.data_dir / "models")
    yield made
    made.stop()


def test_the_clock_jumps_a_day_and_back(house, receiver, clock, tmp_path):
    house.start()
    pids = house.pids()
    studies = []
    for number, off in enumerate((0, DAY, -DAY, 0)):
        clock(off)
        film = a_film(f"clock {number}", rows=128, columns=112)
        house.send(write_film(film, tmp_path / "films"))
        studies.append(film.StudyInstanceUID)
        wait_until(
            lambda number=number: counts(house, "hoichan_studies") == {"delivered": number + 1},
            seconds=SECONDS,
            what=f"film {number} is delivered",
        )
    assert house.pids() == pids  # nobody died of it, nobody had to be started again
    assert {study for study, _, _ in receiver.seen} == set(studies)
    assert len(receiver.seen) == 2 * len(studies)
    assert all(len(digests) == 1 for digests in receiver.seen.values())


def test_a_receiver_that_was_gone_is_served_whatever_the_clock_says(house, receiver, clock, tmp_path):
    house.start()
    clock(DAY)
    receiver.pause()
    film = a_film("gone", rows=128, columns=112)
    house.send(write_film(film, tmp_path / "films"))
    wait_until(
        lambda: counts(house, "hoichan_deliveries").get("pending"), seconds=SECONDS, what="it is tried"
    )
    house.wait_for_event(film.StudyInstanceUID, "delivery_postponed", seconds=SECONDS)
    clock(0)  # the next try is planned for tomorrow now
    receiver.resume()
    wait_until(
        lambda: counts(house, "hoichan_studies") == {"delivered": 1}, seconds=SECONDS, what="it is delivered"
    )
    assert len(receiver.seen) == 2
