"""What the audit log has of a reading, and how `/waits` counts from it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.reviews_sql import SoftLock
from hoichan.adapters.schema_reviews import review_locks
from hoichan.guard.audit import LOOKED, Audited
from tests.unit.service.api.test_reading import Room, a_draft, signed


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    yield made
    made.record.engine.dispose()


def told(room, what=Audited.RESULT_REVIEWED):
    _, lines = room.record.audit.search(Wanted(what=what), limit=50)
    return [(line.record.who, line.record.detail) for line in reversed(lines)]


def saved(client, draft, version, **changes):
    answer = client.put("draft", json={**draft, "version": version, **changes})
    return answer.status_code, answer.json().get("version")


def test_every_verdict_is_on_record_once_and_no_word_of_the_report(room):
    with room.client() as client:
        draft = a_draft(client.get("reading").json())
        first, second, added = draft["judgements"]
        assert saved(client, draft, 0, judgements=[first]) == (200, 1)
        assert saved(client, draft, 1, judgements=[first]) == (200, 2)  # only words and time changed
        assert saved(client, draft, 2, judgements=[first, second, added]) == (200, 3)
        other = {**second, "verdict": "accepted", "reason": ""}
        assert saved(client, draft, 3, judgements=[first, other, {**added, "size_mm": 9}]) == (200, 4)
        assert saved(client, draft, 4, judgements=[first, {**other, "laterality": "left"}]) == (200, 5)
        assert saved(client, draft, 2, judgements=[])[0] == 409  # an old window: refused, and not on record
    assert told(room) == [
        ("bs.chau", "accepted pleural_effusion"),
        ("bs.chau", "rejected cardiomegaly, added nodule"),
        ("bs.chau", "accepted cardiomegaly"),
        ("bs.chau", "accepted cardiomegaly, undone nodule"),
    ]


def test_a_draft_that_is_thrown_away_is_on_record(room):
    with room.client() as client:
        assert client.delete("draft").status_code == 204  # there is none
        saved(client, a_draft(client.get("reading").json()), 0)
        client.delete("draft")
    assert [line for line in told(room) if "thrown" in str(line)] == [told(room)[-1]]


def test_words_alone_are_a_beginning(room):
    with room.client() as client:
        draft = a_draft(client.get("reading").json(), judgements=[])
        assert saved(client, draft, 0) == (200, 1)
    assert told(room) == [("bs.chau", "begun")]


def opened(room):
    with room.client() as client:
        (tier,) = client.get("http://localhost/api/v1/waits").json()["opened"]
    return tier["read"], tier["median"]


def test_a_study_counts_as_read_from_the_first_verdict_not_from_a_look(room):
    with room.client() as client:
        client.get(f"http://localhost/studies/{room.uid}/record")
        client.get("reading")
        assert opened(room) == (0, None)
        room.record.clock.advance(600)
        assert saved(client, a_draft(client.get("reading").json()), 0) == (200, 1)
        room.record.clock.advance(600)
        assert opened(room) == (1, 600.0)
    with room.client() as client:
        client.delete("draft")
        assert signed(client).status_code == 200
        assert opened(room) == (1, 600.0)


def back(room, seconds):
    """The lock was taken so long ago, by the database's own clock, which no test can set."""
    with room.record.engine.begin() as connection:
        row = connection.execute(sa.select(review_locks)).one()
        earlier = {name: getattr(row, name) - timedelta(seconds=seconds) for name in ("since", "expires_at")}
        connection.execute(review_locks.update().values(earlier))


def test_half_a_minute_in_the_room_is_a_reading(room):
    with room.client() as client:
        for _ in range(2):
            assert client.put("lock").status_code == 200  # opened, and at once again: a reload
        assert opened(room) == (0, None)
        back(room, 30)
        client.put("lock")
        back(room, 30)
        client.put("lock")
        assert opened(room)[0] == 1
    assert [detail for _, detail in told(room, Audited.VIEWED)].count(LOOKED) == 1


def test_a_lock_of_somebody_else_is_no_reading_of_mine(room):
    with room.client() as client, room.client("bs.an") as other:
        client.put("lock")
        back(room, 30)
        other.put("lock")
        assert opened(room) == (0, None)


def test_a_lock_tells_until_when_it_stands(room):
    with room.client() as client:
        client.put("lock")
    lock = room.reviews.locked(room.uid)
    assert lock == SoftLock(reader="bs.chau", since=lock.since, until=lock.since + timedelta(seconds=90))
