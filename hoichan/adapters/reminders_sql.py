"""What people wait to be told besides critical findings: a next step on its day, an opinion wanted or given.

That somebody was told is a line of the study's trail; nothing else remembers it. Every method may raise
RecordsUnavailable (try again).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import sqlalchemy as sa

from hoichan.adapters.schema import studies, trail
from hoichan.adapters.schema_notices import follow_ups
from hoichan.adapters.schema_opinions import opinion_words, opinions
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.reporting.notices import FollowUpState
from hoichan.types import StudyInstanceUID

What = Literal["due", "asked", "answered"]
EVENTS: dict[What, str] = {
    "due": "follow_up_reminded",
    "asked": "opinion_told",
    "answered": "opinion_answer_told",
}
LATE = timedelta(days=2)  # what is older was there before, or the channel was away: the lists show it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """One thing that one person is to be told."""

    what: What
    number: int  # of the next step, or of the question
    study_instance_uid: StudyInstanceUID
    user: str  # account, or code of a facility
    sender: str  # calling AE title of the study
    place: int = 0  # of an answer among the words of its question; 0: of no answer


class RemindersSql:
    """Open next steps and questions, and who was told of them."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def wanted(self, what: What, channel: str, today: date) -> Sequence[Reminder]:
        """What is open and was not told by this channel yet, oldest first. `today`: in the site's zone."""
        asked = {"due": self._due(today), "asked": self._asked(), "answered": self._answered()}[what]
        with transaction(self._engine) as connection:
            rows = connection.execute(asked).mappings().all()
            told = _told(connection, {row["study_instance_uid"] for row in rows}, what, channel)
        return [
            Reminder(
                what=what,
                number=row["number"],
                study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
                user=row["user"],
                sender=row["calling_ae_title"],
                place=row["place"],
            )
            for row in rows
            if (row["number"], row["place"]) not in told
        ]

    def told(self, reminder: Reminder, channel: str) -> None:
        """Write down that somebody was told."""
        details = {"number": reminder.number, "owner": reminder.user, "channel": channel}
        if reminder.place:
            details["place"] = reminder.place
        with transaction(self._engine) as connection:
            connection.execute(
                trail.insert().values(
                    study_instance_uid=reminder.study_instance_uid,
                    at=self._clock.now(),
                    event=EVENTS[reminder.what],
                    details=details,
                )
            )

    def _due(self, today: date) -> sa.Select[tuple[object, ...]]:
        return (
            _of(follow_ups, follow_ups.c.owner)
            .where(
                follow_ups.c.state == FollowUpState.OPEN,
                follow_ups.c.due_on <= today,
                follow_ups.c.due_on > today - LATE,
            )
            .order_by(follow_ups.c.due_on, follow_ups.c.number)
        )

    def _asked(self) -> sa.Select[tuple[object, ...]]:
        user = sa.func.coalesce(opinions.c.asked_user, opinions.c.asked_facility)
        return (
            _of(opinions, user)
            .where(opinions.c.closed_at.is_(None), opinions.c.asked_at > self._clock.now() - LATE)
            .order_by(opinions.c.number)
        )

    def _answered(self) -> sa.Select[tuple[object, ...]]:
        """Words of others that who asked has neither answered nor closed the question on."""
        own = opinion_words.alias("own")
        seen = (
            sa.select(sa.func.coalesce(sa.func.max(own.c.place), 0))
            .where(own.c.number == opinions.c.number, own.c.author == opinions.c.asked_by)
            .scalar_subquery()
        )
        return (
            _of(opinions, opinions.c.asked_by, opinion_words.c.place)
            .join(opinion_words, opinion_words.c.number == opinions.c.number)
            .where(
                opinion_words.c.author != opinions.c.asked_by,
                opinion_words.c.at > self._clock.now() - LATE,
                opinion_words.c.place > seen,
                sa.or_(opinions.c.closed_by.is_(None), opinions.c.closed_by != opinions.c.asked_by),
            )
            .order_by(opinions.c.number, opinion_words.c.place)
        )


def _of(
    table: sa.Table, user: sa.ColumnElement[str], place: sa.ColumnElement[int] | None = None
) -> sa.Select[tuple[object, ...]]:
    which = sa.literal(0) if place is None else place
    return sa.select(
        table.c.number,
        table.c.study_instance_uid,
        user.label("user"),
        studies.c.calling_ae_title,
        which.label("place"),
    ).join(studies, studies.c.study_instance_uid == table.c.study_instance_uid)


def _told(connection: sa.Connection, uids: Collection[str], what: What, channel: str) -> set[tuple[int, int]]:
    """Numbers and places that this channel has told."""
    lines = connection.execute(
        sa.select(trail.c.details).where(
            trail.c.study_instance_uid.in_(sorted(uids)), trail.c.event == EVENTS[what]
        )
    ).scalars()
    return {
        (details["number"], details.get("place", 0)) for details in lines if details["channel"] == channel
    }
