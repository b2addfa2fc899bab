"""kill -9 of every role against a real PACS and a real EMR, on SQLite and with two workers on PostgreSQL.

Nothing acknowledged is lost, no effect is doubled, nothing is stuck: for 60 s nothing may stand still while
something is left to do. The EMR is moody on top: it refuses, stays silent, or does what it is asked and loses
the answer. A role is killed while it works or while it starts. After each stretch of five rounds everything
is looked at, and the next begins on the same record. CHAOS_ROUNDS sets the kills (6 a round, 1 round),
CHAOS_SECONDS ends a long run earlier, after a whole stretch, CHAOS_SEED says which and when.
"""

import os
import random
import tempfile
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address
from hoichan.testing import a_film
from hoichan.testing.house import wait_until, write_film
from hoichan.testing.reports import PATIENT_ID
from tests.acceptance.packages import write_package
from tests.chaos.modality import Modality
from tests.chaos.moody import MoodyEmr
from tests.chaos.site import Site
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module
from tests.peers import postgresql

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "inf"))
STRETCH = 5  # rounds between two looks at everything
KILLS, STUDIES = 6, 6  # of a round
SETTLE_SECONDS = 60 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
PATIENTS = "https://hoichan.invalid/id/patient"
pytestmark = [
    pytest.mark.skipif(not orthanc_module.is_available(), reason="Orthanc is not installed (make peers)"),
    pytest.mark.skipif(not emr_module.is_available(), reason="sekmet-fhir is not installed"),
    # pynetdicom drops the socket of a refused connection without closing it
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    with orthanc_module.Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def emr(tmp_path_factory):
    with emr_module.Emr(tmp_path_factory.mktemp("emr")) as server:
        server.create_patient(PATIENTS, PATIENT_ID)
        yield server


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        started = postgresql.PostgreSQL(Path(folder))
        yield started
        started.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def roles(request):
    if request.param == "sqlite":
        return request.param, ("listen", "work", "web")
    if not postgresql.is_available() or find_spec("psycopg") is None:
        pytest.skip("PostgreSQL's server or psycopg is not installed (make .venv/.peers peers)")
    return request.param, ("listen", "work", "work-2", "web")


def environment_for(request, kind):
    if kind == "sqlite":
        return {}
    url = request.getfixturevalue("server").database(f"chaos{os.getpid()}")
    return {"HOICHAN_STORAGE__DATABASE": url}


def everything(emr, kind):
    found = []
    while page := emr.search(kind, _offset=str(len(found)), _sort="_id"):
        fresh = [one for one in page if one["id"] not in {known["id"] for known in found}]
        if not fresh:
            break
        found += fresh
    return found


class House:
    """The site between its peers, and what was sent to it so far."""

    def __init__(self, kind, names, site, folder, dice):
        self.kind, self.names, self.site, self.dice = kind, names, site, dice
        self.told, self.kills = [], 0
        self._folder = folder
        self._address = Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port)

    def stretch(self, rounds):
        """So many rounds of kills while films come."""
        first = len(self.told)
        films = [
            write_film(a_film(f"{self.kind} {n}", rows=128, columns=112), self._folder / "films")
            for n in range(first, first + STUDIES * rounds)
        ]
        modality = Modality(
            films, self._address, random.Random(SEED + first), pause_seconds=KILLS * 1.5 / STUDIES
        )
        try:
            for _ in range(KILLS * rounds):
                self._kill_one()
            modality.wait(seconds=10 * SETTLE_SECONDS)
        finally:
            modality.close()
        for film in films:
            film.unlink()
        assert len(set(modality.told)) == len(films)
        self.told += modality.told

    def _kill_one(self):
        threading.Event().wait(self.dice.uniform(0.2, 2.5))  # the moment is the point
        name = self.dice.choice(self.names)
        if self.dice.random() < 0.7:  # else perhaps in the middle of its start
            wait_until(lambda: self.site.is_ready(name), seconds=SETTLE_SECONDS, what=f"{name} is ready")
        self.site.kill(name)
        self.site.start(name, wait=False)
        self.kills += 1

    def settle(self):
        """Until nothing is left to do. Raises TimeoutError when something is, and nothing moves."""
        seen, moved_at = None, time.monotonic()
        while True:
            now = self.site.status()
            done = now["studies"] == {"delivered": len(self.told)}
            if done and not now["queues"] and now["oldest_undelivered_seconds"] is None:
                break
            threading.Event().wait(0.5)  # asking costs the processor that they need
            moving = {key: now[key] for key in ("studies", "queues", "instances")}
            if moving != seen:
                seen, moved_at = moving, time.monotonic()
            elif time.monotonic() - moved_at > SETTLE_SECONDS:
                raise TimeoutError(f"stuck: {now}")
        assert now["dead_letters"] == 0
        assert self.site.has_ended() == []


def check(house, pacs, emr, told):
    """Each study once at both receivers."""
    for study in told:
        assert len(pacs.uids(study, "SR")) == 1
        assert len(pacs.qido(study)) == 2  # the SR and its picture
    reports = Counter(
        identifier["value"].removeprefix("urn:oid:")
        for one in everything(emr, "ImagingStudy")
        for identifier in one["identifier"]
    )
    assert {study: reports[study] for study in house.told} == dict.fromkeys(house.told, 1)
    assert "Traceback" not in house.site.log()


def test_nothing_is_lost_nothing_doubled_nothing_stuck(request, roles, pacs, emr, tmp_path):
    kind, names = roles
    began = time.monotonic()
    with MoodyEmr(emr.port, seed=SEED) as moody:
        through = emr.destination(url=f"http://127.0.0.1:{moody.port}/fhir", timeout_seconds=2)
        site = Site(
            tmp_path / "site",
            config=pacs.destination() + through,
            environment=environment_for(request, kind),
            forked=True,
        )
        write_package(site.data_dir / "models")
        with site:
            site.start(*names)
            house = House(kind, names, site, tmp_path, random.Random(SEED))
            for done in range(0, ROUNDS, STRETCH):
                if time.monotonic() - began > SECONDS:
                    break
                moody.moody = True
                told = len(house.told)
                house.stretch(min(STRETCH, ROUNDS - done))
                moody.moody = False
                house.settle()
                check(house, pacs, emr, house.told[told:])
                took = time.monotonic() - began
                print(f"{kind}: {house.kills} kills, {len(house.told)} studies, {took:.0f} s", flush=True)
    print(f"{kind}: seed {SEED}, the EMR was {dict(moody.seen)}")
