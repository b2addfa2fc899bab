"""kill -9 of every process in turn while films come in: nothing acknowledged is lost, nothing is doubled.

CHAOS_ROUNDS sets how often (1), CHAOS_SEED when each one dies.
"""

import os
import random
import threading

import pytest

from hoichan.adapters.scu import Address
from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from tests.acceptance.packages import write_package
from tests.chaos.counts import is_delivered
from tests.chaos.modality import Modality
from tests.chaos.receiver import Receiver

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
STUDIES = 30
ROLES = ("listen", "work", "web", "up")
BACK_SECONDS = 90  # until a killed role is there again; three interpreters start on a busy machine
SETTLE_SECONDS = 120  # until everything is delivered after the last kill
SHARE = """
[[destinations]]
name = "share"
kind = "folder"
path = "{folder}"
"""


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def house(tmp_path, receiver):
    made = RunningHouse(
        tmp_path / "house", config=receiver.destination() + SHARE.format(folder=tmp_path / "share")
    )
    write_package(made.data_dir / "models")
    yield made
    made.stop()


def kill_and_wait(house, role):
    before = house.pids()
    house.kill(role)
    if role == "up":
        house.start()
        return
    wait_until(
        lambda: house.pids().get(role, before[role]) != before[role],
        seconds=BACK_SECONDS,
        what=f"{role} is started again",
    )


# pynetdicom drops the socket of a refused connection without closing it
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", range(ROUNDS))
def test_nothing_is_lost_and_nothing_doubled(house, receiver, tmp_path, number):
    rng = random.Random(SEED + number)
    films = [
        write_film(a_film(f"chaos {number} {n}", rows=256, columns=224), tmp_path / "films")
        for n in range(STUDIES)
    ]
    house.start()
    modality = Modality(films, Address.parse(house.address), random.Random(SEED - number))
    try:
        for role in rng.sample(ROLES, len(ROLES)):
            threading.Event().wait(rng.uniform(0.3, 3))  # the moment of the kill is the point of the test
            kill_and_wait(house, role)
        modality.wait()
    finally:
        modality.close()
    wait_until(lambda: is_delivered(house, STUDIES), seconds=SETTLE_SECONDS, what="everything is delivered")
    house.stop()

    assert len(modality.told) == len(set(modality.told)) == STUDIES
    assert house.status() == {
        "instances": STUDIES,
        "studies": {"delivered": STUDIES},
        "queues": {},
        "dead_letters": 0,
        "oldest_undelivered_seconds": None,
    }
    share = tmp_path / "share"
    assert {folder.name for folder in share.iterdir()} == set(modality.told)
    for study in share.iterdir():
        (report,) = study.iterdir()
        names = {file.name for file in report.iterdir() if not file.name.endswith(".part")}
        assert names == {"sr.dcm", "sc.dcm", "report.fhir.json", "picture.png"}
    assert len(receiver.seen) == 2 * STUDIES  # one SR and one picture a study, whatever was sent twice
    assert {study for study, _, _ in receiver.seen} == set(modality.told)
    assert all(len(digests) == 1 for digests in receiver.seen.values())
    assert "Traceback" not in house.log()
