"""Whether this week's films and answers are like those of the first weeks: KS and PSI, with numpy alone.

KS is the two-sample Kolmogorov-Smirnov distance with the asymptotic p-value (Numerical Recipes 14.3, with
Stephens' correction). PSI is the population stability index over ten equal shares of the reference. With few
films PSI is large by chance alone: N*M/(N+M) times PSI follows chi-square with bins - 1 degrees of freedom,
so an alarm asks for more than the customary bar and more than chance gives once in a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hoichan.analysis.films import Film

Array = NDArray[np.float64]

BINS = 10
WATCH_PSI, ALARM_PSI = 0.1, 0.25  # customary: below 0.1 the same, above 0.25 another population
_CHANCE = 3.0902  # standard normal quantile of 0.999
P_VALUE = 0.001
FEWEST_REFERENCE, FEWEST_WEEK = 50, 20


class State(StrEnum):
    """What a comparison says."""

    FEW = "few"  # too few films to say anything
    STEADY = "steady"
    WATCH = "watch"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One measure of one week held against the reference."""

    reference_count: int
    week_count: int
    reference_value: float | None  # mean, or share
    week_value: float | None
    psi: float | None
    ks: float | None
    p_value: float | None
    state: State


def film_figures(film: Film) -> dict[str, float]:
    """Simple statistics of a film as models see it, before it is made square.

    brightness and contrast (mean and deviation, 0..1), dark and bright (shares of pixels at the ends),
    sharpness (mean step between neighbours), aspect (rows over columns), megapixels.
    """
    step = max(1, math.isqrt(film.rows * film.columns // 1_000_000))  # a million tell as much as sixteen
    small = film.every(step, step).astype(np.float64)
    return {
        "brightness": float(small.mean()),
        "contrast": float(small.std()),
        "dark": float((small < 0.05).mean()),
        "bright": float((small > 0.95).mean()),
        "sharpness": float(np.abs(np.diff(small, axis=1)).mean()) if small.shape[1] > 1 else 0.0,
        "aspect": film.rows / film.columns,
        "megapixels": film.rows * film.columns / 1e6,
    }


def ks_distance(a: Sequence[float] | Array, b: Sequence[float] | Array) -> tuple[float, float]:
    """Largest distance between two empirical distributions, and the p-value that they are the same."""
    one, two = np.sort(np.asarray(a, dtype=np.float64)), np.sort(np.asarray(b, dtype=np.float64))
    everything = np.concatenate([one, two])
    shares = [np.searchsorted(x, everything, side="right") / len(x) for x in (one, two)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    effective = math.sqrt(len(one) * len(two) / (len(one) + len(two)))
    return distance, _kolmogorov((effective + 0.12 + 0.11 / effective) * distance)


def _kolmogorov(x: float) -> float:
    """Q(x) = 2 * sum (-1)^(j-1) exp(-2 j^2 x^2); 1 where the sum does not settle (x near nought)."""
    if x < 0.2:
        return 1.0
    total: float = sum((-1) ** (j - 1) * math.exp(-2.0 * j * j * x * x) for j in range(1, 101))
    return min(1.0, max(0.0, 2.0 * total))


def psi(reference: Sequence[float] | Array, week: Sequence[float] | Array) -> tuple[float, int]:
    """Population stability index, and the number of bins that were used.

    Bins hold equal shares of the reference, a value that is very common has one of its own, and two are for
    what lies beyond its ends. Half a film is added to each bin, so that an empty one does not make the index
    endless.
    """
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(week, dtype=np.float64)
    inner = np.quantile(first, np.linspace(0, 1, BINS + 1)[:-1])
    edges = np.unique([*inner, np.nextafter(first.max(), np.inf)])
    counts = [
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1)
        for x in (first, second)
    ]
    shares = [(c + 0.5) / (c.sum() + 0.5 * len(c)) for c in counts]
    index = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    return index, len(edges) + 1


def compare(reference: Sequence[float] | Array, week: Sequence[float] | Array) -> Drift:
    """One number a film: this week against the reference."""
    n, m = len(reference), len(week)
    means = [float(np.mean(x)) if len(x) else None for x in (reference, week)]
    if n < FEWEST_REFERENCE or m < FEWEST_WEEK:
        return Drift(
            reference_count=n, week_count=m, reference_value=means[0], week_value=means[1],
            psi=None, ks=None, p_value=None, state=State.FEW,
        )  # fmt: skip
    index, bins = psi(reference, week)
    distance, p = ks_distance(reference, week)
    bar = _chi_square(max(1, bins - 1)) * (n + m) / (n * m)
    state = State.STEADY
    if p < P_VALUE and index > max(ALARM_PSI, bar):
        state = State.ALARM
    elif p < P_VALUE or index > max(WATCH_PSI, bar):
        state = State.WATCH
    return Drift(
        reference_count=n, week_count=m, reference_value=means[0], week_value=means[1],
        psi=index, ks=distance, p_value=p, state=state,
    )  # fmt: skip


def _chi_square(freedom: int) -> float:
    """The value chi-square passes once in a thousand (Wilson and Hilferty, 1931)."""
    a = 2.0 / (9.0 * freedom)
    return float(freedom * (1.0 - a + _CHANCE * math.sqrt(a)) ** 3)


def compare_shares(reference: tuple[int, int], week: tuple[int, int]) -> Drift:
    """A share (how many of how many): this week against the reference, by the two-proportion z test.

    An alarm asks for a difference beyond chance and of at least a third of the reference's share, or five
    points of a hundred, whichever is more.
    """
    (k, n), (j, m) = reference, week
    before, now = (k / n if n else None), (j / m if m else None)
    if before is None or now is None or n < FEWEST_REFERENCE or m < FEWEST_WEEK:
        return Drift(
            reference_count=n, week_count=m, reference_value=before, week_value=now,
            psi=None, ks=None, p_value=None, state=State.FEW,
        )  # fmt: skip
    pooled = (k + j) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = abs(now - before) / spread if spread > 0 else 0.0
    p = math.erfc(z / math.sqrt(2.0))
    state = State.STEADY
    if p < P_VALUE:
        state = State.ALARM if abs(now - before) >= max(0.05, before / 3) else State.WATCH
    return Drift(
        reference_count=n, week_count=m, reference_value=before, week_value=now,
        psi=None, ks=abs(now - before), p_value=p, state=state,
    )  # fmt: skip
