"""kill -9 of the listener's helpers while dcmtk's senders store: the listener goes on, new helpers too."""

import os
import random
import signal

import pytest

from hoichan.testing.datasets import encode
from hoichan.testing.house import wait_until
from tests.chaos import dcmtk
from tests.chaos.door import DoorProcess
from tests.chaos.test_kill_receive import Films, filed, what_is_there
from tests.integration.test_helpers import last_of

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
KILLS = 6  # of two helpers in turn: each place is replaced four times, and then given up
SENDERS = 5
FILES = 8  # of one sender in a round
SECONDS = 60

pytestmark = pytest.mark.skipif(not dcmtk.is_available(), reason="dcmtk is not installed (make peers)")


def replaced(door):
    return sum(1 for line in door.log() if line["event"] == "helper_replaced")


def one_death(door, shares, after):
    """Sends by several senders, kills a helper once so many have been filed; whose Success was heard."""
    before = filed(door)
    helper = wait_until(lambda: len(two := last_of(door.pid)) == 2 and two, seconds=SECONDS, what="two")[0]
    sendings = [dcmtk.Sending("dcmsend", door.port, share) for share in shares if share]
    wait_until(
        lambda: filed(door) >= before + after or all(sending.is_done for sending in sendings),
        seconds=SECONDS,
        what="enough are filed",
    )
    os.kill(helper, signal.SIGKILL)
    return {file for sending in sendings for file, status in sending.told().items() if status == "Success"}


def test_what_was_told_is_there_once_when_helpers_die(tmp_path):
    chance = random.Random(SEED)
    films = Films(tmp_path / "films")
    told, waiting, sent, aborted = set(), [], 0, 0
    with DoorProcess(tmp_path / "door") as door:
        door.start(processes=3)
        for number in range(KILLS):
            waiting += [films.made(number * SENDERS * FILES + n, chance) for n in range(SENDERS * FILES)]
            sent += SENDERS * FILES
            shares = [waiting[n::SENDERS] for n in range(SENDERS)]
            heard = one_death(door, shares, chance.randint(5, 25))
            aborted += len(waiting) - len(heard)
            told |= {int(file.stem) for file in heard}
            waiting = [file for file in waiting if file not in heard]
            wait_until(lambda: replaced(door) == number + 1, seconds=SECONDS, what="it is replaced")  # noqa: B023
        while waiting:
            heard = dcmtk.Sending("dcmsend", door.port, waiting).told()
            assert set(heard.values()) == {"Success"}
            told |= {int(file.stem) for file in heard}
            waiting = [file for file in waiting if file not in heard]
        part = door.data_dir / "spool" / "part"
        wait_until(  # a helper that starts tries the folder
            lambda: not list(part.glob("*.part")), seconds=SECONDS, what="nothing unfinished is left"
        )
        door.stop()

        kept = dict(what_is_there(door.spool))
        lost = [one for one in told if kept.get(films.film(one).SOPInstanceUID) != encode(films.film(one))]
        instances = [path.name for path in (door.data_dir / "spool" / "studies").rglob("*.dcm")]
        print(f"seed {SEED}: {KILLS} helpers killed; {sent} films, {aborted} sent again, {len(lost)} lost")
        assert aborted  # else the test has seen nothing
        assert len(told) == sent and lost == []
        assert len(instances) == len(set(instances)) == len(kept) == sent
        assert {films.film(one).StudyInstanceUID for one in told} <= set(door.spool.fresh())
        assert list((door.data_dir / "spool" / "quarantine").iterdir()) == []
        assert not [line for line in door.log() if line["event"] in ("uncaught", "helper_given_up")]
