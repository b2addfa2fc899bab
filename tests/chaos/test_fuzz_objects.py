"""Broken data sets through the real door: each gets a status and a line, and the door stands.

FUZZ_OBJECTS sets how many (300), FUZZ_SEED which. Two thirds are mutants of pydicom's test files, one third
is built by hypothesis element by element. Then the house works on what the door let in; FUZZ_SETTLE_SECONDS
sets how long it may take. More than five minutes need `-o faulthandler_timeout=0 --timeout=0` as well.
"""

import json
import os
import struct
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.house import RunningHouse, wait_until
from tests.acceptance.packages import write_package
from tests.chaos.counts import counts, held
from tests.chaos.door import DoorProcess
from tests.chaos.mutants import corpus, mutants
from tests.chaos.wire import IMPLICIT_LITTLE, VERIFICATION, Peer

OBJECTS = int(os.environ.get("FUZZ_OBJECTS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "20261121"))
OURS = {0x0000, 0xA900, 0xC000}  # nothing is wrong with us, so no 0xA700, no 0x0110, and never 0xC211
REFUSED = {0xA900, 0xC000}
GROWTH_BYTES = 48 << 20
# for a busy machine; a quiet one needs a tenth
SETTLE_SECONDS = int(os.environ.get("FUZZ_SETTLE_SECONDS", str(240 + OBJECTS // 10)))
END_STATES = {"delivered", "not_analysed", "failed"}
_SHORT = (b"AE", b"AS", b"CS", b"DA", b"DS", b"FD", b"IS", b"LO", b"PN", b"SS", b"TM", b"UI", b"US")
_LONG = (b"OB", b"OF", b"OW", b"SV", b"UC", b"UN", b"UT", b"SQ")


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    with DoorProcess(tmp_path_factory.mktemp("fuzz")) as made:
        made.start()
        yield made


def opened(door):
    kinds = sorted({(sample.sop_class, sample.syntax) for sample in corpus()})
    kinds += [(VERIFICATION, IMPLICIT_LITTLE), (COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)]
    peer = Peer(door.connect())
    peer.associate(list(dict.fromkeys(kinds))[:128])
    return peer


def lines(door):
    """How many objects the log tells of, by event."""
    told = Counter(line["event"] for line in door.log())
    return told["instance_stored"], told["instance_refused"]


def check_lines(door, before, statuses):
    """Every object has its line, and what was refused for its content lies in quarantine with a note."""
    stored, refused = lines(door)
    assert stored - before[0] == statuses[0x0000]
    assert refused - before[1] == sum(statuses[status] for status in REFUSED)
    notes = [json.loads(path.read_text()) for path in (door.data_dir / "spool/quarantine").glob("*.json")]
    assert all((door.data_dir / "spool/quarantine" / note["file"]).exists() for note in notes)
    assert len(notes) >= 1


def test_mutants_of_real_files(door):
    before, statuses, warm = lines(door), Counter(), 0
    peer = opened(door)
    files, threads = door.open_files(), door.threads()
    for number, sample in enumerate(mutants(OBJECTS * 2 // 3, SEED)):
        answer = peer.store(
            (sample.sop_class, sample.syntax),
            sample.data_set,
            sop_class=sample.sop_class,
            sop_instance=sample.sop_instance,
        )
        assert answer.status in OURS, (number, sample.name)
        assert bool(answer.comment) == bool(answer.status)
        statuses[answer.status] += 1
        if number == OBJECTS // 6:
            warm = door.resident_bytes()
    assert peer.echo().status == 0x0000
    print(f"seed {SEED}: {statuses.total()} mutants,", {f"{k:04X}": n for k, n in statuses.items()})
    print(f"memory {warm >> 20} -> {door.resident_bytes() >> 20} MiB")
    assert set(statuses) == OURS
    assert door.resident_bytes() - warm < GROWTH_BYTES
    assert (door.open_files(), door.threads()) == (files, threads)
    peer.release()
    peer.close()
    check_lines(door, before, statuses)


uids = st.lists(st.integers(0, 99_999), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, parts)))
texts = st.one_of(
    st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
)


@st.composite
def elements(draw):
    """(tag, bytes) of one element, rarely with a length that is not true."""
    tag = draw(
        st.one_of(
            st.sampled_from([0x00080005, 0x00100010, 0x00280010, 0x7FE00010]), st.integers(0, 0xFFFFFFFF)
        )
    )
    value = draw(texts)
    length = draw(st.one_of(*[st.just(len(value))] * 5, st.integers(0, 0xFFFFFFFF)))
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if draw(st.booleans()):
        return tag, head + draw(st.sampled_from(_SHORT)) + struct.pack("<H", length & 0xFFFF) + value
    return tag, head + draw(st.sampled_from(_LONG)) + bytes(2) + struct.pack("<I", length) + value


@st.composite
def data_sets(draw):
    """A data set element by element, most of them with the UIDs that filing needs, in order or not."""
    instance = draw(uids)
    known = {
        0x00080016: COMPUTED_RADIOGRAPHY,
        0x00080018: instance,
        0x0020000D: draw(uids),
        0x0020000E: draw(uids),
    }
    if draw(st.integers(0, 5)) == 0:
        known.pop(draw(st.sampled_from(sorted(known))))
    found = draw(st.lists(elements(), max_size=8))
    for tag, uid in known.items():
        value = uid.encode() + b"\0" * (len(uid) % 2)
        found.append((tag, struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(value)) + value))
    if draw(st.integers(0, 9)):
        found.sort(key=lambda pair: pair[0])
    return instance, b"".join(element for _, element in found)


def test_built_data_sets(door):
    before, statuses = lines(door), Counter()
    peer = opened(door)

    @settings(
        max_examples=max(10, OBJECTS - OBJECTS * 2 // 3),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data_sets())
    def send(made):
        instance, data_set = made
        answer = peer.store(
            (COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE),
            data_set,
            sop_class=COMPUTED_RADIOGRAPHY,
            sop_instance=instance,
        )
        assert answer.status in OURS
        statuses[answer.status] += 1

    send()
    assert peer.echo().status == 0x0000
    peer.release()
    peer.close()
    print(f"{statuses.total()} built,", {f"{k:04X}": n for k, n in statuses.items()})
    assert set(statuses) == OURS
    check_lines(door, before, statuses)


def test_the_door_still_takes_a_good_film(door):
    peer = opened(door)
    good = film(study="after the fuzz")
    kind = (COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)
    answer = peer.store(kind, encode(good), sop_class=kind[0], sop_instance=good.SOPInstanceUID)
    assert answer.status == 0x0000
    peer.release()
    peer.close()
    assert "Traceback" not in door.log_file.read_text(encoding="utf-8")


def test_the_house_has_an_answer_for_whatever_the_door_let_in(door, tmp_path):
    studies = set(door.spool.every_study())
    assert studies
    house = RunningHouse(tmp_path / "house", environment={"HOICHAN_ASSEMBLY__QUIET_SECONDS_VOLUME": "0.3"})
    house.data_dir = door.data_dir
    write_package(house.data_dir / "models")
    with house:
        pids = house.pids()

        def is_settled():
            states = counts(house, "hoichan_studies")
            waiting = states.pop("receiving", 0)  # only for a person: mutants make two people of one
            answered = sum(states.values()) + waiting == len(studies) and set(states) <= END_STATES
            return answered and waiting <= held(house)

        wait_until(is_settled, seconds=SETTLE_SECONDS, what="every study has an answer or a question")
        states = house.status()["studies"]
        print(f"{len(studies)} studies:", states)
        assert house.pids() == pids  # nobody died of it
        assert sum(states.values()) == len(studies)
    assert "Traceback" not in house.log()
    assert "unexpected." not in house.log()  # what is wrong with an object is no fault of ours
