"""One try of one delivery, with a receiver that answers as told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.work_sql import Reach, WorkSql
from hoichan.errors import RecordsUnavailable, Refused, Unreachable
from hoichan.settings import FolderDestination, Work
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_manifest, a_study
from hoichan.types import DeliveryState
from service.outbox import AWAITED, GIVES_WAY, WHILE_IT_TAKES, Outbox
from service.pipeline import analyse
from service.starts import KILLS_WORKER
from service.steering import replay


class Receiver:
    """Raises what it is told to, else says ok and counts."""

    def __init__(self):
        self.raises = None
        self.received = []

    def deliver(self, delivery, documents):
        if self.raises is not None:
            raise self.raises
        self.received.append([d.content for d in documents])
        return "ok"


class Post:
    """One delivery that is due."""

    def __init__(self, folder):
        self.clock = FakeClock()
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.objects = ObjectsDisk(folder / "objects")
        self.studies = StudiesSql(self.database, self.objects, self.clock)
        study = a_study()
        self.studies.add_arrivals(study, study.instances)
        current = self.studies.current(study.study_instance_uid)
        analyse(
            self.studies.assemble(replace(current, closed_by="quiet_time")),
            manifests=[a_manifest()],
            runner=FakeRunner(self.clock),
            encoder=FakeEncoder(),
            studies=self.studies,
            destinations=(FolderDestination(name="share", kind="folder", path="share"),),
            clock=self.clock,
        )
        (delivery,) = self.studies.due(self.clock.now())
        self.key = delivery.idempotency_key
        self.receiver = Receiver()
        self.outbox = Outbox(self.studies, {"share": self.receiver}, self.clock, Work())

    @property
    def row(self):
        return self.studies.delivery(self.key)


@pytest.fixture
def post(tmp_path):
    opened = Post(tmp_path)
    yield opened
    opened.database.dispose()


def test_an_acknowledged_delivery_is_never_sent_again(post):
    post.outbox.deliver(post.key)
    post.outbox.deliver(post.key)
    assert (len(post.receiver.received), post.row.state) == (1, DeliveryState.SENT)


def test_no_answer_is_tried_again_with_growing_pauses_and_the_same_bytes(post):
    post.receiver.raises = Unreachable("share", "timeout")
    waits = []
    for _ in range(4):
        post.outbox.deliver(post.key)
        waits.append((post.row.next_attempt_at - post.clock.now()).total_seconds())
        post.outbox.deliver(post.key)  # too early: nothing happens
        post.clock.advance(waits[-1])
    assert waits == [5, 10, 20, 40]
    assert (post.row.attempts, post.row.state) == (4, DeliveryState.PENDING)
    post.receiver.raises = None
    post.outbox.deliver(post.key)
    assert post.receiver.received == [[d.content for d in post.studies.documents(post.row)]]


def test_who_takes_other_reports_is_soon_asked_again(post):
    post.receiver.raises = Unreachable("share", "HTTP 500")
    work = WorkSql(post.database, post.clock)
    outbox = Outbox(post.studies, {"share": post.receiver}, post.clock, Work(), work)
    for _ in range(20):
        outbox.deliver(post.key)
        post.clock.advance((post.row.next_attempt_at - post.clock.now()).total_seconds())
    outbox.deliver(post.key)
    assert post.row.next_attempt_at - post.clock.now() == timedelta(days=1)
    for _ in range(2):
        assert work.hasten("another", WHILE_IT_TAKES) == 0
        assert work.hasten("share", WHILE_IT_TAKES) <= 1
        assert post.row.next_attempt_at - post.clock.now() == WHILE_IT_TAKES
    post.clock.advance(600)
    assert work.hasten("share", WHILE_IT_TAKES) == 0  # it is due sooner than that already


def test_a_report_that_was_taken_hastens_the_others(post):
    asked = []

    class Hurry(WorkSql):
        def hasten(self, destination, within):
            asked.append((destination, within))
            return super().hasten(destination, within)

    work = Hurry(post.database, post.clock)
    Outbox(post.studies, {"share": post.receiver}, post.clock, Work(), work).deliver(post.key)
    assert asked == [("share", WHILE_IT_TAKES)]


def test_a_receiver_that_takes_a_report_is_not_down_whatever_the_knock_says(post):
    """A server may take longer for a knock than we wait, and take reports all the same."""
    work = WorkSql(post.database, post.clock)
    work.suspect("share", "timeout")
    work.silent("share", "timeout", post.clock.now())
    Outbox(post.studies, {"share": post.receiver}, post.clock, Work(), work).deliver(post.key)
    assert work.receivers()["share"].state is Reach.UP


def test_who_answers_later_for_two_days_has_refused(post):
    post.receiver.raises = Unreachable("share", "AR", answered=True)
    waited = 0.0
    while post.row.state is DeliveryState.PENDING and waited < 10 * 86400:
        post.outbox.deliver(post.key)
        pause = (post.row.next_attempt_at - post.clock.now()).total_seconds()
        waited += max(pause, 0)
        post.clock.advance(max(pause, 0))
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.DEAD, "AR")
    assert 86400 < waited < 3 * 86400


def test_who_does_not_answer_is_never_given_up(post):
    post.receiver.raises = Unreachable("share", "timeout")
    for _ in range(30):
        post.outbox.deliver(post.key)
        post.clock.advance(86400)
    assert (post.row.state, post.row.attempts) == (DeliveryState.PENDING, 30)


def test_a_refusal_is_a_dead_letter_with_its_cause(post):
    post.receiver.raises = Refused("share", "0xC000")
    post.outbox.deliver(post.key)
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.DEAD, "0xC000")


def test_a_destination_that_was_removed_from_the_settings_is_a_dead_letter(post):
    Outbox(post.studies, {}, post.clock, Work()).deliver(post.key)
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.DEAD, "destination_not_configured")


def test_a_receiver_that_the_page_has_added_meanwhile_gets_it_when_it_is_known(post):
    old = Outbox(post.studies, {}, post.clock, Work(), awaited=lambda name: name == "share")
    old.deliver(post.key)
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.PENDING, AWAITED)
    post.clock.advance(60)
    post.outbox.deliver(post.key)
    assert (len(post.receiver.received), post.row.state) == (1, DeliveryState.SENT)


# ---------------------------------------------------------------------- what kills its worker
class Alone:
    """A process of its own, which is killed or does as told; the keys that it was given."""

    def __init__(self, does=lambda key: None, *, killed=False):
        self.does, self.killed, self.keys = does, killed, []

    def __call__(self, delivery):
        self.keys.append(delivery.idempotency_key)
        self.does(delivery.idempotency_key)
        return not self.killed


def killed(post, times):
    """As if so many workers had died in the middle of a try."""
    assert [post.studies.begin_try(post.key) for _ in range(times)] == list(range(1, times + 1))


def with_alone(post, alone):
    return Outbox(post.studies, {"share": post.receiver}, post.clock, Work(), alone=alone)


def test_a_start_is_counted_before_anything_is_sent(post):
    class Dies:
        def deliver(self, delivery, documents):
            counted.append(post.studies.begin_try(post.key))
            return "ok"

    counted = []
    Outbox(post.studies, {"share": Dies()}, post.clock, Work()).deliver(post.key)
    assert counted == [2]


@pytest.mark.parametrize("times", [0, 1])
def test_a_worker_that_died_once_may_have_lost_its_power(post, times):
    killed(post, times)
    alone = Alone()
    with_alone(post, alone).deliver(post.key)
    assert (alone.keys, post.row.state, len(post.receiver.received)) == ([], DeliveryState.SENT, 1)


def test_what_killed_twice_is_tried_alone_and_may_arrive(post):
    killed(post, 2)
    inside = Outbox(post.studies, {"share": post.receiver}, post.clock, Work())
    alone = Alone(lambda key: inside.deliver(key, is_alone=True))
    with_alone(post, alone).deliver(post.key)
    assert (alone.keys, len(post.receiver.received)) == ([post.key], 1)
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.SENT, "ok")


def test_what_kills_a_process_of_its_own_too_is_set_aside(post):
    killed(post, 2)
    alone = Alone(killed=True)
    outbox = with_alone(post, alone)
    outbox.deliver(post.key)
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.DEAD, KILLS_WORKER)
    assert post.receiver.received == []
    outbox.deliver(post.key)
    assert alone.keys == [post.key], "nobody tries it any more"


def test_a_replay_begins_the_count_anew(post):
    killed(post, 2)
    outbox = with_alone(post, Alone(killed=True))
    outbox.deliver(post.key)
    replay(post.studies, post.row.study_instance_uid)
    outbox.deliver(post.key)
    assert (post.row.state, len(post.receiver.received)) == (DeliveryState.SENT, 1)


def test_without_a_process_of_its_own_it_is_set_aside_at_once(post):
    killed(post, 2)
    post.outbox.deliver(post.key)
    assert post.row.acknowledgement == KILLS_WORKER


def test_an_answer_ends_the_count(post):
    killed(post, 1)
    post.receiver.raises = Unreachable("share", "timeout")
    post.outbox.deliver(post.key)
    assert post.studies.begin_try(post.key) == 1


def test_an_error_that_the_worker_survives_is_no_death(post):
    post.receiver.raises = ValueError("a bug")
    for _ in range(3):
        post.outbox.deliver(post.key)
        post.clock.advance(86400)
    assert (post.row.state, post.row.acknowledgement) == (DeliveryState.PENDING, "unexpected.ValueError")
    assert post.studies.begin_try(post.key) == 1


def test_an_error_that_nobody_foresaw_ends_as_a_dead_letter(post):
    """Not in a try a minute for ever, before which nothing newer may be sent and of which nobody is told."""
    post.receiver.raises = StopIteration()
    for _ in range(GIVES_WAY):
        post.outbox.deliver(post.key)
        post.clock.advance(86400)
    assert (post.row.state, post.row.attempts) == (DeliveryState.DEAD, GIVES_WAY)
    assert post.row.acknowledgement == "unexpected.StopIteration"
    told = [
        one for one in post.studies.trail(post.row.study_instance_uid) if one.event == "delivery_postponed"
    ]
    assert len(told) == GIVES_WAY - 1
    post.receiver.raises = None
    post.studies.revive(post.key)
    post.outbox.deliver(post.key)
    assert post.row.state is DeliveryState.SENT


def test_a_database_that_is_away_is_for_the_engine_to_try_again(post):
    post.receiver.raises = RecordsUnavailable()
    with pytest.raises(RecordsUnavailable):
        post.outbox.deliver(post.key)
    assert (post.row.state, post.row.attempts) == (DeliveryState.PENDING, 0)


def test_one_alone_that_could_not_be_tried_is_tried_alone_again(post):
    def away(_key):
        raise RecordsUnavailable

    killed(post, 2)
    outbox = with_alone(post, Alone(away))
    for _ in range(2):
        with pytest.raises(RecordsUnavailable):
            outbox.deliver(post.key)
    assert (post.row.state, post.studies.begin_try(post.key)) == (DeliveryState.PENDING, 3)


def test_a_worker_that_is_asked_to_end_was_not_killed(post):
    class Slow(Receiver):
        def deliver(self, delivery, documents):
            outbox.stop()  # and then its time is over
            counted.append(post.studies.begin_try(post.key))
            return super().deliver(delivery, documents)

    counted = []
    outbox = Outbox(post.studies, {"share": Slow()}, post.clock, Work())
    outbox.deliver(post.key)
    assert counted == [1], "the start that was cut off does not count"
    assert post.row.state is DeliveryState.SENT, "one that still ends is not lost"


def test_a_worker_that_ends_begins_nothing(post):
    post.outbox.stop()
    with pytest.raises(RecordsUnavailable):
        post.outbox.deliver(post.key)
    assert (post.studies.begin_try(post.key), post.receiver.received) == (1, [])


def test_what_was_cancelled_at_the_last_moment_is_not_sent(post):
    class Late(StudiesSql):
        def begin_try(self, idempotency_key):
            self.withdrawn(idempotency_key, reason="cancelled")
            return super().begin_try(idempotency_key)

    late = Late(post.database, post.objects, post.clock)
    Outbox(late, {"share": post.receiver}, post.clock, Work()).deliver(post.key)
    assert (post.receiver.received, post.row.state) == ([], DeliveryState.CANCELLED)
