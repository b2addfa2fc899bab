"""What waits, in which order, and which receivers answer: the order of work on the tables of the record.

Waiting is what `revisions` calls assembled and no engine has in its present run; so a crash between any two
lines leaves it waiting, and giving it out twice is one piece of work for the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema import deliveries, revisions, studies
from hoichan.adapters.schema_ups import ups_awaited
from hoichan.adapters.schema_work import analyses, receivers
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.types import DeliveryState, StudyInstanceUID, StudyState, Urgency

Key = tuple[StudyInstanceUID, int, int]  # study, revision, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One analysis that waits, or that the engine has."""

    study_instance_uid: StudyInstanceUID
    revision: int
    run: int
    band: int  # 0 STAT or critical, 1 urgent, 2 routine, 3 low
    sender: str  # calling AE title
    models: tuple[str, ...]
    since: datetime  # when the revision was closed

    @property
    def key(self) -> Key:
        """Which piece of work this is for the engine."""
        return self.study_instance_uid, self.revision, self.run


class Reach(StrEnum):
    """Whether a receiver answers."""

    UP = "up"
    SUSPECTED = "suspected"  # a delivery had no answer; nobody has knocked since
    DOWN = "down"  # it was knocked at, and did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """What is known of a receiver that once did not answer."""

    destination: str
    state: Reach
    since: datetime
    detail: str
    failures: int  # knocks in a row that nobody answered
    next_probe_at: datetime


def band() -> sa.ColumnElement[int]:
    """How soon, of a row of `studies`: what the order said, or what a model saw in an earlier revision."""
    return sa.case(
        (studies.c.tier == 0, 0),
        (sa.and_(studies.c.tier == 1, studies.c.urgency > 1), 1),
        else_=studies.c.urgency,
    )


