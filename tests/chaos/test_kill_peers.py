"""kill -9 of every role against a real PACS and a real EMR, on SQLite and with two workers on PostgreSQL.

Nothing acknowledged is lost, no effect is doubled, nothing is stuck: for 60 s nothing may stand still while
something is left to do. The EMR is moody on top: it refuses, stays silent, or does what it is asked and loses
the answer. Three modalities send at the same time, so that several films are in flight. Every process has a
life of its own that ends at a random moment, in its start or later, whatever the others do; now and then the
power fails for all. After each stretch of six rounds everything is looked at, and the next begins on the same
record; at the end every study is looked up once more. CHAOS_ROUNDS sets the kills (6 a round, 1 round),
CHAOS_SECONDS ends a long run earlier, after a whole stretch, CHAOS_SEED says how long they live.
"""

import os
import random
import re
import tempfile
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address
from hoichan.testing import a_film
from hoichan.testing.house import write_film
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
STRETCH = 6  # rounds between two looks at everything
KILLS, STUDIES = 6, 2  # of a round
MODALITIES = 3  # that send at the same time
SLOWNESS = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # of a machine that others keep busy
LONGEST_LIVES = {"listen": 4.0, "work": 5.0, "work-2": 5.0, "web": 4.0}  # seconds after it is ready
SETTLE_SECONDS = 60 * SLOWNESS
# What Python says in a child whose parent was killed before it had told it what to do: nothing had begun.
CUT_OFF = re.compile(r"Traceback .*\n(?:  .*\n)*  .* in spawn_main\n(?:  .*\n)*EOFError: Ran out of input\n")
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


class Life:
    """When one role dies next."""

    def __init__(self, site, name):
        self._site, self._name = site, name
        self._dice = random.Random(f"{SEED} {name}")
        self.begin()

    def begin(self):
        """It was started again."""
        self._in_start = self._dice.random() < 0.25
        longest = 1.0 if self._in_start else LONGEST_LIVES[self._name]
        self._left = self._dice.uniform(0, longest * min(SLOWNESS, 3.0))
        self._since = time.monotonic() if self._in_start else None

    def is_over(self):
        """Whether its end has come."""
        if self._since is None and self._site.is_ready(self._name):
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since > self._left


class House:
    """The site between its peers, and what was sent to it so far."""

    def __init__(self, kind, names, site, folder, dice):
        self.kind, self.names, self.site, self.dice = kind, names, site, dice
        self.told, self.killed = [], Counter()
        self._lives = {name: Life(site, name) for name in names}
        self._folder = folder
        self._address = Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port)

    @property
    def kills(self):
        """Processes that were killed."""
        return sum(count for moment, count in self.killed.items() if moment != "in a start")

    def stretch(self, rounds):
        """So many rounds of kills while films come."""
        first, aim = len(self.told), self.kills + KILLS * rounds
        films = [
            write_film(a_film(f"{self.kind} {n}", rows=128, columns=112), self._folder / "films")
            for n in range(first, first + STUDIES * rounds)
        ]
        modalities = [
            Modality(
                films[n::MODALITIES],
                self._address,
                random.Random(SEED + first + n),
                pause_seconds=2 * MODALITIES * KILLS / STUDIES,
                calling_ae_title=f"CR_ROOM{n + 1}",
            )
            for n in range(MODALITIES)
        ]
        try:
            for life in self._lives.values():
                life.begin()
            while self.kills < aim:
                threading.Event().wait(0.02)
                self._kill([name for name, life in self._lives.items() if life.is_over()][: aim - self.kills])
            for modality in modalities:
                modality.wait(seconds=10 * SETTLE_SECONDS)
        finally:
            for modality in modalities:
                modality.close()
        for film in films:
            film.unlink()
        told = [study for modality in modalities for study in modality.told]
        assert len(set(told)) == len(films)
        self.told += told

    def _kill(self, names):
        if names and self.dice.random() < 0.05:  # the power fails
            names = self.names
        for name in names:
            self.killed["in a start"] += not self.site.is_ready(name)
            self.killed[name] += 1
            self.site.kill(name)
        for name in names:
            self.site.start(name, wait=False)
            self._lives[name].begin()

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
    """Each of these studies once at both receivers."""
    for study in told:
        assert len(pacs.uids(study, "SR")) == 1
        assert len(pacs.qido(study)) == 2  # the SR and its picture
        assert len(emr.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study}")) == 1
    assert "Traceback" not in CUT_OFF.sub("", house.site.log())


def check_all(house, pacs, emr):
    """Each study that was ever accepted once at both receivers, and nothing besides."""
    check(house, pacs, emr, house.told)
    of_patient = emr.search("Patient", identifier=f"{PATIENTS}|{PATIENT_ID}")
    assert len(of_patient) == 1


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
                told, since = len(house.told), time.monotonic()
                house.stretch(min(STRETCH, ROUNDS - done))
                moody.moody = False
                settling = time.monotonic()
                house.settle()
                settled = time.monotonic()
                check(house, pacs, emr, house.told[told:])
                seconds = [settling - since, settled - settling, time.monotonic() - settled]
                print(
                    f"{kind}: {house.kills} kills, {len(house.told)} studies; "
                    "{:.0f} s of kills, settled in {:.0f} s, looked up in {:.0f} s".format(*seconds),
                    flush=True,
                )
            check_all(house, pacs, emr)
    took = time.monotonic() - began
    print(
        f"{kind}: seed {SEED}, {dict(house.killed)}, {took:.0f} s; the EMR was {dict(moody.seen)}", flush=True
    )
