"""How a model's answers agree with what doctors signed: counts, intervals, calibration. numpy alone.

A share has Wilson's interval (Wilson, 1927), what ranks or differences say a bootstrap interval over studies
with a fixed seed. Scores are calibrated probabilities. Nothing here knows a patient: studies by their UID.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Truth = NDArray[np.bool_]
Levels = NDArray[np.int64]

_Z = 1.959964  # 95 %
DRAWS = 1000
SEED = 20261122
BINS = 10
FEWEST_OF_A_KIND = 5  # positives and negatives that a subgroup or an AUROC needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One finding of one study, as two versions saw it and as a doctor signed it."""

    study_instance_uid: str
    finding_key: str
    truth: bool | None  # None: nobody signed, or the signature does not say
    live: float | None  # calibrated probability; None: refused or failed
    live_present: bool | None
    shadow: float | None
    shadow_present: bool | None
    groups: Mapping[str, str] = field(default_factory=dict)  # sender, device, sex, age, view -> value


def wilson(k: int, n: int) -> tuple[float, float] | None:
    """The 95 % interval of k of n; None of nothing."""
    if n == 0:
        return None
    share, z2 = k / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(k: int, n: int) -> dict[str, Any]:
    """k of n, as it is reported."""
    return {"k": k, "n": n, "share": k / n if n else None, "ci95": wilson(k, n)}


def auroc(scores: Array, truth: Truth) -> float | None:
    """Area under the ROC curve by ranks, ties halved; None without both kinds."""
    return _area(_levels(scores), truth)


def _levels(scores: Array) -> Levels:
    """Each score's place among the different scores, from 0: what a draw of rows need not sort again."""
    return np.unique(scores, return_inverse=True)[1]


def _area(levels: Levels, truth: Truth) -> float | None:
    """The share of pairs of a positive and a negative that are in the right order, ties halved."""
    size = int(levels.max(initial=-1)) + 1
    positives = np.bincount(levels[truth], minlength=size)
    negatives = np.bincount(levels[~truth], minlength=size)
    pairs = int(positives.sum()) * int(negatives.sum())
    if not pairs:
        return None
    below = np.cumsum(negatives) - negatives / 2.0
    return float((positives * below).sum() / pairs)


def bootstrap(count: int, figure: Callable[[NDArray[np.int64]], float | None]) -> tuple[float, float] | None:
    """95 % interval of a figure of the rows that were drawn; None where most draws have none."""
    rng = np.random.default_rng(SEED)
    found = [figure(rng.integers(0, count, count)) for _ in range(DRAWS)] if count else []
    kept = [value for value in found if value is not None]
    if len(kept) < DRAWS // 2:
        return None
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


def calibration(scores: Array, truth: Truth) -> dict[str, Any]:
    """Expected calibration error over ten bins of equal width, and the bins themselves."""
    which = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    rows, error = [], 0.0
    for one in range(BINS):
        inside = which == one
        count = int(inside.sum())
        if not count:
            continue
        said, was = float(scores[inside].mean()), float(truth[inside].mean())
        error += count / len(scores) * abs(said - was)
        k = int(truth[inside].sum())
        rows.append({"said": said, "was": was, "n": count, "ci95": wilson(k, count)})
    return {"ece": error if len(scores) else None, "bins": rows}


def kappa(a: Truth, b: Truth) -> float | None:
    """Cohen's kappa of two yes-or-no raters; None of nothing, or where chance explains all."""
    if not len(a):
        return None
    observed = float((a == b).mean())
    expected = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return None if expected >= 1.0 else (observed - expected) / (1 - expected)


def performance(scores: Array, present: Truth, truth: Truth) -> dict[str, Any]:
    """What one version is worth on signed studies."""
    yes, no = truth, ~truth
    levels = _levels(scores)
    enough = min(int(yes.sum()), int(no.sum())) >= FEWEST_OF_A_KIND
    return {
        "n": len(truth),
        "positives": int(yes.sum()),
        "sensitivity": share(int((present & yes).sum()), int(yes.sum())),
        "specificity": share(int((~present & no).sum()), int(no.sum())),
        "ppv": share(int((present & yes).sum()), int(present.sum())),
        "flagged": share(int(present.sum()), len(present)),
        "auroc": _area(levels, truth),
        "auroc_ci95": bootstrap(len(truth), lambda rows: _area(levels[rows], truth[rows]))
        if enough
        else None,
        "calibration": calibration(scores, truth),
        "kappa": kappa(present, truth),
    }