class WorkSql:
    """The order of work. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    # ------------------------------------------------------------------ analyses
    def enlist(
        self,
        study: StudyInstanceUID,
        revision: int,
        *,
        models: Sequence[str],
        backlog: bool = False,
        rule: Urgency | None = None,
    ) -> None:
        """Write down what the order of work needs to know of a closed revision.

        `rule`: the urgency of its sender. It gives way to a more urgent word of the request, and it alone
        can make a study low that says nothing. Who asked for the work ahead of the images makes it no less
        urgent than he said (0074,1200).
        """
        facts = {"models": "\\".join(sorted(models)), "backlog": backlog}
        with transaction(self._engine) as connection:
            row = {"study_instance_uid": study, "revision": revision, **facts}
            if not rows.insert_once(connection, analyses, row):
                connection.execute(analyses.update().where(*_is(study, revision)).values(**facts))
            if rule is not None:
                weaker = sa.or_(studies.c.urgency > rule.rank, studies.c.urgency == Urgency.ROUTINE.rank)
                connection.execute(
                    studies.update()
                    .where(studies.c.study_instance_uid == study, weaker)
                    .values(urgency=rule.rank)
                )
            asked = sa.select(sa.func.min(ups_awaited.c.urgency)).where(
                ups_awaited.c.study_instance_uid == study, ~ups_awaited.c.cancelled
            )
            rank = connection.execute(asked).scalar()
            if rank is not None:
                connection.execute(
                    studies.update()
                    .where(studies.c.study_instance_uid == study, studies.c.urgency > rank)
                    .values(urgency=rank)
                )

    def hurry(self, study: StudyInstanceUID, urgency: Urgency) -> bool:
        """An order says how soon: never less urgent than what is known; whether that changed anything."""
        with transaction(self._engine) as connection:
            changed = connection.execute(
                studies.update()
                .where(studies.c.study_instance_uid == study, studies.c.urgency > urgency.rank)
                .values(urgency=urgency.rank)
                .returning(studies.c.study_instance_uid)
            ).scalar()
        return changed is not None

    def waiting(self, *, each: int, backlog: bool, sight: Sight = EVERYTHING) -> Sequence[Piece]:
        """What nobody has begun: the first `each` of every sender and set of models, in the order of work.

        Of each of these also the one that waits longest, however little it hurries.
        Without `backlog` those are left out that can wait for the off-peak hours.
        """
        wanted = _all_waiting(backlog=backlog) if sight is EVERYTHING else _waiting(backlog, sight)
        with transaction(self._engine) as connection:
            return [_piece(row) for row in connection.execute(wanted, {"each": each}).mappings()]

    def in_flight(self) -> Sequence[Piece]:
        """What the engine has and has not ended."""
        with transaction(self._engine) as connection:
            wanted = _pieces().where(
                revisions.c.state == StudyState.ASSEMBLED, analyses.c.dispatched_run == revisions.c.runs
            )
            return [_piece(row) for row in connection.execute(wanted).mappings()]

    def still_open(self, pieces: Collection[Piece]) -> Sequence[Piece]:
        """Those that have no answer yet and were not asked for again."""
        if not pieces:
            return []
        uids = {piece.study_instance_uid for piece in pieces}
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(revisions.c.study_instance_uid, revisions.c.revision, revisions.c.runs).where(
                    revisions.c.study_instance_uid.in_(uids), revisions.c.state == StudyState.ASSEMBLED
                )
            )
            known = {(uid, revision, run) for uid, revision, run in found}
        return [piece for piece in pieces if piece.key in known]

    def dispatched(self, pieces: Collection[Piece]) -> None:
        """The engine has them."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            for piece in pieces:
                of = {"study_instance_uid": piece.study_instance_uid, "revision": piece.revision}
                rows.insert_once(
                    connection, analyses, {**of, "models": "\\".join(piece.models), "backlog": False}
                )
                connection.execute(
                    analyses.update()
                    .where(*_is(piece.study_instance_uid, piece.revision))
                    .values(dispatched_run=piece.run, dispatched_at=now)
                )

    def waiting_count(self) -> int:
        """How many revisions have no answer yet, begun or not."""
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.select(sa.func.count())
                .select_from(revisions)
                .where(revisions.c.state == StudyState.ASSEMBLED)
            ).scalar_one()

    def depths(self, of_engine: Mapping[str, int]) -> dict[str, int]:
        """Work that waits or runs, by queue: in the record, which has the long queue, or with the engine."""
        with transaction(self._engine) as connection:
            pending = connection.execute(
                sa.select(sa.func.count())
                .select_from(deliveries)
                .where(deliveries.c.state == DeliveryState.PENDING)
            ).scalar_one()
        found = {"analyse": self.waiting_count(), "deliver": pending}
        for name, count in of_engine.items():
            found[name] = max(count, found.get(name, 0))
        return {name: count for name, count in found.items() if count}

    # ------------------------------------------------------------------ receivers
    def receivers(self) -> dict[str, Receiver]:
        """Every receiver that ever failed to answer, by name."""
        with transaction(self._engine) as connection:
            return {
                row["destination"]: Receiver(**{**row, "state": Reach(row["state"])})
                for row in connection.execute(sa.select(receivers)).mappings()
            }

    def suspect(self, destination: str, detail: str) -> None:
        """A delivery had no answer: somebody has to knock. One that is down already stays as it is."""
        now = self._clock.now()
        values = {
            "state": Reach.SUSPECTED,
            "since": now,
            "detail": detail[:256],
            "failures": 0,
            "next_probe_at": now,
        }
        with transaction(self._engine) as connection:
            if not rows.insert_once(connection, receivers, {"destination": destination, **values}):
                connection.execute(
                    receivers.update()
                    .where(receivers.c.destination == destination, receivers.c.state == Reach.UP)
                    .values(**values)
                )

    def silent(self, destination: str, detail: str, next_probe_at: datetime) -> None:
        """It was knocked at and did not answer."""
        was_down = receivers.c.state == Reach.DOWN
        with transaction(self._engine) as connection:
            connection.execute(
                receivers.update()
                .where(receivers.c.destination == destination)
                .values(
                    state=Reach.DOWN,
                    since=sa.case((was_down, receivers.c.since), else_=self._clock.now()),
                    detail=detail[:256],
                    failures=receivers.c.failures + 1,
                    next_probe_at=next_probe_at,
                )
            )

    def answers(self, destination: str) -> int:
        """It answers. After a silence all that waits for it is due now; returns how many that are.

        One that was only suspected answers after all: what failed there has a reason of its own, and keeps
        its pause.
        """
        now = self._clock.now()
        with transaction(self._engine) as connection:
            state = connection.execute(
                sa.select(receivers.c.state).where(receivers.c.destination == destination).with_for_update()
            ).scalar()
            if state in (None, Reach.UP):
                return 0
            connection.execute(
                receivers.update()
                .where(receivers.c.destination == destination)
                .values(state=Reach.UP, since=now, failures=0)
            )
            if state != Reach.DOWN:
                return 0
            return _wake(connection, now, deliveries.c.destination == destination)

    def hasten(self, destination: str, within: timedelta) -> int:
        """A receiver takes reports: what waits there for longer than this is due then; how many that are."""
        latest = self._clock.now() + within
        with transaction(self._engine) as connection:
            return _wake(connection, latest, deliveries.c.destination == destination)

    def wake(self) -> int:
        """All that waits for its next try is due now; returns how many that are."""
        with transaction(self._engine) as connection:
            return _wake(connection, self._clock.now(), sa.true())


