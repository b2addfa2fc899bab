"""What readers say of volumes: which they let stand, how far they corrected, how near a version comes.

| the reader | the number that stands |
| --- | --- |
| confirmed it | the machine's |
| corrected it | the reader's |
| rejected it | none: only that the machine's was wrong |
| said nothing of it | unknown; not counted |

A reader who has the machine's number before him keeps it more often than one who measures: figures of the
version that was shown flatter. Shares: Wilson's interval, each volume for itself; the two crops of one person
are not quite independent, so the intervals are somewhat too narrow. Limits: Bland and Altman 1986.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoichan.analysis.agreement import bootstrap, share
from hoichan.types import Verdict

LIMITS = 1.96  # standard deviations on both sides of the mean difference
FEWEST = 5  # volumes; fewer have no interval
_NAMES = {Verdict.ACCEPTED: "confirmed", Verdict.EDITED: "corrected", Verdict.REJECTED: "rejected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadVolume:
    """One part in one series that a reader judged in a review that stands."""

    study_instance_uid: str
    version: str  # which one's number was on the screen
    verdict: Verdict
    shown: float  # ml, the machine's
    stands: float | None  # ml, what the reader stands for; None: rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A volume that was read, and what the two versions measured there."""

    read: ReadVolume
    live: float  # ml
    shadow: float  # ml


def verdicts(read: Sequence[ReadVolume]) -> list[dict[str, Any]]:
    """Of each version that was shown: shares confirmed, corrected, rejected; how large corrections were."""
    return [
        {"version": version, **_told([one for one in read if one.version == version])}
        for version in sorted({one.version for one in read})
    ]


def _told(read: Sequence[ReadVolume]) -> dict[str, Any]:
    count = Counter(_NAMES[one.verdict] for one in read)
    corrected = [one for one in read if one.verdict is Verdict.EDITED]
    return {
        "n": len(read),
        "studies": len({one.study_instance_uid for one in read}),
        **{name: share(count[name], len(read)) for name in _NAMES.values()},
        "correction_ml": _spread([(one.stands or 0.0) - one.shown for one in corrected]),
        "reader_ml": _spread([one.stands - one.shown for one in read if one.stands is not None]),
    }


def _spread(differences: Sequence[float]) -> dict[str, Any]:
    """Median with its bootstrap interval, and limits of agreement, of reader - machine in ml."""
    values = np.array(differences, dtype=np.float64)
    spread = LIMITS * float(values.std(ddof=1)) if len(values) > 1 else None
    return {
        "n": len(values),
        "median": float(np.median(values)) if len(values) else None,
        "median_ci95": bootstrap(len(values), lambda rows: float(np.median(values[rows])))
        if len(values) >= FEWEST
        else None,
        "limits": None if spread is None else (float(values.mean()) - spread, float(values.mean()) + spread),
    }


def beside_readers(answered: Sequence[Answered], *, within: float) -> dict[str, Any]:
    """Both versions against what stands, on the same volumes.

    `within`: the share of the reader's number that a version may lie off and still be right. Of a rejected
    number nobody knows the right one: a version within that share of it is wrong too, for any other nothing
    can be told (`unknown`), and neither version is counted there.
    """
    told = [one for one in answered if _is_told(one, within)]
    found: dict[str, Any] = {"within": within, "n": len(told), "unknown": len(answered) - len(told)}
    for side in ("live", "shadow"):
        near = sum(_is_right(one.read, getattr(one, side), within) for one in told)
        off = [getattr(one, side) - one.read.stands for one in answered if one.read.stands is not None]
        found[side] = {"right": share(near, len(told)), "off_ml": _spread(off)}
    return found


def _is_told(one: Answered, within: float) -> bool:
    return one.read.stands is not None or _near(one.shadow, one.read.shown, within)


def _is_right(read: ReadVolume, value: float, within: float) -> bool:
    return read.stands is not None and _near(value, read.stands, within)


def _near(value: float, other: float, within: float) -> bool:
    return abs(value - other) <= within * abs(other) + 1e-9


def figures(found: Mapping[str, Any], side: str) -> tuple[float | None, float | None, float | None]:
    """Of one version: the share that is right, the median off, and the farther limit, both without sign."""
    off = found[side]["off_ml"]
    return (
        found[side]["right"]["share"],
        None if off["median"] is None else abs(off["median"]),
        None if off["limits"] is None else max(abs(one) for one in off["limits"]),
    )
