"""The queue as a person sees it: what waits, by whom and for how long, what moves, and what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.forwards_sql import ForwardsSql, Standing
from hoichan.adapters.halted_read import Halted, halted
from hoichan.adapters.schema import deliveries, revisions, studies, trail
from hoichan.adapters.schema_work import analyses
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.work_sql import Piece, WorkSql, band
from hoichan.errors import RecordsUnavailable
from hoichan.ports import Clock
from hoichan.types import DeliveryState, StudyInstanceUID, StudyState

NEXT = 12  # pieces shown that are next
DEAD = 100  # refused deliveries shown, newest first; as many studies that halted
HOUR = timedelta(hours=1)
LOOKED_AT = 4000  # newest lines of all trails, for the rates
DONE = {"report_saved": "analysed", "delivery_acknowledged": "delivered"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What waits for one sender, model, urgency or receiver."""

    name: str
    waiting: int
    in_work: int = 0
    dead: int = 0
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that a receiver refused."""

    idempotency_key: str
    study_instance_uid: StudyInstanceUID
    destination: str
    acknowledgement: str | None
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One look at everything that is not done."""

    waiting: int  # studies without an answer that nobody has begun
    in_work: int
    oldest_at: datetime | None
    backlog: int  # of the waiting: can wait for the off-peak hours
    by_urgency: tuple[Group, ...]  # name: rank of `types.Urgency`
    by_sender: tuple[Group, ...]
    by_model: tuple[Group, ...]
    by_receiver: tuple[Group, ...]
    next: tuple[Piece, ...]
    dead_letters: tuple[DeadLetter, ...]  # newest first
    dead: int  # in all
    halted: tuple[Halted, ...]  # studies that go no further by themselves, newest first
    halted_count: int  # in all
    forwards: tuple[Standing, ...]  # received images that a rule sends on: refused, or held for a look
    analysed_per_hour: int
    delivered_per_hour: int

    @property
    def undelivered(self) -> int:
        """Reports that still have to reach a receiver."""
        return sum(group.waiting for group in self.by_receiver)


