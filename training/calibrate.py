"""Choose calibration and operating points of a run, on split val only.

    python -m training.calibrate runs/cxr-demo --data ../shared/data [--specificity 0.90]

Writes `calibration.json` into the run folder; `training.evaluate` counts with it, `training.export` puts it
into the manifest. Thresholds, calibration and weights are one version.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.dataset import FINDINGS, Array, load_films, load_split

SPECIFICITY = 0.90  # of the operating points, on the films of val without the finding
CHOICE_FILE = "calibration.json"
Flat = NDArray[np.float64] | Array


def fit_calibration(labels: Array, logits: Array) -> tuple[float, NDArray[np.float64]]:
    """Platt scaling with one slope for all findings and an intercept for each: (slope, (14,) intercepts).

    A slope per finding would rest on five to fifty positives. The intercepts hold for the share of disease in
    val.
    """
    n, k = logits.shape
    # 10: intercepts hardly shrunk
    x = np.concatenate([logits.reshape(-1, 1), 10 * np.tile(np.eye(k), (n, 1))], axis=1)
    fit = LogisticRegression(C=1.0, fit_intercept=False, max_iter=2000).fit(x, labels.reshape(-1))
    return max(0.05, float(fit.coef_[0, 0])), 10 * fit.coef_[0, 1:]


def operating_point(labels: Flat, probabilities: Flat, specificity: float = SPECIFICITY) -> float:
    """The lowest probability that keeps the specificity on films without the finding."""
    return float(np.quantile(probabilities[labels < 0.5], specificity, method="higher")) + 1e-6


def choose(labels: Array, logits: Array, specificity: float = SPECIFICITY) -> dict[str, dict[str, float]]:
    """Finding key -> slope, intercept and operating point, from films of val (n, 14)."""
    slope, intercepts = fit_calibration(labels, logits)
    chosen: dict[str, dict[str, float]] = {}
    for k, key in enumerate(FINDINGS.values()):
        said = 1 / (1 + np.exp(-(slope * logits[:, k] + intercepts[k])))
        chosen[key] = {
            "slope": round(slope, 4),
            "intercept": round(float(intercepts[k]), 4),
            "operating_point": round(operating_point(labels[:, k], said, specificity), 4),
        }
    return chosen


def probabilities(logits: Array, chosen: dict[str, dict[str, float]]) -> NDArray[np.float64]:
    """(n, 14) calibrated probabilities, with the rounded numbers that the manifest will have."""
    slopes = np.array([chosen[key]["slope"] for key in FINDINGS.values()])
    intercepts = np.array([chosen[key]["intercept"] for key in FINDINGS.values()])
    return np.asarray(1 / (1 + np.exp(-(slopes * logits + intercepts))))


def read_choice(run: Path) -> dict[str, dict[str, float]] | None:
    """What was chosen for this run before; None: nothing."""
    place = run / CHOICE_FILE
    if not place.is_file():
        return None
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Command line."""
    from training.evaluate import load_net, torch_scorer

    parser = argparse.ArgumentParser(description="Choose calibration and operating points of a run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--specificity", type=float, default=SPECIFICITY)
    arguments = parser.parse_args()
    net, settings = load_net(arguments.run)
    val = load_split(arguments.data, "val")
    logits, _ = torch_scorer(net)(load_films(val.paths, settings["size"]))
    chosen = choose(val.labels, logits, arguments.specificity)
    text = json.dumps(chosen, indent=1) + "\n"
    (arguments.run / CHOICE_FILE).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
