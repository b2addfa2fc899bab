"""Second opinions on a SQL database. Every method may raise RecordsUnavailable (try again).

Who is asked sees the one study while the question is open (`AccessSql.sight`), and may change nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema import trail
from hoichan.adapters.schema_access import account_scopes
from hoichan.adapters.schema_opinions import opinion_words, opinions
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.privacy import Phi
from hoichan.types import StudyInstanceUID

MOST_WORDS = 100  # of one question: it is a talk, not a store


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What somebody wrote."""

    author: str
    at: datetime
    words: Phi[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A question about one study and what was said to it, the question itself first."""

    number: int
    study_instance_uid: StudyInstanceUID
    asked_by: str
    asked_user: str | None
    asked_facility: str | None
    asked_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    said: tuple[Said, ...]

    def concerns(self, user_name: str, facilities: Sequence[str] | None) -> bool:
        """Whether somebody asked it or is asked."""
        of_facility = self.asked_facility is not None and self.asked_facility in (facilities or ())
        return user_name in (self.asked_by, self.asked_user) or of_facility

    @property
    def is_answered(self) -> bool:
        """Whether somebody else than who asked has said something."""
        return any(one.author != self.asked_by for one in self.said)


class OpinionsSql:
    """Questions to colleagues; words are only added."""

    def __init__(self, engine: sa.Engine, clock: Clock, sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    def ask(
        self, study: StudyInstanceUID, *, who: str, user: str | None, facility: str | None, words: str
    ) -> int:
        """Ask one account, or those bound to a facility; the question's number."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            number = connection.execute(
                opinions.insert()
                .values(
                    study_instance_uid=study,
                    asked_by=who,
                    asked_user=user,
                    asked_facility=facility,
                    asked_at=now,
                )
                .returning(opinions.c.number)
            ).scalar_one()
            connection.execute(
                opinion_words.insert().values(number=number, place=1, author=who, at=now, words=words)
            )
            asked = user or facility or ""
            self._trail(connection, study, "opinion_asked", number, user=who, asked=asked)
            return int(number)

    def say(self, number: int, *, who: str, words: str) -> bool:
        """Add words; False where it is unknown, not seen, closed, or full."""
        one = self.get(number)
        if one is None or one.closed_at is not None:
            return False
        with transaction(self._engine) as connection:
            is_open = connection.execute(
                sa.select(opinions.c.number)
                .where(opinions.c.number == number, opinions.c.closed_at.is_(None))
                .with_for_update()
            ).first()
            last: int = connection.execute(
                sa.select(sa.func.max(opinion_words.c.place)).where(opinion_words.c.number == number)
            ).scalar_one()
            if is_open is None or last >= MOST_WORDS:
                return False
            now = self._clock.now()
            connection.execute(
                opinion_words.insert().values(number=number, place=last + 1, author=who, at=now, words=words)
            )
            self._trail(connection, one.study_instance_uid, "opinion_given", number, user=who)
            return True

    def close(self, number: int, *, who: str) -> bool:
        """End it, once: who was asked sees the study no more. False where it is not open, or not seen."""
        one = self.get(number)
        if one is None:
            return False
        with transaction(self._engine) as connection:
            changed = connection.execute(
                opinions.update()
                .where(opinions.c.number == number, opinions.c.closed_at.is_(None))
                .values(closed_at=self._clock.now(), closed_by=who)
            )
            if changed.rowcount:
                self._trail(connection, one.study_instance_uid, "opinion_closed", number, user=who)
            return bool(changed.rowcount)

    def get(self, number: int) -> Opinion | None:
        """One; None where it is unknown or its study is not seen."""
        found = self._find(opinions.c.number == number)
        return found[0] if found else None

    def of(self, study: StudyInstanceUID) -> Sequence[Opinion]:
        """All of a study, oldest first."""
        return self._find(opinions.c.study_instance_uid == study)

    def open_to(self, user_name: str) -> Sequence[Opinion]:
        """What is open and waits for this account, asked by name or by facility; oldest first."""
        return self._find(opinions.c.closed_at.is_(None), self._asks(user_name))

    def open_by(self, user_name: str) -> Sequence[Opinion]:
        """What this account has asked and not closed; oldest first."""
        return self._find(opinions.c.closed_at.is_(None), opinions.c.asked_by == user_name)

    def waiting(self, user_name: str) -> int:
        """How many questions are open to this account."""
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.select(sa.func.count())
                .select_from(opinions)
                .where(
                    opinions.c.closed_at.is_(None),
                    self._asks(user_name),
                    *self._sight.narrow_by(opinions.c.study_instance_uid),
                )
            ).scalar_one()

    def _asks(self, user_name: str) -> sa.ColumnElement[bool]:
        with transaction(self._engine) as connection:
            codes = connection.execute(
                sa.select(account_scopes.c.facilities).where(account_scopes.c.user_name == user_name)
            ).scalar()
        return asks(user_name, codes)

    def _find(self, *conditions: sa.ColumnElement[bool]) -> Sequence[Opinion]:
        asked = (
            sa.select(opinions)
            .where(*conditions, *self._sight.narrow_by(opinions.c.study_instance_uid))
            .order_by(opinions.c.number)
        )
        with transaction(self._engine) as connection:
            found = connection.execute(asked).all()
            numbers = [row.number for row in found]
            words = connection.execute(
                sa.select(opinion_words)
                .where(opinion_words.c.number.in_(numbers))
                .order_by(opinion_words.c.number, opinion_words.c.place)
            ).all()
        said: dict[int, list[Said]] = {}
        for row in words:
            said.setdefault(row.number, []).append(Said(author=row.author, at=row.at, words=Phi(row.words)))
        return [
            Opinion(
                number=row.number,
                study_instance_uid=StudyInstanceUID(row.study_instance_uid),
                asked_by=row.asked_by,
                asked_user=row.asked_user,
                asked_facility=row.asked_facility,
                asked_at=row.asked_at,
                closed_at=row.closed_at,
                closed_by=row.closed_by,
                said=tuple(said.get(row.number, ())),
            )
            for row in found
        ]

    def _trail(
        self, connection: sa.Connection, study: StudyInstanceUID, event: str, number: int, **details: str
    ) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=study,
                at=self._clock.now(),
                event=event,
                details={"number": number, **details},
            )
        )


def asks(user_name: str, facilities: Sequence[str] | None) -> sa.ColumnElement[bool]:
    """The condition on `opinions` that an account is asked, by name or by one of its facilities."""
    by_name = opinions.c.asked_user == user_name
    if not facilities:
        return by_name
    return sa.or_(by_name, opinions.c.asked_facility.in_(sorted(facilities)))


def lent(connection: sa.Connection, user_name: str, facilities: Sequence[str]) -> frozenset[str]:
    """The studies that open questions show to an account."""
    found = connection.execute(
        sa.select(opinions.c.study_instance_uid).where(
            opinions.c.closed_at.is_(None), asks(user_name, facilities)
        )
    ).scalars()
    return frozenset(found)
