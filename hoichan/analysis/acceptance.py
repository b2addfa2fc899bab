"""The gates of a package: what must hold on signed reviews before it may go live.

They stand in the manifest, so they are part of the version and known before its figures are:

    [gates]
    reviews = 200            # signed studies that both versions answered
    positives = 20           # of each finding that is shown
    loss = 0.05              # how far sensitivity, specificity and AUROC may lie below the live version's
    [gates.findings.pleural_effusion]
    sensitivity = 0.80       # and specificity, ppv, auroc: must not fall below;  ece: must not rise above
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FindingGates(_Strict):
    """Bars of one finding."""

    sensitivity: Fraction | None = None
    specificity: Fraction | None = None
    ppv: Fraction | None = None
    auroc: Fraction | None = None
    ece: Fraction | None = None


class Gates(_Strict):
    """Bars of a package; those of a package that names none."""

    reviews: int = Field(default=100, ge=0)
    positives: int = Field(default=10, ge=0)
    loss: Fraction = 0.05
    findings: dict[str, FindingGates] = Field(default_factory=dict)


def read_gates(package: Path) -> Gates:
    """The gates of a package whose manifest was read before."""
    manifest = tomllib.loads((package / "manifest.toml").read_text(encoding="utf-8"))
    return Gates.model_validate(manifest.get("gates", {}))


def check(
    gates: Gates, findings: Mapping[str, Mapping[str, Any]], shown: Iterable[str]
) -> list[dict[str, Any]]:
    """Every gate, what was measured, and whether it held; what cannot be told did not hold.

    `findings`: finding key -> `agreement.compare`; `shown`: keys that the new version makes statements of.
    """
    rows: list[dict[str, Any]] = []
    for key in shown:
        found = findings.get(key)
        if found is None:
            rows.append(_gate(key, "answered", 1, None))
            continue
        shadow = found["shadow"]
        rows.append(_gate(key, "reviews", gates.reviews, found["difference"]["n"] or shadow["n"]))
        rows.append(_gate(key, "positives", gates.positives, shadow["positives"]))
        both = found.get("paired", found)  # on the same studies: others may have been easier
        for name in ("sensitivity", "specificity", "auroc"):
            before, now = _figure(both["live"], name), _figure(both["shadow"], name)
            if before is not None:
                rows.append(_gate(key, f"{name}_against_live", max(0.0, before - gates.loss), now))
        bars = gates.findings.get(key, FindingGates())
        for name in ("sensitivity", "specificity", "ppv", "auroc"):
            bar = getattr(bars, name)
            if bar is not None:
                rows.append(_gate(key, name, bar, _figure(shadow, name)))
        if bars.ece is not None:
            ece = shadow["calibration"]["ece"]
            rows.append({**_gate(key, "ece", bars.ece, ece), "held": ece is not None and ece <= bars.ece})
    return rows


def _figure(performance: Mapping[str, Any], name: str) -> float | None:
    value = performance[name]
    found = value["share"] if isinstance(value, Mapping) else value
    return None if found is None else float(found)


def _gate(key: str, name: str, bar: float, measured: float | None) -> dict[str, Any]:
    return {
        "finding": key,
        "gate": name,
        "bar": bar,
        "measured": measured,
        "held": measured is not None and measured >= bar,
    }