class QueueSql:
    """Read only. May raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock, sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    def within(self, sight: Sight) -> QueueSql:
        """The same queue, of the studies that are seen only."""
        return QueueSql(self._engine, self._clock, sight)

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # deferred: one snapshot, nobody locked out
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def look(self) -> Queue:
        """The queue now."""
        following = sorted(
            WorkSql(self._engine, self._clock).waiting(each=NEXT, backlog=True, sight=self._sight),
            key=lambda piece: (piece.band, piece.since),
        )
        forwards = tuple(ForwardsSql(self._engine, self._clock).wants_a_person(DEAD, self._sight))
        with self._snapshot() as connection:
            open_ones = list(connection.execute(_open(self._sight)).mappings())
            receivers = _receivers(connection, self._sight)
            letters = _letters(connection, self._sight)
            stopped, stopped_count = halted(connection, self._sight, DEAD)
            rates = self._rates(connection)
        waiting = [row for row in open_ones if not row["begun"]]
        return Queue(
            waiting=sum(row["count"] for row in waiting),
            in_work=sum(row["count"] for row in open_ones if row["begun"]),
            oldest_at=min((row["oldest"] for row in waiting), default=None),
            backlog=sum(row["count"] for row in waiting if row["backlog"]),
            by_urgency=_grouped(open_ones, lambda row: [str(row["band"])]),
            by_sender=_grouped(open_ones, lambda row: [row["calling_ae_title"]]),
            by_model=_grouped(open_ones, lambda row: (row["models"] or "").split("\\")),
            by_receiver=receivers,
            next=tuple(following[:NEXT]),
            dead_letters=letters,
            dead=sum(group.dead for group in receivers),
            halted=tuple(stopped),
            halted_count=stopped_count,
            forwards=forwards,
            analysed_per_hour=rates["analysed"],
            delivered_per_hour=rates["delivered"],
        )

    def dead_keys(self, destination: str) -> Sequence[str]:
        """Every refused delivery to one receiver, oldest first."""
        with self._snapshot() as connection:
            found = connection.execute(
                sa.select(deliveries.c.idempotency_key)
                .where(
                    deliveries.c.state == DeliveryState.DEAD,
                    deliveries.c.destination == destination,
                    *self._sight.narrow_by(deliveries.c.study_instance_uid),
                )
                .order_by(deliveries.c.created_at)
            )
            return [key for (key,) in found]

    def _rates(self, connection: sa.Connection) -> Counter[str]:
        """What was done in the last hour; of a busier house scaled from the newest lines."""
        newest = (
            sa.select(trail.c.at, trail.c.event)
            .where(*self._sight.narrow_by(trail.c.study_instance_uid))
            .order_by(trail.c.id.desc())
            .limit(LOOKED_AT)
            .subquery()
        )
        now = self._clock.now()
        found = connection.execute(
            sa.select(newest.c.event, sa.func.count())
            .where(newest.c.at > now - HOUR, newest.c.event.in_(DONE))
            .group_by(newest.c.event)
        )
        counts = Counter({DONE[event]: count for event, count in found})
        first, lines = connection.execute(
            sa.select(sa.func.min(newest.c.at), sa.func.count(newest.c.at))
        ).one()
        if lines == LOOKED_AT and now - first < HOUR:
            scale = HOUR / max(now - first, timedelta(seconds=1))
            counts = Counter({name: round(count * scale) for name, count in counts.items()})
        return counts


def _open(sight: Sight) -> sa.Select[Any]:
    begun = sa.and_(analyses.c.dispatched_run.is_not(None), analyses.c.dispatched_run >= revisions.c.runs)
    backlog = sa.func.coalesce(analyses.c.backlog, sa.false())
    keys = (
        studies.c.calling_ae_title,
        analyses.c.models,
        band().label("band"),
        sa.case((begun, 1), else_=0).label("begun"),
        backlog.label("backlog"),
    )
    return (
        sa.select(
            *keys, sa.func.count().label("count"), sa.func.min(revisions.c.assembled_at).label("oldest")
        )
        .select_from(revisions)
        .join(studies, studies.c.study_instance_uid == revisions.c.study_instance_uid)
        .outerjoin(
            analyses,
            (analyses.c.study_instance_uid == revisions.c.study_instance_uid)
            & (analyses.c.revision == revisions.c.revision),
        )
        .where(revisions.c.state == StudyState.ASSEMBLED, *sight.narrow())
        .group_by(*[sa.literal_column(str(place)) for place in range(1, len(keys) + 1)])
    )


def _grouped(found: Sequence[Any], names: Any) -> tuple[Group, ...]:  # noqa: ANN401
    waiting: Counter[str] = Counter()
    in_work: Counter[str] = Counter()
    oldest: dict[str, datetime] = {}
    for row in found:
        for name in names(row):
            (in_work if row["begun"] else waiting)[name] += row["count"]
            if not row["begun"]:
                oldest[name] = min(oldest.get(name, row["oldest"]), row["oldest"])
    return tuple(
        Group(name=name, waiting=waiting[name], in_work=in_work[name], oldest_at=oldest.get(name))
        for name in sorted({*waiting, *in_work})
    )


def _receivers(connection: sa.Connection, sight: Sight) -> tuple[Group, ...]:
    found = connection.execute(
        sa.select(
            deliveries.c.destination,
            deliveries.c.state,
            sa.func.count(),
            sa.func.min(deliveries.c.created_at),
        )
        .where(
            deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.DEAD]),
            *sight.narrow_by(deliveries.c.study_instance_uid),
        )
        .group_by(deliveries.c.destination, deliveries.c.state)
    )
    groups: dict[str, dict[str, tuple[int, datetime]]] = {}
    for destination, state, count, oldest in found:
        groups.setdefault(destination, {})[state] = (count, oldest)
    return tuple(
        Group(
            name=name,
            waiting=states.get(DeliveryState.PENDING, (0, None))[0],
            dead=states.get(DeliveryState.DEAD, (0, None))[0],
            oldest_at=states.get(DeliveryState.PENDING, (0, None))[1],
        )
        for name, states in sorted(groups.items())
    )


def _letters(connection: sa.Connection, sight: Sight) -> tuple[DeadLetter, ...]:
    found = connection.execute(
        sa.select(
            deliveries.c.idempotency_key,
            deliveries.c.study_instance_uid,
            deliveries.c.destination,
            deliveries.c.acknowledgement,
            deliveries.c.attempts,
            deliveries.c.created_at,
        )
        .where(deliveries.c.state == DeliveryState.DEAD, *sight.narrow_by(deliveries.c.study_instance_uid))
        .order_by(deliveries.c.created_at.desc(), deliveries.c.idempotency_key)
        .limit(DEAD)
    ).mappings()
    return tuple(DeadLetter(**row) for row in found)
