"""The gates of a package for volumes: what must hold against readers' numbers before it may go live.

They stand in `volume.toml`, so they are part of the version and known before its figures are:

    [gates]
    reviews = 100            # volumes of each part that a reader judged and both versions measured
    within = 0.10            # a number this near the reader's is right
    loss = 0.05              # how far the share that is right may lie below the live version's
    [gates.parts.HIPP-ANTERIOR]
    right = 0.85             # share that is right: must not fall below
    off_ml = 0.15            # median difference from the reader, without sign: must not rise above
    limit_ml = 0.60          # the farther limit of agreement with the reader, without sign: the same
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hoichan.analysis.acceptance import Fraction
from hoichan.analysis.volume_truth import figures


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartGates(_Strict):
    """Bars of one part."""

    right: Fraction | None = None
    off_ml: float | None = Field(default=None, ge=0.0)
    limit_ml: float | None = Field(default=None, ge=0.0)


class VolumeGates(_Strict):
    """Bars of a package; those of a package that names none."""

    reviews: int = Field(default=100, ge=1)
    within: float = Field(default=0.10, gt=0.0, le=0.5)
    loss: Fraction = 0.05
    parts: dict[str, PartGates] = Field(default_factory=dict)


def read_volume_gates(package: Path) -> VolumeGates:
    """The gates of a package whose volume.toml was read before."""
    text = (package / "volume.toml").read_text(encoding="utf-8")
    return VolumeGates.model_validate(tomllib.loads(text).get("gates", {}))


def check_volumes(
    gates: VolumeGates, found: Mapping[str, Mapping[str, Any]], parts: Iterable[str]
) -> list[dict[str, Any]]:
    """Every gate, what was measured, and whether it held; what cannot be told did not hold.

    `found`: code of the part -> `volume_truth.beside_readers`; `parts`: codes that the new version outlines.
    """
    rows: list[dict[str, Any]] = []
    for code in parts:
        one = found[code]
        before, _, _ = figures(one, "live")
        right, off, limit = figures(one, "shadow")
        bars = gates.parts.get(code, PartGates())
        rows.append(_gate(code, "reviews", gates.reviews, one["n"]))
        if before is not None:
            rows.append(_gate(code, "right_against_live", max(0.0, before - gates.loss), right))
        if bars.right is not None:
            rows.append(_gate(code, "right", bars.right, right))
        for name, bar, measured in (("off_ml", bars.off_ml, off), ("limit_ml", bars.limit_ml, limit)):
            if bar is not None:
                held = measured is not None and measured <= bar
                rows.append({**_gate(code, name, bar, measured), "held": held})
    return rows


def _gate(code: str, name: str, bar: float, measured: float | None) -> dict[str, Any]:
    held = measured is not None and measured >= bar
    return {"finding": code, "gate": name, "bar": bar, "measured": measured, "held": held}
