"""Say how good a trained model is, with intervals, against what age, sex and view alone can tell.

    python -m training.evaluate runs/cxr-demo --data ../shared/data

Calibration and operating points are chosen on split `val`; split `test` (one source, one film a patient) is
only ever counted. Intervals are percentiles of a bootstrap over patients (Efron), so films of one patient
stay together. The result is `evaluation.json` in the run folder; `training.export` puts it into the package.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from sklearn.linear_model import LogisticRegression

from training.calibrate import choose, probabilities, read_choice
from training.dataset import FINDINGS, Array, Samples, load_films, load_split
from training.gate_report import Scorer, Scores, gate_counted, gate_operating_point, gate_report, share
from training.networks import FilmNet, build, device
from training.run_folder import finish

ROUNDS = 1000  # of the bootstrap
RELIABILITY_BINS = 5
FEWEST = 5  # positives and negatives below which a subgroup's AUROC is not given

Flat = NDArray[np.float64] | Array


# --------------------------------------------------------------------------------------------------- measures
def auroc(labels: Flat, scores: Flat) -> float:
    """Area under the ROC curve by ranks (Hanley and McNeil, 1982); NaN without both classes."""
    positive = np.asarray(labels) > 0.5
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share their mean rank
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def within_group_auroc(labels: Flat, scores: Flat, groups: NDArray[np.str_]) -> float:
    """AUROC over pairs from the same group only: what is left when recognising the group earns nothing."""
    won, pairs = 0.0, 0
    for group in np.unique(groups):
        rows = groups == group
        n1 = int((labels[rows] > 0.5).sum())
        n = n1 * (int(rows.sum()) - n1)
        if n:
            won += auroc(labels[rows], scores[rows]) * n
            pairs += n
    return won / pairs if pairs else float("nan")


def resamples(patients: NDArray[np.str_], rounds: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers of each bootstrap round: patients drawn with replacement, all their films together."""
    rng = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(patients == p) for p in np.unique(patients)]
    return [
        np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        for _ in range(rounds)
    ]


def interval(values: list[float]) -> list[float]:
    """The middle 95 % of bootstrap values, NaN rounds left out."""
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return [round(float(low), 3), round(float(high), 3)]


# ------------------------------------------------------------------------------------- without any pixel
def metadata_scores(train: Samples, others: Samples) -> Array:
    """(n, 14) probabilities by logistic regression on age, its square, sex and view, fitted on train: no
    pixel is read.
    """

    def table(samples: Samples) -> Array:
        return np.concatenate([samples.metadata, samples.metadata[:, :1] ** 2 / 10], axis=1)

    columns = []
    for k in range(train.labels.shape[1]):
        if len(np.unique(train.labels[:, k])) < 2:  # only in tests with a handful of films
            columns.append(np.zeros(len(others)))
            continue
        fit = LogisticRegression(max_iter=2000).fit(table(train), train.labels[:, k])
        columns.append(fit.predict_proba(table(others))[:, 1])
    return np.stack(columns, axis=1).astype(np.float32)


# -------------------------------------------------------------------------------------------- what is counted
def finding_table(test: Samples, logits: Array, baseline: Array) -> dict[str, Any]:
    """AUROC of every finding and of their mean, beside the metadata baseline, with intervals of both and of
    the difference.
    """
    rounds = resamples(test.patients, ROUNDS, seed=7)
    table: dict[str, Any] = {}
    model_means, base_means = np.zeros(ROUNDS), np.zeros(ROUNDS)
    for k, (name, key) in enumerate(FINDINGS.items()):
        y, s, b = test.labels[:, k], logits[:, k], baseline[:, k]
        model = np.array([auroc(y[r], s[r]) for r in rounds])
        base = np.array([auroc(y[r], b[r]) for r in rounds])
        model_means += np.nan_to_num(model, nan=0.5) / len(FINDINGS)
        base_means += np.nan_to_num(base, nan=0.5) / len(FINDINGS)
        table[key] = {
            "name": name,
            "positives": int(y.sum()),
            "auroc": round(auroc(y, s), 3),
            "auroc_ci95": interval(list(model)),
            "metadata_auroc": round(auroc(y, b), 3),
            "metadata_auroc_ci95": interval(list(base)),
            "difference_ci95": interval(list(model - base)),
        }
    table["mean_of_14"] = {
        "auroc": round(float(np.mean([table[key]["auroc"] for key in FINDINGS.values()])), 3),
        "auroc_ci95": interval(list(model_means)),
        "metadata_auroc": round(
            float(np.mean([table[key]["metadata_auroc"] for key in FINDINGS.values()])), 3
        ),
        "metadata_auroc_ci95": interval(list(base_means)),
        "difference_ci95": interval(list(model_means - base_means)),
    }
    return table


def at_operating_point(labels: Flat, probabilities: Flat, point: float) -> dict[str, Any]:
    """Sensitivity and specificity with Wilson intervals."""
    said = probabilities >= point
    positive = np.asarray(labels) > 0.5
    return {
        "sensitivity": share(int((said & positive).sum()), int(positive.sum())),
        "specificity": share(int((~said & ~positive).sum()), int((~positive).sum())),
    }


def reliability(labels: Flat, probabilities: Flat) -> dict[str, Any]:
    """Expected calibration error over bins of equal films (Naeini et al., AAAI 2015), and the bins.

    Five bins, not ten: with two hundred films more would be noise. Each says what was said on average, what
    share really had the finding, and its Wilson interval: the points of a reliability diagram.
    """
    bins = []
    error = 0.0
    for rows in np.array_split(np.argsort(probabilities, kind="stable"), RELIABILITY_BINS):
        if len(rows) == 0:
            continue
        said, was = float(np.mean(probabilities[rows])), share(int((labels[rows] > 0.5).sum()), len(rows))
        error += abs(said - was["k"] / was["n"]) * len(rows) / len(labels)
        bins.append({"said": round(said, 3), "films": len(rows), "was": was["share"], "ci95": was["ci95"]})
    return {"ece": round(error, 3), "bins": bins}


