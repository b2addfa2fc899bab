"""What a person drops at once stays open from its first request to a moment after its last."""

import pytest

from service.api.batches import Batches, batch_of

NAME, OTHER = "ab" * 16, "cd" * 16


class ByHand:
    """A timer that ends when the test says so."""

    def __init__(self, then):
        self.then = then
        self.is_running = False

    def start(self):
        self.is_running = True

    def cancel(self):
        self.is_running = False


class Drop:
    def __init__(self):
        self.released, self.timers = [], []
        self.batches = Batches(self.released.append, timer=self.timer)

    def timer(self, seconds, then):
        assert seconds > 0
        self.timers.append(ByHand(then))
        return self.timers[-1]

    def pass_time(self):
        for timer in self.timers:
            if timer.is_running:
                timer.is_running = False
                timer.then()


@pytest.fixture
def drop():
    return Drop()


def test_a_batch_ends_a_moment_after_its_last_request(drop):
    drop.batches.enter(NAME)
    drop.batches.enter(NAME)
    drop.batches.leave(NAME)
    drop.pass_time()
    assert drop.released == []
    drop.batches.leave(NAME)
    assert drop.released == []
    drop.pass_time()
    assert drop.released == [NAME]


def test_the_next_request_keeps_it_open(drop):
    drop.batches.enter(NAME)
    drop.batches.leave(NAME)
    drop.batches.enter(NAME)
    drop.pass_time()
    assert drop.released == []
    drop.batches.leave(NAME)
    drop.pass_time()
    assert drop.released == [NAME]


def test_a_timer_that_came_too_late_to_be_cancelled_ends_nothing(drop):
    drop.batches.enter(NAME)
    drop.batches.leave(NAME)
    (timer,) = drop.timers
    drop.batches.enter(NAME)
    timer.then()
    assert drop.released == []


def test_batches_do_not_meet_and_a_name_may_come_again(drop):
    for name in (NAME, OTHER):
        drop.batches.enter(name)
    drop.batches.leave(NAME)
    drop.pass_time()
    assert drop.released == [NAME]
    drop.batches.enter(NAME)
    for name in (NAME, OTHER):
        drop.batches.leave(name)
    drop.pass_time()
    assert sorted(drop.released) == sorted([NAME, NAME, OTHER])


def test_whatever_is_open_is_released_when_the_page_ends(drop):
    drop.batches.enter(NAME)
    del drop.batches
    assert drop.released == [NAME]


@pytest.mark.parametrize("header", [None, "", "short", "../" * 10, "g" * 32, "ab" * 17, NAME.upper()])
def test_no_name_of_a_batch(header):
    assert batch_of(header) is None
    assert batch_of(NAME) == NAME
