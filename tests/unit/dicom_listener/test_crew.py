"""How long a place of a helper stays empty, and when for good."""

import errno
import itertools
import socket
import threading

import pytest
from structlog.testing import capture_logs

from dicom_listener.crew import FIRST_SECONDS, MOST_LOSSES, WINDOW_SECONDS, Crew, Place
from dicom_listener.nursery import Begun, Ended
from hoichan.errors import StorageUnusable
from hoichan.meters import Tally


class FakeNursery:
    """Helpers that live for so many seconds; time passes only while it is listened to."""

    pid = 1

    def __init__(self, lives=(), *, refusals=()):
        """`lives`: seconds of each helper in turn, later ones for ever. `refusals`: of `begin`, in turn."""
        self.now = 0.0
        self.begun = []  # (when, place)
        self.idle = threading.Event()  # nothing can happen any more
        self.reaped = False
        self._lives, self._refusals = list(lives), list(refusals)
        self._coming = []  # (when, word)
        self._ends = []

    def __call__(self, serve):
        return self

    def clock(self):
        return self.now

    def begin(self, place):
        refusal = self._refusals.pop(0) if self._refusals else None
        if isinstance(refusal, OSError):
            raise refusal
        self.begun.append((self.now, place))
        pid = None if refusal else 100 + len(self.begun)
        self._coming.append((self.now, Begun(place=place, pid=pid)))
        if pid is not None and self._lives:
            self._coming.append((self.now + self._lives.pop(0), Ended(place=place, pid=pid, code=-9)))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ends.append(theirs)
        return ours

    def hear(self, seconds):
        if not self._coming and seconds is None:
            raise EOFError
        at, word = min(self._coming, key=lambda each: each[0], default=(float("inf"), None))
        if seconds is not None and self.now + seconds < at:
            self.now += seconds
            return None
        self._coming.remove((at, word))
        self.now = max(self.now, at)
        return word

    def reap(self):
        self.reaped = True
        self.idle.set()

    def close(self):
        for end in self._ends:
            end.close()


def watched(nursery, processes=2, sweep=lambda: 0):
    """What is logged until nothing can happen any more; what is counted; who takes associations then."""
    tally = Tally()
    crew = Crew(print, processes, clock=nursery.clock, nursery=nursery)
    with capture_logs() as lines:
        crew.watch(sweep, tally)
        assert nursery.idle.wait(60)
    shares = crew.helpers.shares
    crew.close()
    crew.helpers.close()
    counts = {key.labels[0]: int(count) for key, count in tally.take().items()}
    return [line for line in lines if line["event"] != "nursery_lost"], counts, shares


def test_one_process_has_no_helpers():
    crew = Crew(print, 1)
    crew.watch(int, Tally())
    crew.close()
    assert crew.helpers.shares == (0,)


def test_one_that_died_is_replaced_after_a_moment_and_its_files_are_swept():
    nursery = FakeNursery([100])
    lines, counts, shares = watched(nursery, 3, sweep=lambda: 7)
    assert nursery.begun == [(0, 1), (0, 2), (100 + FIRST_SECONDS, 1)] and nursery.reaped
    assert [line["event"] for line in lines] == [
        "helper_lost",
        "helper_swept",
        "helper_awaited",
        "helper_replaced",
    ]
    assert lines[0] | {"place": 1, "pid": 101, "ended": "SIGKILL"} == lines[0]
    assert lines[1]["swept"] == 7
    assert lines[3] | {"place": 1, "pid": 103} == lines[3]
    assert counts == {"lost": 1, "replaced": 1}
    assert shares == (0, 0, 0)


def test_one_that_dies_again_and_again_is_waited_for_longer_and_then_given_up():
    nursery = FakeNursery([0] * 99)
    lines, counts, shares = watched(nursery)
    begun = [at for at, _ in nursery.begun]
    assert [after - before for before, after in itertools.pairwise(begun)] == [1, 2, 4, 8]
    assert counts == {"lost": MOST_LOSSES, "replaced": MOST_LOSSES - 1, "given_up": 1}
    (away,) = [line for line in lines if line["event"] == "helper_given_up"]
    assert (away["place"], away["losses"], away["window_seconds"]) == (1, MOST_LOSSES, WINDOW_SECONDS)
    assert shares == (0,)


def test_one_place_that_is_given_up_leaves_the_others_as_they_are():
    place, other = Place(1), Place(2)
    assert [place.lose(0) for _ in range(MOST_LOSSES)] == [True] * (MOST_LOSSES - 1) + [False]
    assert place.due is None
    assert other.lose(0) and other.due == FIRST_SECONDS


def test_one_that_dies_now_and_then_is_always_replaced():
    place = Place(1)
    for at in range(0, 100_000, int(WINDOW_SECONDS)):
        assert place.lose(at) and place.due == at + FIRST_SECONDS


@pytest.mark.parametrize("refusal", ["no process", OSError(errno.EMFILE, "no descriptor")])
def test_one_that_cannot_begin_is_tried_again(refusal):
    nursery = FakeNursery([5], refusals=[None, refusal])
    lines, counts, shares = watched(nursery)
    assert nursery.begun[-1] == (5 + 1 + 2, 1)
    assert [line["event"] for line in lines].count("helper_not_begun") == 1
    assert counts == {"lost": 2, "replaced": 1}
    assert shares == (0, 0)


def test_a_disk_that_cannot_be_swept_does_not_keep_a_new_one_away():
    def sweep():
        raise StorageUnusable("away")

    lines, counts, shares = watched(FakeNursery([5]), sweep=sweep)
    assert [line["code"] for line in lines if line["event"] == "helper_not_swept"] == ["StorageUnusable"]
    assert counts["replaced"] == 1 and shares == (0, 0)
