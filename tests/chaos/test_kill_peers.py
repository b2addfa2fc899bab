"""kill -9 of every role against a real PACS and a real EMR, on SQLite and with two workers on PostgreSQL.

Nothing acknowledged is lost, no effect is doubled, nothing is stuck 60 s after the last kill. The EMR is
moody on top: it refuses, stays silent, or does what it is asked and loses the answer. CHAOS_ROUNDS sets the
kills (6 a round, 1 round), CHAOS_SEED which and when.
"""

import os
import random
import tempfile
import threading
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
KILLS = 6 * ROUNDS
STUDIES = 12 * ROUNDS
SETTLE_SECONDS = 60
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


def test_nothing_is_lost_nothing_doubled_nothing_stuck(request, roles, pacs, emr, tmp_path):
    kind, names = roles
    dice = random.Random(SEED)
    films = [
        write_film(a_film(f"{kind} {n}", rows=128, columns=112), tmp_path / "films") for n in range(STUDIES)
    ]
    with MoodyEmr(emr.port, seed=SEED) as moody:
        through = emr.destination(url=f"http://127.0.0.1:{moody.port}/fhir", timeout_seconds=2)
        site = Site(
            tmp_path / "site",
            config=pacs.destination() + through,
            environment=environment_for(request, kind),
        )
        write_package(site.data_dir / "models")
        with site:
            site.start(*names)
            address = Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port)
            modality = Modality(films, address, random.Random(SEED), pause_seconds=KILLS * 1.5 / STUDIES)
            try:
                for _ in range(KILLS):
                    threading.Event().wait(dice.uniform(0.2, 2.5))  # the moment is the point
                    name = dice.choice(names)
                    site.kill(name)
                    site.start(name)
                modality.wait()
            finally:
                modality.close()
            moody.moody = False

            def is_settled():
                now = site.status()
                return (
                    now["studies"] == {"delivered": STUDIES}
                    and not now["queues"]
                    and now["oldest_undelivered_seconds"] is None
                )

            wait_until(is_settled, seconds=2 * SETTLE_SECONDS, what="nothing is stuck")
            assert site.status()["dead_letters"] == 0
            assert site.has_ended() == []
        print(f"{kind}: {KILLS} kills, {STUDIES} studies, seed {SEED}, the EMR was {dict(moody.seen)}")

    assert len(modality.told) == len(set(modality.told)) == STUDIES
    for study in modality.told:
        assert len(pacs.uids(study, "SR")) == 1
        assert len(pacs.qido(study)) == 2  # the SR and its picture
    mine = set(modality.told)
    reports = Counter(
        identifier["value"].removeprefix("urn:oid:")
        for one in everything(emr, "ImagingStudy")
        for identifier in one["identifier"]
    )
    assert {study: reports[study] for study in mine} == dict.fromkeys(mine, 1)
    assert "Traceback" not in site.log()
