"""Thresholds by capacity: how many a week can be followed up, and what that costs in misses and false alarms.

The threshold of a capacity is the score that so many studies a week reach at this site. Reviews, where there
are any, say what would be missed; where there are none, that is unknown and said so. For tuberculosis the
line of WHO's target product profile of a triage test (sensitivity 90 %, specificity 70 % at least; WHO/HTM/
TB/2014.18, kept in 2024) stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoichan.analysis.agreement import share
from hoichan.analysis.versions import Rule

WHO_SENSITIVITY, WHO_SPECIFICITY = 0.90, 0.70
TUBERCULOSIS = frozenset({"tuberculosis", "tb"})
FEWEST_SCORES = 100  # below it a site's distribution is a guess
FEWEST_POSITIVES = 10
_STEPS = 10_000  # an operating point has four digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One study's score of one finding."""

    score: float  # calibrated probability
    sex: str | None
    age_years: int | None
    truth: bool | None  # by a signed review


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Whom one threshold is for."""

    sex: str | None = None
    age_years: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """In words, e.g. "F 0-49"."""
        ages = "" if self.age_years is None else f"{self.age_years[0]}-{self.age_years[1]}"
        return " ".join(part for part in (self.sex or "", ages) if part) or "all"


def groups(*, by_sex: bool, age_bands: Sequence[tuple[int, int]]) -> tuple[Group, ...]:
    """The groups that get a threshold of their own; () where everybody gets the same."""
    if not by_sex and not age_bands:
        return ()
    sexes: tuple[str | None, ...] = ("F", "M") if by_sex else (None,)
    bands: Sequence[tuple[int, int] | None] = age_bands or (None,)
    return tuple(Group(sex=sex, age_years=band) for sex in sexes for band in bands)


def propose(
    scored: Sequence[Scored], *, weeks: float, per_week: float, parted: Sequence[Group] = ()
) -> tuple[tuple[Rule, ...], dict[str, Any]]:
    """Rules of one finding, and what to expect of them.

    Every group gets the same share of flagged studies, and whoever fits none gets the threshold of all.
    Raises ValueError where there is nothing to count or a figure is not positive.
    """
    if weeks <= 0 or per_week <= 0:
        raise ValueError("weeks and patients a week must be positive")
    if not scored:
        raise ValueError("no study was scored")
    wanted = min(1.0, per_week * weeks / len(scored))
    everyone = _point([one.score for one in scored], wanted)
    rules, told = [], []
    for group in parted:
        mine = [one for one in scored if _fits(group, one)]
        if len(mine) < FEWEST_SCORES:
            told.append({"group": group.label, "n": len(mine), "operating_point": everyone, "of_all": True})
            continue
        point = _point([one.score for one in mine], wanted)
        rules.append(Rule(operating_point=point, sex=group.sex, age_years=group.age_years))
        told.append({"group": group.label, "n": len(mine), "operating_point": point, "of_all": False})
    rules.append(Rule(operating_point=everyone))
    expected = expect(scored, rules, weeks=weeks)
    return tuple(rules), {**expected, "per_week_wanted": per_week, "groups": told}


def _point(scores: Sequence[float], wanted: float) -> float:
    """The lowest operating point that at most this share of scores reach, kept to four digits upwards."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    count = math.floor(wanted * len(ordered) + 1e-9)
    if count >= len(ordered):
        return math.floor(float(ordered[-1]) * _STEPS) / _STEPS
    # above the first score that is one too many: studies with the same score are flagged together or not
    bar = float(ordered[count])
    steps = math.floor(bar * _STEPS) + 1
    if steps / _STEPS <= bar:  # 0.57 * 10,000 is 5,699.999…: the step above it is 0.57 itself
        steps += 1
    return min(1.0, steps / _STEPS)


def expect(scored: Sequence[Scored], rules: Sequence[Rule], *, weeks: float) -> dict[str, Any]:
    """What these rules would have done: flagged a week, and what reviews say of misses and false alarms."""
    flagged = [
        one.score >= next(r.operating_point for r in rules if r.fits(one.sex, one.age_years))
        for one in scored
    ]
    known = [(f, bool(one.truth)) for f, one in zip(flagged, scored, strict=True) if one.truth is not None]
    positives = sum(truth for _, truth in known)
    hits = sum(f and truth for f, truth in known)
    alarms = sum(f and not truth for f, truth in known)
    result: dict[str, Any] = {
        "studies": len(scored),
        "weeks": weeks,
        "enough_scores": len(scored) >= FEWEST_SCORES,
        "flagged_per_week": sum(flagged) / weeks,
        "flagged": share(sum(flagged), len(scored)),
        "reviewed": len(known),
        "reviewed_positives": positives,
        "known": positives >= FEWEST_POSITIVES,
        "sensitivity": share(hits, positives),
        "specificity": share(len(known) - positives - alarms, len(known) - positives),
        "missed_per_week": None,
        "false_alarms_per_week": None,
    }
    if result["known"]:  # the reviewed ones stand for all: said in the docs and on the page
        scale = len(scored) / len(known) / weeks
        result["missed_per_week"] = (positives - hits) * scale
        result["false_alarms_per_week"] = alarms * scale
    return result


def who_line(key: str, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whether the triage target of WHO is met; None for findings other than tuberculosis."""
    if key not in TUBERCULOSIS:
        return None
    sensitivity, specificity = expected["sensitivity"]["share"], expected["specificity"]["share"]
    known = expected["known"] and sensitivity is not None and specificity is not None
    return {
        "sensitivity": WHO_SENSITIVITY,
        "specificity": WHO_SPECIFICITY,
        "met": bool(sensitivity >= WHO_SENSITIVITY and specificity >= WHO_SPECIFICITY) if known else None,
    }


def _fits(group: Group, one: Scored) -> bool:
    return Rule(operating_point=0.0, sex=group.sex, age_years=group.age_years).fits(one.sex, one.age_years)