def subgroups(test: Samples, logits: Array) -> dict[str, Any]:
    """Mean AUROC over the findings that a subgroup has enough of, by sex, view and age."""
    age, male, ap = test.ages, test.metadata[:, 1] > 0.5, test.metadata[:, 2] > 0.5
    groups = {"women": ~male, "men": male, "PA": ~ap, "AP": ap, "18-59 years": (age >= 18) & (age < 60),
              "60 years and over": age >= 60, "18 years and over": age >= 18}  # fmt: skip
    told: dict[str, Any] = {}
    for name, rows in groups.items():
        enough = [k for k in range(len(FINDINGS))
                  if min(test.labels[rows, k].sum(), (1 - test.labels[rows, k]).sum()) >= FEWEST]  # fmt: skip
        values = [auroc(test.labels[rows, k], logits[rows, k]) for k in enough]
        rounds = resamples(test.patients[rows], 300, seed=11)
        means = [
            float(np.nanmean([auroc(test.labels[rows, k][r], logits[rows, k][r]) for k in enough]))
            for r in rounds
        ]
        told[name] = {"films": int(rows.sum()), "findings": len(enough),
                      "mean_auroc": round(float(np.mean(values)), 3), "ci95": interval(means)}  # fmt: skip
    return told


# ------------------------------------------------------------------------------------------------------- main
def torch_scorer(net: FilmNet) -> Scorer:
    """Scores by the torch network, in batches."""

    where = device()
    net = net.to(where)

    @torch.inference_mode()
    def score(films: Array) -> Scores:
        logits, gates = [], []
        for start in track(range(0, len(films), 16), description="scoring", transient=True):
            batch = torch.from_numpy(films[start : start + 16]).to(where, memory_format=torch.channels_last)
            out = net(batch)
            logits.append(out.logits.cpu().numpy())
            gates.append(out.gate.softmax(1).cpu().numpy())
        return np.concatenate(logits), np.concatenate(gates)

    return score


def load_net(run: Path) -> tuple[FilmNet, dict[str, Any]]:
    """The network of a run folder and its settings."""
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    state = torch.load(run / "weights.pt", map_location="cpu", weights_only=True)
    net = build(len(FINDINGS), len(state["gate_out.bias"]), pretrained=False)
    net.load_state_dict(state)
    return net.to(memory_format=torch.channels_last).eval(), settings


def second_hospital(data: Path, size: int) -> Array:
    """Films of another hospital, mostly portable AP: for the gate and shifts of scores, not for AUROC."""
    return load_films(sorted((data / "mhh_cxr" / "images").glob("*.jpg")), size)


def evaluate(
    score: Scorer,
    data: Path,
    size: int,
    films: int | None = None,
    gate_figures: dict[str, Any] | None = None,
    chosen: dict[str, dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Everything the card says. `score` gives logits and gate probabilities of (n, 1, S, S) films.

    `gate_figures`: what was counted before of this very gate, instead of counting again. `chosen`: what
    `training.calibrate` chose; None: it is chosen now, on val.
    """
    train = load_split(data, "train").head(films)
    val, test = load_split(data, "val").head(films), load_split(data, "test").head(films)
    squares = {"val": load_films(val.paths, size), "test": load_films(test.paths, size)}
    squares["second hospital"] = second_hospital(data, size)[:films]
    val_logits, val_gate = score(squares["val"])
    test_logits, _ = score(squares["test"])

    chosen = chosen or choose(val.labels, val_logits)

    def calibrated(logits: Array) -> NDArray[np.float64]:
        return probabilities(logits, chosen)

    test_p, far_p = (calibrated(x) for x in (test_logits, score(squares["second hospital"])[0]))
    findings = finding_table(test, test_logits, metadata_scores(train, test))
    for k, key in enumerate(FINDINGS.values()):
        point = chosen[key]["operating_point"]
        findings[key] |= at_operating_point(test.labels[:, k], test_p[:, k], point)
        findings[key]["calibration"] = reliability(test.labels[:, k], test_p[:, k])
        findings[key]["val_auroc"] = round(auroc(val.labels[:, k], val_logits[:, k]), 3)
        findings[key]["positive_share_second_hospital"] = round(float((far_p[:, k] >= point).mean()), 3)
    return {
        "films": {"train": len(train), "val": len(val), "test": len(test)},
        "chosen_on_val": chosen,
        "test": findings,
        "subgroups": subgroups(test, test_logits) if films is None else {},
        "calibration_error_test": round(float(np.abs(test_p.mean(0) - test.labels.mean(0)).mean()), 3),
        "gate": gate_figures or gate_report(score, data, squares, gate_operating_point(val_gate[:, 0])),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Evaluate a training run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--gate-of", type=Path, default=None, help="package with the same gate, whose counts are taken over"
    )
    arguments = parser.parse_args()
    net, settings = load_net(arguments.run)
    counted = None if arguments.gate_of is None else gate_counted(net, arguments.gate_of)
    chosen = read_choice(arguments.run)
    result = evaluate(
        torch_scorer(net), arguments.data, settings["size"], gate_figures=counted, chosen=chosen
    )
    (arguments.run / "evaluation.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    finish(arguments.run)
    for key, row in result["test"].items():
        print(f"{key:20} {row['auroc']:.3f} {row['auroc_ci95']}  metadata {row['metadata_auroc']:.3f}")
    print(json.dumps(result["gate"], indent=1))


if __name__ == "__main__":
    main()
