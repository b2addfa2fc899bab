"""The reading list at any length: where a stretch begins, and how many studies stand in each state.

A stretch begins after a place, not after a number of rows: the database walks straight to it on
`ix_studies_open_order` or `ix_studies_state_order`, however many studies come before. States are counted
up to `COUNTED_TO` and no further, since nobody reads the ten thousandth line; so a list costs the same over
a thousand studies and over a million (docs/scaling.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.types import StudyInstanceUID, StudyState

COUNTED_TO = 10_000  # studies of one state; this number means so many or more
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"(\d)-(\d{1,17})-([0-9.]{1,64})", re.ASCII)  # microseconds: up to the year 5138
PLACE_PATTERN = r"^[0-9]-[0-9]{1,17}-[0-9.]{1,64}$"  # of its text, for who checks requests
ORDER = (studies.c.tier, studies.c.first_received_at, studies.c.study_instance_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place in the reading order. Its text may stand in an address: it says nothing about a person."""

    tier: int  # rank, 0 the most urgent
    first_received_at: datetime
    study_instance_uid: StudyInstanceUID

    @classmethod
    def of(cls, head: Row) -> Place:
        """The place of a row of `studies`."""
        return cls(**{column.name: head[column.name] for column in ORDER})

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place from its text. Raises ValueError."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise ValueError("Not a place in the reading list.")
        at = _EPOCH + timedelta(microseconds=int(found[2]))
        return cls(tier=int(found[1]), first_received_at=at, study_instance_uid=StudyInstanceUID(found[3]))

    def __str__(self) -> str:
        microseconds = (self.first_received_at - _EPOCH) // timedelta(microseconds=1)
        return f"{self.tier}-{microseconds}-{self.study_instance_uid}"


def stretch(
    state: StudyState | None,
    *,
    limit: int,
    offset: int = 0,
    after: Place | None,
    before: Place | None,
    sight: Sight = EVERYTHING,
    only: sa.ColumnElement[bool] | None = None,
) -> sa.Select[tuple[object, ...]]:
    """Rows of `studies` in reading order; with `before` the nearest to it come first, so turn them round.

    The states stand in the statement as they are, not as parameters: a partial index is only used where the
    database sees its condition. `only` stands in the state's place (`list_filters`).
    """
    wanted = sa.select(studies).where(_is(state) if only is None else only, *sight.narrow())
    if after is not None:
        wanted = wanted.where(sa.tuple_(*ORDER) > _values(after))
    if before is not None:
        wanted = wanted.where(sa.tuple_(*ORDER) < _values(before))
        return wanted.order_by(*(column.desc() for column in ORDER)).limit(limit)
    return wanted.order_by(*ORDER).limit(limit).offset(offset)


@cache
def _is(state: StudyState | None) -> sa.ColumnElement[bool]:
    word = sa.bindparam(None, str(state or StudyState.SIGNED), sa.String, literal_execute=True)
    return studies.c.state != word if state is None else studies.c.state == word


def _values(place: Place) -> sa.Tuple:
    values = (place.tier, place.first_received_at, place.study_instance_uid)
    return sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(values, ORDER, strict=True)))


def few_by_state(
    connection: sa.Connection, *, up_to: int = COUNTED_TO, sight: Sight = EVERYTHING
) -> dict[StudyState, int]:
    """Studies by state, each counted up to a bound; states without a study are left out."""
    counting = _count(up_to, sight) if sight.is_bound else _counting(up_to)
    found = connection.execute(counting).mappings()
    return {StudyState(row["state"]): row["count"] for row in found if row["count"]}


@cache  # one statement for all time: to build it takes longer than to answer it
def _counting(up_to: int) -> sa.CompoundSelect[Any]:
    return _count(up_to, EVERYTHING)


def _count(up_to: int, sight: Sight) -> sa.CompoundSelect[Any]:
    parts = [
        sa.select(
            sa.literal(str(state)).label("state"),
            sa.select(sa.func.count())
            .select_from(
                sa.select(studies.c.state).where(_is(state), *sight.narrow()).limit(up_to).subquery()
            )
            .scalar_subquery()
            .label("count"),
        )
        for state in StudyState
    ]
    return sa.union_all(*parts)


def total_of(by_state: Mapping[StudyState, int], state: StudyState | None) -> int:
    """How many the list holds, of one state or of all that are not signed; a bound if one is a bound."""
    if state is not None:
        return by_state.get(state, 0)
    return sum(count for one, count in by_state.items() if one is not StudyState.SIGNED)


def is_bound(by_state: Mapping[StudyState, int], state: StudyState | None) -> bool:
    """Whether there may be more than were counted."""
    counted = [by_state.get(one, 0) for one in StudyState if one is not StudyState.SIGNED]
    return max([by_state.get(state, 0)] if state is not None else counted) >= COUNTED_TO


def ends(
    heads: Sequence[Row], *, limit: int, offset: int, after: Place | None, before: Place | None
) -> tuple[Place | None, Place | None]:
    """Where the stretch before this one ends and where the next begins; `heads` holds one more than `limit`.

    None where nothing is known to be there.
    """
    more = len(heads) > limit
    shown = heads[:limit] if before is None else heads[-limit:]
    if not shown:
        return None, None
    first, last = Place.of(shown[0]), Place.of(shown[-1])
    if before is not None:
        return (first if more else None), last
    return (first if after is not None or offset else None), (last if more else None)
