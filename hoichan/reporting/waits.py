"""How long studies wait to be read, and how long the same readers had let them wait in order of arrival.

The second figure is worked out from the first one's own events: at each moment at which a study was read,
the one that had waited longest is taken instead. Readers, their pace and their hours are the same; the order
alone differs. Nothing is assumed about studies that nobody has read: they are counted apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One study from its first image until it was read."""

    rank: int  # of its tier, 0 the most urgent
    arrived_at: datetime
    read_at: datetime | None  # None: not yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The waits of one tier, in seconds."""

    rank: int
    read: int  # studies
    unread: int
    median: float | None  # None where none was read
    ninth_decile: float | None
    median_by_arrival: float | None  # had they been read in order of arrival
    ninth_decile_by_arrival: float | None


def figures(waits: Iterable[Wait]) -> tuple[Figures, ...]:
    """By tier, the most urgent first; tiers without a study are left out."""
    told = [one for one in waits if one.read_at is None or one.read_at >= one.arrived_at]
    by_arrival = dict(in_order_of_arrival(told))
    made = []
    for rank in sorted({one.rank for one in told}):
        places = [place for place, one in enumerate(told) if one.rank == rank]
        real = sorted(
            (read - told[place].arrived_at).total_seconds()
            for place in places
            if (read := told[place].read_at) is not None
        )
        other = sorted(by_arrival[place] for place in places if place in by_arrival)
        made.append(
            Figures(
                rank=rank,
                read=len(real),
                unread=len(places) - len(real),
                median=_quantile(real, 0.5),
                ninth_decile=_quantile(real, 0.9),
                median_by_arrival=_quantile(other, 0.5),
                ninth_decile_by_arrival=_quantile(other, 0.9),
            )
        )
    return tuple(made)


def in_order_of_arrival(waits: Sequence[Wait]) -> list[tuple[int, float]]:
    """(place in `waits`, seconds) of the studies that would have been read at the same moments.

    There is always one to take: whatever was read at a moment had arrived by then. A study that was read may
    stay unread here and the other way round, so only studies that were read take part: both figures are then
    of the same studies.
    """
    taking_part = [(one.arrived_at, place) for place, one in enumerate(waits) if one.read_at is not None]
    arrivals = sorted(taking_part)
    moments = sorted(one.read_at for one in waits if one.read_at is not None)
    waiting: list[tuple[datetime, int]] = []
    made, next_one = [], 0
    for moment in moments:
        while next_one < len(arrivals) and arrivals[next_one][0] <= moment:
            heapq.heappush(waiting, arrivals[next_one])
            next_one += 1
        arrived, place = heapq.heappop(waiting)
        made.append((place, (moment - arrived).total_seconds()))
    return made


def _quantile(ordered: Sequence[float], part: float) -> float | None:
    """With the line between two neighbours; None of nothing."""
    if not ordered:
        return None
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
