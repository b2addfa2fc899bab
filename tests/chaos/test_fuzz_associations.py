"""Broken associations: PDUs that were mutated, cut, swapped, repeated or made up. The door stands.

FUZZ_ASSOCIATIONS sets how many (60), FUZZ_SEED which. After each the connection is gone within the door's own
limits, nothing that was not whole is filed, and C-ECHO is answered.
"""

import os
import random
import select
import struct
from collections import Counter

import pytest

from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.house import wait_until
from tests.chaos.door import DoorProcess
from tests.chaos.wire import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RQ,
    IMPLICIT_LITTLE,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    Ended,
    Peer,
    associate,
    echo_command,
    message,
    pdu,
    store_command,
)

ASSOCIATIONS = int(os.environ.get("FUZZ_ASSOCIATIONS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "20261121"))
STORE = (COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)
ECHO = (VERIFICATION, IMPLICIT_LITTLE)
IDLE_SECONDS = 2  # of the door's patience here; after it an association that says nothing is closed
ANSWER_SECONDS = 15
GROWTH_BYTES = 48 << 20


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    with DoorProcess(
        tmp_path_factory.mktemp("fuzz"), LISTENER__NETWORK_TIMEOUT_SECONDS=str(IDLE_SECONDS)
    ) as made:
        made.start()
        yield made


def whole(number):
    """What a modality says from its first byte to its last, PDU by PDU."""
    one = film(study="fuzz", instance=str(number))
    return [
        associate([STORE, ECHO]),
        message(3, echo_command()),
        message(1, store_command(COMPUTED_RADIOGRAPHY, one.SOPInstanceUID), encode(one), room=300),
        pdu(RELEASE_RQ, bytes(4)),
    ]


def _flip(said, dice):
    at = dice.randrange(len(said))
    changed = bytearray(said[at])
    for _ in range(dice.choice((1, 1, 3, 10))):
        changed[dice.randrange(min(len(changed), dice.choice((10, 120, 4000))))] = dice.randrange(256)
    return [*said[:at], bytes(changed), *said[at + 1 :]]


def _cut(said, dice):
    joined = b"".join(said)
    return [joined[: dice.randrange(len(joined))]]


def _swap(said, dice):
    mixed = list(said)
    dice.shuffle(mixed)
    return mixed


def _repeat(said, dice):
    at = dice.randrange(len(said))
    return [*said[:at], *[said[at]] * dice.choice((2, 5)), *said[at + 1 :]]


def _wrong_length(said, dice):
    at = dice.randrange(len(said))
    length = dice.choice((0, 1, 5, 0x7FFFFFFF, 0xFFFFFFFF, 100_000_000))
    return [*said[:at], said[at][:2] + struct.pack(">I", length) + said[at][6:], *said[at + 1 :]]


def _unasked(said, dice):
    kind = dice.choice((0, ASSOCIATE_RQ, ASSOCIATE_AC, 3, P_DATA, RELEASE_RP, ABORT, 8, 255))
    at = dice.randrange(len(said) + 1)
    return [*said[:at], pdu(kind, dice.randbytes(dice.choice((0, 4, 74, 500)))), *said[at:]]


def _noise(_, dice):
    return [dice.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"", dice.randbytes(700)))]


def _many_contexts(said, dice):
    kinds = [(f"1.2.840.10008.5.1.4.1.1.{n}", EXPLICIT_LITTLE) for n in range(dice.choice((129, 400)))]
    return [pdu(ASSOCIATE_RQ, associate([*kinds[:100]])[6:] * dice.choice((1, 4))), *said[1:]]


def _wrong_command(said, dice):
    element = struct.pack(
        "<HHI", 0, dice.choice((0x0100, 0x0110, 0x0800, 0x0002)), dice.choice((0, 2, 2, 4, 0xFFFF))
    )
    broken = struct.pack("<HHII", 0, 0, 4, dice.choice((0, 10, 0xFFFFFFFF))) + element + dice.randbytes(4)
    return [
        said[0],
        message(dice.choice((1, 3, 5, 0, 255)), broken, dice.choice((None, b"", b"x" * 50))),
        *said[1:],
    ]


FAULTS = (
    _flip,
    _flip,
    _flip,
    _cut,
    _swap,
    _repeat,
    _wrong_length,
    _unasked,
    _noise,
    _many_contexts,
    _wrong_command,
)


def speak(door, said, dice, *, patience=0.8):
    """Say it all, most of the time after hearing the answer; how the door ended it."""
    peer = Peer(door.connect(timeout=ANSWER_SECONDS))
    try:
        for part in said:
            peer.connection.sendall(part)
            if dice.random() < patience and select.select([peer.connection], [], [], 0.5)[0]:
                peer.read()
        while True:
            peer.read()
    except Ended as end:
        return str(end)
    except ConnectionError:
        return "closed"
    finally:
        peer.close()


def filed(door):
    return {path.stem for path in (door.data_dir / "spool" / "studies").rglob("*.dcm")}


def is_served(door):
    peer = Peer(door.connect(timeout=ANSWER_SECONDS))
    try:
        peer.associate([ECHO])
        answered = peer.echo().status == 0x0000
        peer.release()
    finally:
        peer.close()
    return answered


def test_broken_associations(door):
    dice = random.Random(SEED)
    assert speak(door, whole(0), dice, patience=1) == "closed"  # after the release
    assert filed(door) == {film(study="fuzz", instance="0").SOPInstanceUID}
    ends, warm = Counter(), 0
    wait_until(lambda: is_served(door), seconds=ANSWER_SECONDS, what="the door serves")
    threads, files = door.threads(), door.open_files()
    for number in range(1, ASSOCIATIONS + 1):
        fault = dice.choice(FAULTS)
        try:
            ends[speak(door, fault(whole(number), dice), dice)] += 1
        except TimeoutError:
            pytest.fail(f"association {number} ({fault.__name__}): the door does not end it")
        if number % 10 == 0:
            assert is_served(door), number
        if number == ASSOCIATIONS // 3:
            warm = door.resident_bytes()
    assert is_served(door)
    print(f"seed {SEED}: {ASSOCIATIONS} associations,", dict(ends))
    print(f"memory {warm >> 20} -> {door.resident_bytes() >> 20} MiB")
    wait_until(
        lambda: door.threads() <= threads and door.open_files() <= files,
        seconds=30,
        what="nothing is left of them",
    )
    assert door.resident_bytes() - warm < GROWTH_BYTES
    told = Counter(line["event"] for line in door.log())
    assert "uncaught" not in told
    assert "Traceback" not in door.log_file.read_text(encoding="utf-8")
    assert filed(door) <= {
        film(study="fuzz", instance=str(n)).SOPInstanceUID for n in range(ASSOCIATIONS + 1)
    }
    assert list((door.data_dir / "spool" / "open").rglob("*-*")) == []  # no study is held by the dead
    assert list((door.data_dir / "spool" / "part").glob("*.part")) == []
