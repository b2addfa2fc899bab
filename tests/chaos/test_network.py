"""The wire between modality and door: delayed, slow, cut, reset, stalled, corrupted, and mended again.

dcmtk's senders on one side, the real listener on the other. What the sender was told of is there; a half
object is nowhere; a study is not held open by a dead connection; others are served meanwhile.
"""

import os
import random
import subprocess
import threading
from contextlib import contextmanager

import pytest

from hoichan.intake.part10 import split
from hoichan.testing.datasets import encode, film
from hoichan.testing.files import as_file
from hoichan.testing.house import wait_until
from tests.chaos import dcmtk
from tests.chaos.door import DoorProcess
from tests.chaos.faultproxy import SOUND, Fault, Wire

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
BREAKS = int(os.environ.get("CHAOS_BREAKS", "24"))
IDLE_SECONDS = 2
PIXELS = 60_000  # bytes
pytestmark = pytest.mark.skipif(not dcmtk.is_available(), reason="dcmtk is not installed (make peers)")


@pytest.fixture
def door(tmp_path):
    networks = ("127.0.0.0/8", "10.213.0.0/24")
    config = "".join(f'[[listener.senders]]\nae_title = "*"\nhost = "{one}"\n' for one in networks)
    with DoorProcess(
        tmp_path / "door",
        config=config,
        LISTENER__HOST="0.0.0.0",
        LISTENER__NETWORK_TIMEOUT_SECONDS=str(IDLE_SECONDS),
    ) as made:
        made.start()
        yield made


@pytest.fixture
def films(tmp_path):
    """Write so many films of one study; path -> data set as it travels."""
    (tmp_path / "films").mkdir()

    def write(count, study="network"):
        made = {}
        for number in range(count):
            one = film(
                study=study, instance=f"{study} {number}", pixels=bytes([number % 251, 1]) * (PIXELS // 2)
            )
            path = tmp_path / "films" / f"{one.SOPInstanceUID}.dcm"
            path.write_bytes(as_file(one))
            made[path] = encode(one)
        return made

    return write


def kept(door):
    spool = door.spool
    return {
        spooled.path.stem: split(spool.file(spooled.path).read_bytes()).data_set
        for study in spool.every_study()
        for spooled in spool.listing(study)
    }


def is_at_rest(door):
    """No study is held, no half object lies about."""
    spool = door.data_dir / "spool"
    return not list((spool / "open").rglob("*-*")) and not list((spool / "part").glob("*.part"))


def check(door, films, told):
    there = kept(door)
    for path in told:
        assert there[path.stem] == films[path]
    for path, data_set in films.items():
        assert there.get(path.stem, data_set) == data_set  # never in part
    wait_until(
        lambda: is_at_rest(door), seconds=IDLE_SECONDS + 20, what="nothing is held by a dead connection"
    )


@pytest.mark.parametrize(
    "fault", [Fault(delay_seconds=0.05), Fault(bytes_per_second=150_000)], ids=["delay", "slow"]
)
def test_a_bad_line_is_only_slow(door, films, fault):
    made = films(4)
    with Wire(door.port, lambda _: fault) as wire:
        sending = dcmtk.Sending("dcmsend", wire.port, list(made))
        assert dcmtk.echo(door.port)  # others are served
        told = sending.told()
    assert set(told.values()) == {"Success"} and len(told) == len(made)
    check(door, made, told)


@pytest.mark.parametrize("kind", ["cut_at", "reset_at", "stall_at"])
def test_a_line_that_breaks_and_is_mended(door, films, kind):
    """The modality goes on with what it was not told of; the wire breaks each time but the last."""
    dice = random.Random(SEED)
    made, told = films(10), set()
    breaks = BREAKS // 6 if kind == "stall_at" else BREAKS // 2
    places = [dice.randrange(200, 6 * PIXELS) for _ in range(breaks)]
    with Wire(door.port, lambda n: Fault(**{kind: places[n]}) if n < len(places) else SOUND) as wire:
        for _ in range(len(places) + 1):
            waiting = [path for path in made if path not in told] or list(made)[:2]
            sending = dcmtk.Sending("storescu", wire.port, waiting)
            told |= {path for path, status in sending.told().items() if status == "Success"}
    assert told == set(made)
    check(door, made, told)
    assert dcmtk.echo(door.port)


def test_a_corrupted_stream_never_kills_and_never_confuses_objects(door, films):
    """TCP's checksum lets one of 65,536 pass. It is filed under its own UID, refused, or broken off."""
    dice = random.Random(SEED)
    made = films(6)
    first = next(iter(made.values()))
    places = [
        dice.randrange(0, len(first) * 3) if dice.random() < 0.3 else dice.randrange(0, 900)
        for _ in range(BREAKS)
    ]
    with Wire(door.port, lambda n: Fault(corrupt_at=places[n]), seed=SEED) as wire:
        for _ in places:
            dcmtk.Sending("storescu", wire.port, list(made)[:3]).told()
    assert dcmtk.echo(door.port)
    told = dcmtk.Sending("dcmsend", door.port, list(made)).told()
    assert set(told.values()) == {"Success"}
    changed = [path for path in made if kept(door)[path.stem] != made[path]]
    aside = {path.stem for path in (door.data_dir / "spool" / "quarantine").glob("*.dcm")}
    assert len(changed) <= len(aside)  # who came second with other bytes lies there
    wait_until(
        lambda: is_at_rest(door), seconds=IDLE_SECONDS + 20, what="nothing is held by a dead connection"
    )
    assert "Traceback" not in door.log_file.read_text(encoding="utf-8")


def test_a_wrong_title_is_no_lost_film(door, films):
    made = films(2)
    told = dcmtk.Sending("storescu", door.port, list(made), called="WRONG").told()
    assert set(told.values()) == {"Success"}
    assert [line["called_ae_title"] for line in door.log() if line["event"] == "called_ae_title_differs"] == [
        "WRONG"
    ]
    check(door, made, told)


NAMESPACE, OUTSIDE, INSIDE = "hoichanchaos", "10.213.0.1", "10.213.0.2"


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, timeout=30, check=False).returncode == 0


