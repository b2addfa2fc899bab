import threading

from dicom_listener.limits import Limits, Turn, Turns, Waiting
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


def test_so_many_work_at_the_same_moment_and_a_pause_lets_others():
    turns = Turns(1)
    mine, other = Turn(turns), Turn(turns)
    began, ended = threading.Event(), threading.Event()

    def work():
        with other:
            began.set()
        ended.set()

    worker = threading.Thread(target=work)
    with mine:
        worker.start()
        assert not began.is_set()
        with mine.paused():
            assert ended.wait(60)
    worker.join(60)
    with other, other.paused(), mine:  # given back once, by each
        pass


def test_a_pause_without_a_turn_takes_none():
    turns = Turns(1)
    with Turn(turns).paused(), Turn(turns), Turn(turns).paused():
        pass
    with Turn(turns):
        pass


def test_a_turn_ends_with_an_error_too():
    turns = Turns(1)
    for _ in range(2):
        try:
            with Turn(turns) as _, Turn(turns).paused():
                raise OSError
        except OSError:
            pass
    with Turn(turns):
        pass