def _wake(connection: sa.Connection, at: datetime, whose: sa.ColumnElement[bool]) -> int:
    """What waits beyond this moment is due at it."""
    waiting = deliveries.c.state == DeliveryState.PENDING, deliveries.c.next_attempt_at > at
    return int(
        connection.execute(deliveries.update().where(whose, *waiting).values(next_attempt_at=at)).rowcount
    )


def _is(study: StudyInstanceUID, revision: int) -> tuple[sa.ColumnElement[bool], ...]:
    return analyses.c.study_instance_uid == study, analyses.c.revision == revision


def _is_waiting() -> sa.ColumnElement[bool]:
    return sa.and_(
        revisions.c.state == StudyState.ASSEMBLED,
        sa.or_(analyses.c.dispatched_run.is_(None), analyses.c.dispatched_run < revisions.c.runs),
    )


@cache
def _all_waiting(*, backlog: bool) -> sa.Select[Any]:
    """Built once: it is asked several times a second, and building it takes longer than asking."""
    return _waiting(backlog, EVERYTHING)


def _waiting(backlog: bool, sight: Sight) -> sa.Select[Any]:
    """What `WorkSql.waiting` asks, with the parameter `each`."""
    models = sa.func.coalesce(analyses.c.models, "")
    line = sa.func.row_number().over(
        partition_by=(studies.c.calling_ae_title, models),
        order_by=(band(), revisions.c.assembled_at, studies.c.study_instance_uid),
    )
    oldest = sa.func.row_number().over(
        partition_by=(studies.c.calling_ae_title, models),
        order_by=(revisions.c.assembled_at, studies.c.study_instance_uid),
    )
    columns = line.label("place"), oldest.label("seniority")
    wanted = _pieces(*columns).where(_is_waiting(), *sight.narrow())
    if not backlog:
        wanted = wanted.where(
            sa.or_(sa.not_(sa.func.coalesce(analyses.c.backlog, sa.false())), studies.c.urgency < 2)
        )
    numbered = wanted.subquery()
    first = sa.or_(numbered.c.place <= sa.bindparam("each"), numbered.c.seniority == 1)
    return sa.select(numbered).where(first)


def _pieces(*more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return (
        sa.select(
            revisions.c.study_instance_uid,
            revisions.c.revision,
            revisions.c.runs,
            revisions.c.assembled_at,
            studies.c.calling_ae_title,
            analyses.c.models,
            band().label("band"),
            *more,
        )
        .join(studies, studies.c.study_instance_uid == revisions.c.study_instance_uid)
        .outerjoin(
            analyses,
            (analyses.c.study_instance_uid == revisions.c.study_instance_uid)
            & (analyses.c.revision == revisions.c.revision),
        )
    )


def _piece(row: rows.Row) -> Piece:
    return Piece(
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        revision=row["revision"],
        run=row["runs"],
        band=row["band"],
        sender=row["calling_ae_title"],
        models=tuple(name for name in (row["models"] or "").split("\\") if name),
        since=row["assembled_at"],
    )
