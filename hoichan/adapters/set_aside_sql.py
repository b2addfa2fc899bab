"""Objects that nobody can record: not looked at any more until a person asks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema import studies, trail
from hoichan.adapters.schema_set_aside import set_aside
from hoichan.adapters.transactions import transaction
from hoichan.errors import KilledItsRecorders, NotRecorded
from hoichan.ports import Clock
from hoichan.types import StudyInstanceUID, StudyState

WHOLE = ""  # the whole study, where nobody can say which object it was
CODES = (KilledItsRecorders.code, NotRecorded.code)  # why studies and objects are set aside


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """One object, or all of a study."""

    study_instance_uid: StudyInstanceUID
    sop_instance_uid: str  # WHOLE: every object
    code: str
    at: datetime


class SetAsideSql:
    """What was set aside. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock, spool: Callable[[], str] = lambda: "") -> None:
        """`spool`: the name of this machine's spool (`identity_of`), for who sets aside and takes back."""
        self._engine = engine
        self._clock = clock
        self._spool = spool

    def of(self, study: StudyInstanceUID) -> frozenset[str]:
        """The objects of a study that are not to be looked at; `WHOLE` among them: none of it."""
        with transaction(self._engine) as connection:
            here = set_aside.c.study_instance_uid == study
            found = sa.select(set_aside.c.sop_instance_uid).where(here, set_aside.c.released_at.is_(None))
            return frozenset(connection.execute(found).scalars())

    def add(self, study: StudyInstanceUID, instance: str, *, code: str) -> None:
        """Look at it no more; on the trail, once."""
        values = {"code": code, "at": self._clock.now(), "spool": self._spool(), "released_at": None}
        key = {"study_instance_uid": study, "sop_instance_uid": instance}
        with transaction(self._engine) as connection:
            if not rows.insert_once(connection, set_aside, {**key, **values}):
                connection.execute(
                    set_aside.update()
                    .where(set_aside.c.study_instance_uid == study, set_aside.c.sop_instance_uid == instance)
                    .values(**values)
                )
            if instance == WHOLE:  # one that is on record has an answer in the lists, too
                connection.execute(
                    studies.update()
                    .where(studies.c.study_instance_uid == study, studies.c.state == StudyState.RECEIVING)
                    .values(state=StudyState.FAILED, state_reason=code)
                )
            connection.execute(
                trail.insert().values(
                    study_instance_uid=study,
                    at=self._clock.now(),
                    event="object_set_aside" if instance else "study_set_aside",
                    details={"instance": instance, "code": code} if instance else {"code": code},
                )
            )

    def release(self, study: StudyInstanceUID) -> int:
        """A person asks for another look; how many objects. The machine that has them takes them up."""
        with transaction(self._engine) as connection:
            return self._let_go(connection, study, CODES, event="set_aside_released")

    def try_anew(self, code: str) -> int:
        """Have what this machine's spool has been looked at again that was set aside for `code`; how many."""
        here = [
            set_aside.c.spool == self._spool(),
            set_aside.c.code == code,
            set_aside.c.released_at.is_(None),
        ]
        with transaction(self._engine) as connection:
            found = connection.execute(sa.select(set_aside.c.study_instance_uid).where(*here).distinct())
            return sum(
                self._let_go(connection, study, (code,), event="set_aside_tried_anew")
                for study in sorted(found.scalars())
            )

    def _let_go(self, connection: sa.Connection, study: str, codes: Collection[str], *, event: str) -> int:
        now = self._clock.now()
        done = connection.execute(
            set_aside.update()
            .where(
                set_aside.c.study_instance_uid == study,
                set_aside.c.code.in_(codes),
                set_aside.c.released_at.is_(None),
            )
            .values(released_at=now)
        )
        if done.rowcount:
            go_on(connection, study, codes, event=event, objects=done.rowcount, at=now)
        return done.rowcount

    def released(self) -> Sequence[StudyInstanceUID]:
        """The studies of this machine's spool that are to be looked at again; each is told until `forget`."""
        with transaction(self._engine) as connection:
            found = sa.select(set_aside.c.study_instance_uid).where(
                set_aside.c.spool == self._spool(), set_aside.c.released_at.is_not(None)
            )
            return [StudyInstanceUID(uid) for uid in sorted(set(connection.execute(found).scalars()))]

    def forget(self, study: StudyInstanceUID) -> None:
        """What was released is marked to be looked at."""
        with transaction(self._engine) as connection:
            connection.execute(
                set_aside.delete().where(
                    set_aside.c.study_instance_uid == study, set_aside.c.released_at.is_not(None)
                )
            )

    def standing(self, study: StudyInstanceUID | None = None) -> Sequence[SetAside]:
        """Everything that is set aside now, newest first; or what is of one study."""
        here = [] if study is None else [set_aside.c.study_instance_uid == study]
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(
                    set_aside.c.study_instance_uid,
                    set_aside.c.sop_instance_uid,
                    set_aside.c.code,
                    set_aside.c.at,
                )
                .where(set_aside.c.released_at.is_(None), *here)
                .order_by(set_aside.c.at.desc(), set_aside.c.study_instance_uid)
            ).mappings()
            return [SetAside(**row) for row in found]


def go_on(
    connection: sa.Connection, study: str, codes: Collection[str], *, event: str, objects: int, at: datetime
) -> None:
    """A study that stopped for one of these codes is received again; its trail says why."""
    connection.execute(
        studies.update()
        .where(
            studies.c.study_instance_uid == study,
            studies.c.state == StudyState.FAILED,
            studies.c.state_reason.in_(codes),
        )
        .values(state=StudyState.RECEIVING, state_reason=None)
    )
    connection.execute(
        trail.insert().values(study_instance_uid=study, at=at, event=event, details={"objects": objects})
    )
