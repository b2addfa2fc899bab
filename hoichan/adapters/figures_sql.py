"""The figures of the record for `/metrics` and `/readyz`: how many there are, and what waits since when.

What waits is counted anew each time, by an index and for its own number only. Counting everything that was
ever stored takes longer the more there is; once that is noticeable, those totals are kept for fifty times as
long as they took, so that scrapes never cost more than a fiftieth of the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import sqlalchemy as sa

from hoichan.adapters.schema import deliveries, instances, revisions, studies
from hoichan.errors import RecordsUnavailable
from hoichan.types import DeliveryState, StudyState

T = TypeVar("T")
_QUICK_SECONDS = 0.25  # what takes no longer is asked anew each time
_LASTS = 50  # times as long as it took


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Deliveries of one destination that are not settled."""

    destination: str
    state: DeliveryState  # pending or dead
    count: int
    oldest_at: datetime  # when the oldest was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Everything that was ever stored."""

    studies: Mapping[StudyState, int]
    instances: int


class Kept(Generic[T]):
    """An answer that is asked for again only when it is old, measured by what asking costs."""

    def __init__(self, ask: Callable[[], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: tuple[T, float] | None = None  # and until when it is good

    def get(self) -> T:
        """The answer."""
        with self._lock:
            began = self._clock()
            if self._answer is not None and began < self._answer[1]:
                return self._answer[0]
            answer = self._ask()
            ended = self._clock()
            took = ended - began
            self._answer = (answer, ended + took * _LASTS) if took > _QUICK_SECONDS else None
            return answer


class FiguresSql:
    """Reads only. Every method raises RecordsUnavailable."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._totals = Kept(self._count)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # deferred: locks nobody out
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def totals(self) -> Totals:
        """Studies by state and instances; over a long record some seconds old."""
        return self._totals.get()

    def _count(self) -> Totals:
        with self._reading() as connection:
            found = connection.execute(
                sa.select(studies.c.state, sa.func.count()).group_by(studies.c.state)
            ).all()
            return Totals(
                studies={StudyState(state): count for state, count in found},
                instances=connection.execute(sa.select(sa.func.count()).select_from(instances)).scalar_one(),
            )

    def waiting(self) -> Sequence[Waiting]:
        """What each destination still has to get, or refused."""
        with self._reading() as connection:
            found = connection.execute(
                sa.select(
                    deliveries.c.destination,
                    deliveries.c.state,
                    sa.func.count(),
                    sa.func.min(deliveries.c.created_at),
                )
                .where(deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.DEAD]))
                .group_by(deliveries.c.state, deliveries.c.destination)
                .order_by(deliveries.c.destination, deliveries.c.state)
            )
            return [
                Waiting(destination=name, state=DeliveryState(state), count=count, oldest_at=oldest)
                for name, state, count, oldest in found
            ]

    def oldest_unanswered_at(self) -> datetime | None:
        """When the oldest revision was assembled that has neither a report nor a failure."""
        with self._reading() as connection:
            oldest: datetime | None = connection.execute(
                sa.select(sa.func.min(revisions.c.assembled_at)).where(
                    revisions.c.state == StudyState.ASSEMBLED
                )
            ).scalar()
            return oldest
