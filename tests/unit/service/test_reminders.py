"""Owners are reminded on the day, colleagues hear that they are asked; once, by whom the settings name."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.leases_sql import LeasesSql
from hoichan.adapters.reminders_sql import RemindersSql
from hoichan.adapters.schema_notices import follow_ups
from hoichan.errors import Unreachable
from hoichan.guard.audit import Audited
from hoichan.settings import EmailChannel
from service.reminders import Reminders
from tests.unit.adapters.test_notice_channels import a_mail_server, mail
from tests.unit.service.api.test_notices import ASK, Room

ASKED = {"user": "bs.binh", "words": "Có phải lao không?"}


class Teller:
    """Keeps what it was given, or does not answer."""

    def __init__(self):
        self.told, self.is_away = [], False
        self.meanwhile = lambda: None  # what happens while it is being told, once

    def tell(self, notice, now):
        raise AssertionError("a critical finding is told by another")

    def remind(self, reminder, now):
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        if self.is_away:
            raise Unreachable("chief", "SMTP 421")
        self.told.append((reminder.what, reminder.number, reminder.user))
        return "SMTP 250"


class Ward(Room):
    """A signed study with a next step that is due today, one for tomorrow, and a question."""

    def __init__(self, folder, **channel):
        super().__init__(folder)
        self.sign()
        today = self.record.clock.now().date()
        with self.client("bs.chau") as client:
            base = f"/api/v1/studies/{self.uid}"
            for days in (0, 1, -30):
                day = (today + timedelta(days=days)).isoformat()
                assert client.post(f"{base}/follow-ups", json={**ASK, "due_on": day}).status_code == 201
            assert client.post(f"{base}/opinions", json=ASKED).status_code == 201
        told = {"tells": ("due", "asked"), "host": "m", "sender": "a@b", "to": ("chief@b",), **channel}
        settings = self.record.settings.model_copy(
            update={"notices": (EmailChannel(kind="email", name="chief", **told),)}
        )
        self.teller = Teller()
        self.settings = settings
        self.leader = self.another()

    def another(self):
        """A worker that leads, or believes that it does."""
        engine, clock = self.record.engine, self.record.clock
        rows, leases = RemindersSql(engine, clock), LeasesSql(engine, clock)
        tellers = {"chief": self.teller}
        return Reminders(rows, leases, self.record.audit, clock, self.settings, tellers=tellers)

    def events(self):
        return [one.event for one in self.record.reading.trail(self.uid)]


@pytest.fixture
def ward(tmp_path, request):
    made = Ward(tmp_path, **getattr(request, "param", {}))
    yield made
    made.record.engine.dispose()


def test_a_full_day_leaves_nobody_out(ward):
    with ward.record.engine.begin() as connection:
        due = connection.execute(sa.select(follow_ups).where(follow_ups.c.number == 1)).mappings().one()
        more = [{**due, "number": number} for number in range(1000, 1300)]
        connection.execute(follow_ups.insert(), more)
    while ward.leader.step():
        pass
    assert len(ward.teller.told) == 302


def test_on_the_day_the_owner_is_told_once_and_who_is_asked_at_once(ward):
    assert ward.leader.step() == 2
    assert ward.teller.told == [("due", 1, "bs.binh"), ("asked", 1, "bs.binh")]
    assert ward.leader.step() == 0
    ward.record.clock.advance(86400)
    assert ward.leader.step() == 1
    assert ward.teller.told[-1] == ("due", 2, "bs.binh")  # that of a month ago is on the list of the overdue
    assert ward.events().count("follow_up_reminded") == 2
    assert ward.events().count("opinion_told") == 1
    assert ("system", "told of 1 by chief") in ward.audited(Audited.OPINION_CHANGED)
    _, lines = ward.record.audit.search(Wanted(what=Audited.FOLLOW_UP_CHANGED, who="system"), limit=9)
    assert len(lines) == 2


@pytest.mark.parametrize("ward", [{"tells": ("answered",)}], indirect=True)
def test_who_asked_is_told_of_each_answer_once(ward):
    base = "/api/v1/opinions/1"
    assert ward.leader.step() == 0
    with ward.client("bs.binh") as other:
        assert other.post(f"{base}/words", json={"words": "Nghĩ nhiều đến lao."}).status_code == 204
    assert ward.leader.step() == 1 and ward.leader.step() == 0
    assert ward.teller.told == [("answered", 1, "bs.chau")]
    with ward.client("bs.binh") as other:
        other.post(f"{base}/words", json={"words": "Nên thử đờm."})
    assert ward.leader.step() == 1
    with ward.client("bs.chau") as client:  # who answers has read it
        with ward.client("bs.binh") as other:
            other.post(f"{base}/words", json={"words": "Xem cả phim cũ."})
        client.post(f"{base}/words", json={"words": "Cảm ơn."})
        assert ward.leader.step() == 0
        with ward.client("bs.binh") as other:
            other.post(f"{base}/words", json={"words": "Không có gì."})
        client.post(f"{base}/close")
    assert ward.leader.step() == 0
    assert ward.events().count("opinion_answer_told") == 2
    assert ("system", "told of 1 by chief") in ward.audited(Audited.OPINION_CHANGED)


@pytest.mark.parametrize("ward", [{"tells": ("answered",)}], indirect=True)
def test_an_answer_is_told_after_the_colleague_has_closed_the_question(ward):
    with ward.client("bs.binh") as other:
        other.post("/api/v1/opinions/1/words", json={"words": "Nghĩ nhiều đến lao."})
        assert other.post("/api/v1/opinions/1/close").status_code in (200, 204)
    assert ward.leader.step() == 1
    with a_mail_server() as server:
        (answer,) = RemindersSql(ward.record.engine, ward.record.clock).wanted(
            "answered", "another", ward.record.clock.now().date()
        )
        mail(server).remind(answer, ward.record.clock.now())
    (text,) = server.taken
    assert "A second opinion was given" in text and "lao" not in text
    assert f"<answered-1.2-{ward.uid}@example.org>" in text


def test_two_that_lead_for_a_moment_tell_each_once(ward):
    ward.teller.meanwhile = ward.another().step
    assert ward.leader.step() == 2
    assert ward.teller.told == [("due", 1, "bs.binh"), ("asked", 1, "bs.binh")]


def test_who_stood_still_stops_where_another_has_gone_on(ward):
    def it_stands_still():
        ward.record.clock.advance(3600)
        assert ward.another().step() == 2

    ward.teller.meanwhile = it_stands_still
    assert ward.leader.step() == 1  # the one that it was in the middle of
    assert ward.teller.told.count(("asked", 1, "bs.binh")) == 1
    assert ward.leader.step() == 0


def test_who_died_in_the_middle_is_made_good_by_another(ward):
    def dies():
        raise KeyboardInterrupt

    ward.teller.meanwhile = dies
    with pytest.raises(KeyboardInterrupt):
        ward.leader.step()
    assert ward.another().step() == 0  # it may still be at it
    ward.record.clock.advance(160)
    assert ward.another().step() == 2


def test_what_is_closed_is_told_to_nobody(ward):
    with ward.client("bs.chau") as client:
        client.post("/api/v1/follow-ups/1/close", json={"state": "done"})
        client.post("/api/v1/opinions/1/close")
    assert ward.leader.step() == 0


def test_a_channel_that_does_not_answer_is_left_alone_for_a_while(ward):
    ward.teller.is_away = True
    assert ward.leader.step() == 0
    ward.teller.is_away = False
    assert ward.leader.step() == 0
    ward.record.clock.advance(301)
    assert ward.leader.step() == 2


@pytest.mark.parametrize(
    ("ward", "told"),
    [
        ({"tells": ("critical",)}, []),
        ({"tells": ("asked",)}, [("asked", 1, "bs.binh")]),
        ({"senders": ("CR_ELSEWHERE",)}, []),
    ],
    indirect=["ward"],
)
def test_only_what_the_channel_is_for(ward, told):
    ward.leader.step()
    assert ward.teller.told == told


def test_the_mail_goes_to_the_person_and_names_no_patient(ward):
    (due, *_) = RemindersSql(ward.record.engine, ward.record.clock).wanted(
        "due", "chief", ward.record.clock.now().date()
    )
    with a_mail_server() as server:
        sender = mail(server)
        assert sender.remind(due, ward.record.clock.now()) == "SMTP 250"
        sender._channel = sender._channel.model_copy(update={"people": {"bs.binh": "binh@example.org"}})
        sender.remind(due, ward.record.clock.now())
    first, second = (text.replace("\r\n", "\n") for text in server.taken)
    assert "To: chief@example.org" in first and "To: binh@example.org" in second
    assert f"Message-ID: <due-1-{ward.uid}@example.org>".replace("\n", "") in first.replace("\n ", "")
    assert "A next step is due" in first and f"https://ai.example/studies/{ward.uid}" in first
    for word in ("Nguyễn", "BN-2026", "pneumothorax"):
        assert word not in first
