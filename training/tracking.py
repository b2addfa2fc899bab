"""A run folder as a run of MLflow, where a site keeps its experiments there (extra `mlflow`).

    python -m training.train … --mlflow http://mlflow.hospital:5000        or  --mlflow file:///srv/mlruns

The run folder stays the truth: what is logged is read from it when the run has ended, so a server that is
away costs no training, and a run may be logged again later (`python -m training.tracking RUN URI`).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEPT = ("settings.json", "history.json", "evaluation.json", "weights.pt")


def log_run(run: Path, uri: str) -> str:
    """Settings as parameters, figures as metrics (by epoch where there are epochs), files as artifacts.

    The identity of the MLflow run. Raises ModuleNotFoundError without the extra, and what MLflow raises where
    the server cannot be used.
    """
    from mlflow import MlflowClient

    settings = _read(run / "settings.json")
    client = MlflowClient(tracking_uri=uri)
    name = str(settings.get("name", run.name))
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    one = client.create_run(experiment, run_name=f"{name} {settings.get('version', '')}".strip())
    identity = str(one.info.run_id)
    for key, value in settings.items():
        client.log_param(identity, key, value)
    history = _read(run / "history.json")
    for row in history.get("epochs", []):
        step = int(row.get("epoch", 0))
        for key, value in _numbers(row).items():
            client.log_metric(identity, key, value, step=step)
    for part in ("val", "test"):
        for key, value in _numbers(history.get(part, {})).items():
            client.log_metric(identity, f"{part}.{key}", value)
    evaluation = run / "evaluation.json"
    if evaluation.is_file():
        for key, row in _read(evaluation).get("test", {}).items():
            client.log_metric(identity, f"test.{key}.auroc", row["auroc"])
    for file in KEPT:
        if (run / file).is_file():
            client.log_artifact(identity, str(run / file))
    client.set_terminated(identity)
    return identity


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn as a curve; MLflow takes no NaN everywhere."""
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value) and key != "epoch"
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Log a run folder to MLflow.")
    parser.add_argument("run", type=Path)
    parser.add_argument("uri")
    arguments = parser.parse_args()
    print(log_run(arguments.run, arguments.uri))


if __name__ == "__main__":
    main()
