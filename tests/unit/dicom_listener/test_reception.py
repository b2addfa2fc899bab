"""Success is told of what is kept and of nothing else; no error gets out, none of its text into the log."""

import errno
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dicom_listener.lane import StoreRequest
from dicom_listener.reception import SpoolReception
from dicom_listener.statuses import SUCCESS
from hoichan.errors import SpoolFull
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import MARKER, encode, film, marked_film
from hoichan.testing.spool import FakeIncoming

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
LATER, DIFFERS, UNREADABLE, FAILURE = 0xA700, 0xA900, 0xC000, 0x0110


class Door:
    """One sender's way into a spool, and what was told on the way, in order."""

    def __init__(self):
        self.spool = FakeSpool()
        self.heard = []
        self.may_store = True
        self.filing_fails = None

    def filed(self, stored):
        if self.filing_fails is not None:
            raise self.filing_fails
        self.heard.append(("filed", stored.sop_instance_uid))

    def begin(self, data_set, *, sop_class_uid=None):
        negotiated = str(data_set.SOPClassUID)
        request = StoreRequest(
            context_id=1,
            message_id=7,
            sop_class_uid=sop_class_uid or negotiated,
            sop_instance_uid=str(data_set.SOPInstanceUID),
        )
        return SpoolReception(
            self.spool,
            request,
            negotiated=negotiated,
            transfer_syntax_uid=EXPLICIT_LITTLE,
            calling_ae_title="CR_ROOM1",
            may_store=lambda: self.may_store,
            filed=self.filed,
            told=lambda answer, details: self.heard.append(("told", answer.status)),
        )

    def send(self, data_set, content=None, **changes):
        reception = self.begin(data_set, **changes)
        content = encode(data_set) if content is None else content
        for at in range(0, len(content), 512):
            reception.write([content[at : at + 512]])
        return reception.end()

    @property
    def kept(self):
        every = self.spool.every_study()
        return [one.path.stem for study in every for one in self.spool.listing(study)]


@pytest.fixture
def door():
    return Door()


class Breaking(FakeIncoming):
    """A disk that takes so many pieces and no more."""

    left, error = 1, OSError(errno.EIO, "PATIENT")

    def write(self, pieces):
        if self.left == 0:
            raise self.error
        self.left -= 1
        super().write(pieces)

    def keep(self):
        raise AssertionError("what is cut off is never filed")


def breaking(door, error):
    def receive(**said):
        made = Breaking(door.spool, **said)
        made.error = error
        return made

    door.spool.receive = receive


# ---------------------------------------------------------------------- what is kept
def test_the_house_hears_of_an_object_before_its_sender(door):
    data_set = film()
    assert door.send(data_set) == SUCCESS
    assert door.heard == [("filed", data_set.SOPInstanceUID), ("told", 0)]
    assert door.kept == [data_set.SOPInstanceUID]


def test_the_same_again_is_success_and_nothing_new(door):
    data_set = film()
    assert [door.send(data_set), door.send(data_set)] == [SUCCESS, SUCCESS]
    assert [word for word, _ in door.heard] == ["filed", "told", "told"]
    assert door.kept == [data_set.SOPInstanceUID]


@given(cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_the_pieces_it_comes_in_make_no_difference(cuts):
    door, data_set = Door(), film()
    content = encode(data_set)
    reception = door.begin(data_set)
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    for begin, end in pairwise(places):
        reception.write([content[begin:end]])
    assert reception.end() == SUCCESS
    (kept,) = door.spool.listing(data_set.StudyInstanceUID)
    assert door.spool.file(kept.path).read_bytes().endswith(content)
    door.spool.close()


# ---------------------------------------------------------------------- what is not
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SpoolFull("x"), LATER),
        (OSError(errno.ENOSPC, "x"), LATER),
        (OSError(errno.EIO, "x"), LATER),
        (MemoryError(), FAILURE),
        (RuntimeError("x"), FAILURE),
    ],
)
def test_a_disk_that_breaks_on_the_way(door, error, status):
    breaking(door, error)
    assert door.send(film()).status == status
    assert door.heard == [("told", status)]
    assert door.kept == []


def test_a_spool_that_cannot_begin(door):
    door.spool.full = True
    assert door.send(film()).status == LATER
    door.spool.full = False
    assert door.send(film()) == SUCCESS


def test_more_than_was_agreed_is_asked_to_come_later(door):
    door.may_store = False
    assert door.send(film()).status == LATER
    assert door.kept == []


@pytest.mark.parametrize("error", [SpoolFull("x"), OSError(errno.EROFS, "x"), LookupError("x")])
def test_what_the_house_was_not_told_of_is_no_success(door, error):
    door.filing_fails = error
    assert door.send(film()).status != 0
    door.filing_fails = None
    assert door.send(film()) == SUCCESS  # sent again: it is here


@pytest.mark.parametrize("other", ["1.2.840.10008.5.1.4.1.1.2", "1.2.3", "x"])
def test_a_request_that_is_not_of_its_own_context(door, other):
    data_set = film()
    assert door.send(data_set, sop_class_uid=other).status == DIFFERS
    assert door.kept == []


@pytest.mark.parametrize("content", [b"", b"\x08\x00", b"no data set at all" * 20])
def test_what_is_no_data_set(door, content):
    answer = door.send(film(), content)
    assert answer.status in (DIFFERS, UNREADABLE)
    assert door.kept == []


def test_an_object_that_was_dropped_leaves_nothing(door):
    data_set = film()
    reception = door.begin(data_set)
    reception.write([encode(data_set)])
    reception.drop()
    reception.drop()
    assert door.kept == []
    assert reception.end().status == LATER  # whoever asks all the same
    assert door.kept == []


def test_nothing_of_a_patient_is_in_a_line_or_in_an_answer(door):
    data_set = marked_film()
    with capture_logs() as lines:
        answers = [door.send(data_set), door.send(data_set, encode(data_set)[:-40])]
        door.filing_fails = RuntimeError(MARKER)
        answers.append(door.send(film(), None))
        breaking(door, OSError(errno.EIO, MARKER))
        answers.append(door.send(film()))
    assert answers[0] == SUCCESS
    assert {line["event"] for line in lines} == {"instance_stored", "instance_refused"}
    assert MARKER not in repr(lines) + repr(answers)
