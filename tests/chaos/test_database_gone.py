"""PostgreSQL dies under a running site and comes back: the door goes on, and everything is delivered, once.

CHAOS_GONE_SECONDS sets for how long it is gone (10).
"""

import os
import signal
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address, send
from hoichan.testing import a_film
from hoichan.testing.house import wait_until, write_film
from tests.acceptance.packages import write_package
from tests.chaos import dcmtk
from tests.chaos.receiver import Receiver
from tests.chaos.site import Site
from tests.peers import postgresql

GONE_SECONDS = float(os.environ.get("CHAOS_GONE_SECONDS", "10"))
SECONDS = 90
pytestmark = pytest.mark.skipif(
    not postgresql.is_available() or find_spec("psycopg") is None,
    reason="PostgreSQL's server or psycopg is not installed (make .venv/.peers peers)",
)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory(prefix="hoichan-pg-") as folder:
        started = postgresql.PostgreSQL(Path(folder))
        yield started
        started.stop()


def test_the_database_is_gone_for_a_while(server, receiver, tmp_path):
    films = [write_film(a_film(f"gone {n}", rows=128, columns=112), tmp_path / "films") for n in range(5)]
    site = Site(
        tmp_path / "site",
        config=receiver.destination(),
        environment={"HOICHAN_STORAGE__DATABASE": server.database("gone")},
        forked=True,
    )
    write_package(site.data_dir / "models")
    address = Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port)

    def store(some):
        return [sent.status for sent in send(some, address, calling_ae_title="CR_ROOM1")]

    with site:
        site.start("listen", "work", "work-2", "web")
        assert store(films[:2]) == [0, 0]
        wait_until(lambda: len(receiver.seen) >= 2, seconds=SECONDS, what="work is under way")
        command = server.process.args
        server.process.send_signal(signal.SIGQUIT)  # at once, as when it crashes
        server.process.wait(20)

        assert store(films[2:]) == [0, 0, 0]  # the door owns no database
        assert not dcmtk.is_available() or dcmtk.echo(site.port)
        threading.Event().wait(GONE_SECONDS)

        server.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        wait_until(lambda: len(receiver.seen) >= 2 * len(films), seconds=SECONDS, what="all is delivered")

        def is_settled():
            now = site.status()
            return now["studies"] == {"delivered": len(films)} and not now["queues"]

        wait_until(is_settled, seconds=SECONDS, what="nothing is stuck")
        assert site.has_ended() == []
        assert site.status()["dead_letters"] == 0
    assert len(receiver.seen) == 2 * len(films)
    assert all(len(digests) == 1 for digests in receiver.seen.values())
    assert "Traceback" not in site.log()
