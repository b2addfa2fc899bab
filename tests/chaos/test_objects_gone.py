"""The object store dies under a running site and comes back: the door goes on, all is delivered, once.

CHAOS_GONE_SECONDS sets for how long it is gone (5).
"""

import os
import tempfile
import threading
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address, send
from hoichan.testing import a_film
from hoichan.testing.house import wait_until, write_film
from tests.acceptance.packages import write_package
from tests.chaos.receiver import Receiver
from tests.chaos.site import Site
from tests.peers import seaweedfs

GONE_SECONDS = float(os.environ.get("CHAOS_GONE_SECONDS", "5"))
SECONDS = 120
pytestmark = pytest.mark.skipif(
    not seaweedfs.is_available(), reason="SeaweedFS (weed) is not installed (make .venv/.peers)"
)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def store():
    with tempfile.TemporaryDirectory(prefix="hoichan-weed-") as folder:
        started = seaweedfs.SeaweedFS(Path(folder))
        yield started
        started.stop()


def test_the_object_store_is_gone_for_a_while(store, receiver, tmp_path):
    films = [
        write_film(a_film(f"bucket gone {n}", rows=128, columns=112), tmp_path / "films") for n in range(5)
    ]
    site = Site(
        tmp_path / "site",
        config=receiver.destination(),
        environment={**store.environment, "HOICHAN_STORAGE__OBJECTS": f"s3://{seaweedfs.BUCKET}/site"},
        forked=True,
    )
    write_package(site.data_dir / "models")
    address = Address(ae_title="HOICHAN", host="127.0.0.1", port=site.port)

    def send_all(some):
        return [sent.status for sent in send(some, address, calling_ae_title="CR_ROOM1")]

    with site:
        site.start("listen", "work", "web")
        assert send_all(films[:2]) == [0, 0]
        wait_until(lambda: len(receiver.seen) >= 2, seconds=SECONDS, what="work is under way")
        store.stop()
        assert send_all(films[2:]) == [0, 0, 0]  # the door has a disk of its own
        threading.Event().wait(GONE_SECONDS)
        store.start()

        def is_settled():
            now = site.status()
            return now["studies"] == {"delivered": len(films)} and not now["queues"]

        wait_until(is_settled, seconds=SECONDS, what="all is delivered and nothing is stuck")
        assert site.has_ended() == []
        assert site.status()["dead_letters"] == 0
    assert len(receiver.seen) == 2 * len(films)
    assert all(len(digests) == 1 for digests in receiver.seen.values())
    assert "Traceback" not in site.log()
