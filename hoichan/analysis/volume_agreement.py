"""How the millilitres of two networks for volumes agree on the same series: no doctor's word is asked.

So this is agreement, not accuracy: two networks may agree and both be wrong. What readers say of volumes is
in `volume_truth`. Bias and limits of agreement: Bland and Altman, Lancet 1986. Concordance: Lin, Biometrics
1989.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hoichan.analysis.agreement import bootstrap

LIMITS = 1.96  # standard deviations on both sides of the bias
FEWEST = 5  # pairs; fewer have no interval, and a subgroup of fewer is told by its size only
MOST_TOLD = 50  # studies to look at


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One part in one series, as two versions measured it."""

    study_instance_uid: str
    part: str  # code of the part
    live: float  # ml
    shadow: float  # ml
    groups: Mapping[str, str] = field(default_factory=dict)  # sender, device, sex, age -> value


def compare_volumes(pairs: Sequence[Pair]) -> dict[str, Any]:
    """One part: sizes, bias with its interval, limits of agreement, concordance, subgroups, what differs."""
    live, shadow = _columns(pairs)
    difference = shadow - live
    bias = float(difference.mean()) if len(pairs) else None
    spread = float(difference.std(ddof=1)) if len(pairs) > 1 else None
    return {
        "n": len(pairs),
        "mean_ml": {"live": _mean(live), "shadow": _mean(shadow)},
        "bias_ml": bias,
        "bias_ci95": bootstrap(len(pairs), lambda rows: float(difference[rows].mean()))
        if len(pairs) >= FEWEST
        else None,
        "limits_ml": None
        if bias is None or spread is None
        else (bias - LIMITS * spread, bias + LIMITS * spread),
        "concordance": concordance(live, shadow),
        "points": [[round(float(a), 4), round(float(b), 4)] for a, b in zip(live, shadow, strict=True)],
        "subgroups": _subgroups(pairs),
        "changed": [
            {"study_instance_uid": one.study_instance_uid, "live": one.live, "shadow": one.shadow}
            for one in sorted(pairs, key=lambda p: (-abs(p.shadow - p.live), p.study_instance_uid))[
                :MOST_TOLD
            ]
        ],
    }


def concordance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Lin's coefficient: 1 where all points lie on the diagonal; None of fewer than two, or of equals."""
    if len(a) < 2:
        return None
    below = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    return None if below == 0 else float(2 * ((a - a.mean()) * (b - b.mean())).mean() / below)


def _columns(pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        np.array([one.live for one in pairs], dtype=np.float64),
        np.array([one.shadow for one in pairs], dtype=np.float64),
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _subgroups(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for group in sorted({name for one in pairs for name in one.groups}):
        for value in sorted({one.groups[group] for one in pairs if group in one.groups}):
            mine = [one for one in pairs if one.groups.get(group) == value]
            live, shadow = _columns(mine)
            told = len(mine) >= FEWEST
            rows.append(
                {
                    "group": group,
                    "value": value,
                    "n": len(mine),
                    "bias_ml": float((shadow - live).mean()) if told else None,
                    "concordance": concordance(live, shadow) if told else None,
                }
            )
    return rows
