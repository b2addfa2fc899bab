import threading

from dicom_listener.limits import Limits, Waiting
from hoichan.settings import Sender

SLOW = Sender(ae_title="CR", host="10.0.0.1", instances_per_minute=60, maximum_associations=1)
FREE = Sender(ae_title="CT", host="10.0.0.2")


class Association:
    alive = True

    def is_alive(self):
        return self.alive


def test_a_minutes_worth_at_once_and_then_one_by_one():
    now = [0.0]
    limits = Limits(5, clock=lambda: now[0])
    assert [limits.may_store(SLOW) for _ in range(61)] == [True] * 60 + [False]
    now[0] = 0.9
    assert not limits.may_store(SLOW)
    now[0] = 2.0
    assert [limits.may_store(SLOW) for _ in range(3)] == [True, True, False]
    assert all(limits.may_store(FREE) for _ in range(1000))


def test_one_that_ends_makes_room_for_one_that_waits():
    limits, first, second = Limits(5), Association(), Association()
    assert limits.enter(first, SLOW)
    entered = []
    waiting = threading.Thread(target=lambda: entered.append(limits.enter(second, SLOW)))
    waiting.start()
    limits.leave(first)
    limits.leave(first)
    waiting.join()
    assert entered == [True] and limits.sender(second) == SLOW and limits.sender(first) is None


def test_one_that_died_unseen_takes_no_place():
    limits, dead = Limits(1), Association()
    assert limits.enter(dead, FREE)
    assert not limits.enter(Association(), FREE)
    dead.alive = False
    assert limits.enter(Association(), FREE)


def test_silence_is_counted_for_each_address_and_in_all():
    waiting = Waiting(of_one_address=2, in_all=3)
    assert [waiting.enter(("a", port)) for port in range(3)] == [True, True, False]
    assert [waiting.enter(("b", port)) for port in range(2)] == [True, False]
    waiting.leave(("a", 0))
    waiting.leave(("a", 0))
    assert len(waiting) == 2 and waiting.enter(("b", 5)) and not waiting.enter(("a", 9))