@contextmanager
def namespace():
    """A modality's own network: a cable that can be pulled."""
    if os.geteuid() != 0 or not ip("netns", "add", NAMESPACE):
        pytest.skip("network namespaces need root and iproute2")
    try:
        made = (
            ip("link", "add", "hcout", "type", "veth", "peer", "name", "hcin")
            and ip("link", "set", "hcin", "netns", NAMESPACE)
            and ip("addr", "add", f"{OUTSIDE}/24", "dev", "hcout")
            and ip("link", "set", "hcout", "up")
            and ip("netns", "exec", NAMESPACE, "ip", "addr", "add", f"{INSIDE}/24", "dev", "hcin")
            and ip("netns", "exec", NAMESPACE, "ip", "link", "set", "hcin", "up")
        )
        if not made:
            pytest.skip("this kernel does not let us make a virtual cable")
        yield
    finally:
        ip("netns", "del", NAMESPACE)
        ip("link", "del", "hcout")


def test_a_cable_that_is_pulled_and_put_back(door, films):
    made = films(30)
    command = ["ip", "netns", "exec", NAMESPACE, "storescu", "-v", "-xs", *dcmtk.PATIENCE, "-aec", "HOICHAN"]
    with namespace():
        sending = subprocess.Popen(
            [*command, OUTSIDE, str(door.port), *map(str, made)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_until(lambda: len(kept(door)) > 3, seconds=30, what="it sends")
            assert ip("link", "set", "hcout", "down")
            threading.Event().wait(1.5)  # TCP tries again meanwhile
            assert ip("link", "set", "hcout", "up")
            said, _ = sending.communicate(timeout=90)
        finally:
            sending.kill()
            sending.communicate()
    told = {path for path, status in dcmtk.told_storescu(said).items() if status == "Success"}
    assert len(told) >= 3
    check(door, made, told)
    rest = dcmtk.Sending("dcmsend", door.port, list(made)).told()
    assert set(rest.values()) == {"Success"}
    check(door, made, list(made))
