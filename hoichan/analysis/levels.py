"""The grey levels of a film and how often each occurs.

Modality, window, padding and photometric inversion say what becomes of a stored value wherever it lies. So
each is worked out once for every value that occurs, some thousands, and not for every pixel, some millions;
percentiles come from the counts. The numbers are those of the long way, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Counts = NDArray[np.int64]

AT_A_TIME = 1 << 16  # pixels, so that what is between two steps stays in the processor's cache
COUNTED_BYTES = 2  # of a stored value; wider ones, and fractions, are not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What a film holds: its values with their counts, or every pixel where values cannot be counted."""

    values: Values  # (levels,) the stored values that occur, in no order; (rows, columns) without counts
    counts: Counts | None  # (levels,) pixels of each value
    _stored: NDArray[np.unsignedinteger[Any]] | None  # (rows, columns), the bits of each pixel

    def share(self, chosen: NDArray[np.bool_]) -> float:
        """The part (0..1) of all pixels whose level is chosen."""
        return share(chosen, self.counts)

    def laid_out(self, shown: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each level became, on the film's grid: (rows, columns) float32, a new array where counted."""
        if self._stored is None:
            return shown
        bits = self._stored.dtype
        table = np.zeros(1 << (8 * bits.itemsize), dtype=np.float32)
        table[self.values.view(bits)] = shown
        pixels = np.empty(self._stored.size, dtype=np.float32)
        flat = self._stored.reshape(-1)
        for start in range(0, flat.size, AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            np.take(table, flat[part], out=pixels[part], mode="clip")  # every index is in the table
        return pixels.reshape(self._stored.shape)


def levels_of(stored: Values) -> Levels:
    """The levels of stored pixels (rows, columns); integers of one or two bytes are counted."""
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > COUNTED_BYTES:
        return Levels(values=stored, counts=None, _stored=None)
    native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    bits = native.view(np.dtype(f"u{native.dtype.itemsize}"))
    counts = np.zeros(1 << (8 * bits.dtype.itemsize), dtype=np.int64)
    flat = bits.reshape(-1)
    for start in range(0, flat.size, AT_A_TIME):
        found = np.bincount(flat[start : start + AT_A_TIME])
        counts[: found.size] += found
    there = np.flatnonzero(counts)
    return Levels(
        values=there.astype(bits.dtype).view(native.dtype),
        counts=counts[there],
        _stored=bits,
    )


def share(chosen: NDArray[np.bool_], counts: Counts | None) -> float:
    """The part (0..1) of all pixels whose level is chosen; without counts each level is a pixel."""
    if counts is None:
        return float(chosen.mean())
    return float(counts[chosen].sum() / counts.sum())


def percentiles(values: Values, counts: Counts | None, wanted: Sequence[float]) -> NDArray[np.float64]:
    """`numpy.percentile` of the values, each taken as often as it was counted; the same bits.

    Linear between two neighbours in order, as numpy does it (Hyndman and Fan 1996, type 7).
    """
    if counts is None:
        return np.asarray(np.percentile(values, wanted))
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])  # the place behind the last pixel of each level
    last = int(ends[-1]) - 1
    at = last * (np.asarray(wanted, dtype=np.float64) / 100)
    before = np.floor(at)
    gamma = at - before

    def of(place: NDArray[np.float64]) -> Values:
        return np.asarray(values[order[np.searchsorted(ends, np.minimum(place, last), side="right")]])

    low, high = of(before), of(before + 1)
    spread = high - low
    found = np.asarray(low + spread * gamma, dtype=np.float64)
    np.subtract(high, spread * (1 - gamma), out=found, where=gamma >= 0.5)
    if values.dtype.kind == "f" and np.isnan(values[order[-1]]):
        found[:] = np.nan
    return found
