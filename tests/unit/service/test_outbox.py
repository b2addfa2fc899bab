"""One try of one delivery, with a receiver that answers as told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import Refused, Unreachable
from hoichan.settings import FolderDestination, Work
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_manifest, a_study
from hoichan.types import DeliveryState
from service.outbox import AWAITED, WHILE_IT_TAKES, Outbox
from service.pipeline import analyse


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
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
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
