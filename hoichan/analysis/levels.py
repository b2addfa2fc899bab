"""The grey levels of a film, how often each occurs, and what became of each.

Modality, window, padding and photometric inversion say what becomes of a stored value wherever it lies. So
each is worked out once for every value that can occur, some thousands, and not for every pixel, some
millions; percentiles come from the counts, and counts only where somebody asks. The numbers are those of the
long way, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = NDArray[Any]
Counts = NDArray[np.int64]
Bits = NDArray[np.unsignedinteger[Any]]

AT_A_TIME = 1 << 16  # pixels, so that what is between two steps stays in the processor's cache
COUNTED_BYTES = 2  # of a stored value; wider ones, and fractions, are not counted
GLANCE = 4  # every fourth pixel of every fourth row


class Levels:
    """What a film holds: the values between its smallest and its largest, or every pixel where they are wide.

    `values`: (levels,) each value once, in order of its bits; (rows, columns) where nothing is counted.
    """

    def __init__(self, stored: Values) -> None:
        """`stored`: (rows, columns) as in the object; not copied where it lies in order."""
        self._bits: Bits | None = None
        self.values = stored
        if stored.dtype.kind in "iu" and stored.dtype.itemsize <= COUNTED_BYTES:
            native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
            self._bits = native.view(np.dtype(f"u{native.dtype.itemsize}"))
            between = np.arange(int(self._bits.min()), int(self._bits.max()) + 1, dtype=self._bits.dtype)
            self.values = between.view(native.dtype)

    @cached_property
    def counts(self) -> Counts | None:
        """Pixels of each of `values`, some of none; None where nothing is counted."""
        return None if self._bits is None else self._counted(self._bits)

    @cached_property
    def glance(self) -> Counts | None:
        """The same of every fourth pixel of every fourth row: what is plain to see is plain here too."""
        return None if self._bits is None else self._counted(self._bits[::GLANCE, ::GLANCE])

    def share(self, chosen: NDArray[np.bool_]) -> float:
        """The part (0..1) of all pixels whose level is chosen."""
        return share(chosen, self.counts)

    def shown_as(self, shown: Values) -> Array | Shown:
        """The film when each of `values` became what stands at its place in `shown`."""
        grey = np.ascontiguousarray(shown, dtype=np.float32)
        if self._bits is None:
            return grey
        lowest = int(self.values.view(self._bits.dtype)[0])
        table = np.zeros(lowest + grey.size, dtype=np.float32)
        table[lowest:] = grey
        return Shown(table, self._bits)

    def _counted(self, bits: Bits) -> Counts:
        counts = np.zeros(1 << (8 * bits.dtype.itemsize), dtype=np.int64)
        flat = bits.reshape(-1)
        for start in range(0, flat.size, AT_A_TIME):
            found = np.bincount(flat[start : start + AT_A_TIME])
            counts[: found.size] += found
        lowest = int(self.values.view(bits.dtype)[0])
        return counts[lowest : lowest + self.values.size]


class Shown:
    """A film as stored bits and what each became; laid out, whole or in part, for whoever asks."""

    def __init__(self, table: Array, bits: Bits) -> None:
        """`table`: what became of each number in `bits` (rows, columns); every one of them is in it."""
        self._table, self._bits = table, bits

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._bits.shape
        return rows, columns

    def part(self, rows: slice, columns: slice = slice(None)) -> Array:
        """The pixels of these rows and columns: float32, a new array."""
        bits = self._bits[rows, columns]
        pixels = np.empty(bits.shape, dtype=np.float32)
        np.take(self._table, bits, out=pixels, mode="clip")  # "raise" would make a copy first
        return pixels

    def whole(self) -> Array:
        """All pixels (rows, columns) float32, a new array."""
        pixels = np.empty(self._bits.size, dtype=np.float32)
        flat = self._bits.reshape(-1)
        for start in range(0, flat.size, AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            np.take(self._table, flat[part], out=pixels[part], mode="clip")
        return pixels.reshape(self._bits.shape)


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
    values, counts = values[counts > 0], counts[counts > 0]
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