def compare(cases: Sequence[Case], *, changes: int = 50) -> dict[str, Any]:
    """One finding: agreement of two versions, each against the signed reviews, subgroups, what changed."""
    both = [c for c in cases if c.live_present is not None and c.shadow_present is not None]
    reviewed = [c for c in cases if c.truth is not None]
    paired = [c for c in both if c.truth is not None]
    found: dict[str, Any] = {
        "studies": len(cases),
        "reviewed": len(reviewed),
        "agreement": _agreement(both),
        "live": _performance(reviewed, live=True),
        "shadow": _performance(reviewed, live=False),
        "paired": {"live": _performance(paired, live=True), "shadow": _performance(paired, live=False)},
        "difference": _difference(paired),
        "subgroups": _subgroups(reviewed),
        "changed": [_changed(c) for c in _by_size([c for c in both if c.live_present != c.shadow_present])][
            :changes
        ],
        "changed_count": sum(c.live_present != c.shadow_present for c in both),
    }
    return found


def _agreement(both: Sequence[Case]) -> dict[str, Any]:
    live = np.array([bool(c.live_present) for c in both], dtype=np.bool_)
    shadow = np.array([bool(c.shadow_present) for c in both], dtype=np.bool_)
    same = int((live == shadow).sum())
    differences = [abs((c.live or 0.0) - (c.shadow or 0.0)) for c in both]
    return {
        **share(same, len(both)),
        "kappa": kappa(live, shadow),
        "mean_difference": float(np.mean(differences)) if differences else None,
    }


def _arrays(cases: Sequence[Case], *, live: bool) -> tuple[Array, Truth, Truth]:
    """Scores, statements and truth of those that were answered and signed."""
    rows = [
        (c.live, c.live_present, c.truth) if live else (c.shadow, c.shadow_present, c.truth) for c in cases
    ]
    whole = [row for row in rows if None not in row]
    return (
        np.array([row[0] for row in whole], dtype=np.float64),
        np.array([row[1] for row in whole], dtype=np.bool_),
        np.array([row[2] for row in whole], dtype=np.bool_),
    )


def _performance(cases: Sequence[Case], *, live: bool) -> dict[str, Any]:
    return performance(*_arrays(cases, live=live))


def _difference(paired: Sequence[Case]) -> dict[str, Any]:
    """Shadow minus live on the same signed studies, with bootstrap intervals."""
    truth = np.array([bool(c.truth) for c in paired], dtype=np.bool_)
    said = np.array([[bool(c.live_present), bool(c.shadow_present)] for c in paired], dtype=np.bool_).reshape(
        -1, 2
    )
    scores = np.array([[c.live, c.shadow] for c in paired], dtype=np.float64).reshape(-1, 2)
    levels = [_levels(scores[:, one]) for one in (0, 1)]

    def sensitivity(rows: NDArray[np.int64]) -> float | None:
        yes = rows[truth[rows]]
        return float(said[yes, 1].mean() - said[yes, 0].mean()) if len(yes) else None

    def specificity(rows: NDArray[np.int64]) -> float | None:
        no = rows[~truth[rows]]
        return float(said[no, 0].mean() - said[no, 1].mean()) if len(no) else None

    def area(rows: NDArray[np.int64]) -> float | None:
        areas = [_area(levels[one][rows], truth[rows]) for one in (0, 1)]
        return None if areas[0] is None or areas[1] is None else areas[1] - areas[0]

    everyone = np.arange(len(paired))
    return {
        "n": len(paired),
        **{
            name: {"value": figure(everyone), "ci95": bootstrap(len(paired), figure)}
            for name, figure in (("sensitivity", sensitivity), ("specificity", specificity), ("auroc", area))
        },
    }


def _subgroups(reviewed: Sequence[Case]) -> list[dict[str, Any]]:
    """Every group with enough of both kinds; the others only with their size."""
    rows: list[dict[str, Any]] = []
    for group in sorted({name for c in reviewed for name in c.groups}):
        for value in sorted({c.groups[group] for c in reviewed if group in c.groups}):
            mine = [c for c in reviewed if c.groups.get(group) == value]
            positives = sum(bool(c.truth) for c in mine)
            row: dict[str, Any] = {"group": group, "value": value, "n": len(mine), "positives": positives}
            for name, live in (("live", True), ("shadow", False)):
                scores, present, truth = _arrays(mine, live=live)
                row[name] = {
                    "sensitivity": share(int((present & truth).sum()), int(truth.sum())),
                    "specificity": share(int((~present & ~truth).sum()), int((~truth).sum())),
                    "auroc": auroc(scores, truth)
                    if min(positives, len(mine) - positives) >= FEWEST_OF_A_KIND
                    else None,
                }
            rows.append(row)
    return rows


def _by_size(cases: Sequence[Case]) -> list[Case]:
    """Those a doctor contradicts first, then by how far the scores lie apart."""
    return sorted(
        cases,
        key=lambda c: (
            c.truth is None or c.truth == c.shadow_present,
            -abs((c.live or 0.0) - (c.shadow or 0.0)),
            c.study_instance_uid,
        ),
    )


def _changed(case: Case) -> dict[str, Any]:
    return {
        "study_instance_uid": case.study_instance_uid,
        "live": case.live,
        "live_present": case.live_present,
        "shadow": case.shadow,
        "shadow_present": case.shadow_present,
        "truth": case.truth,
    }
