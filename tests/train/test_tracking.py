"""A run folder in MLflow, with a store of files."""

import json

import pytest

from training.tracking import log_run

mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore"),  # of MLflow and what it brings
]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"name": "cxr-demo", "version": "1.1.0", "seed": 4}))
    epochs = [{"epoch": 0, "loss": 0.4, "val_mean_auroc": float("nan")}, {"epoch": 1, "loss": 0.3}]
    told = {"epochs": epochs, "val": {"both_val_mean_auroc": 0.78}}
    (folder / "history.json").write_text(json.dumps(told))
    (folder / "evaluation.json").write_text(json.dumps({"test": {"mean_of_14": {"auroc": 0.66}}}))
    return folder


def test_a_run_is_logged_with_settings_curves_and_files(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    identity = log_run(run, uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_run(identity)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"name": "cxr-demo", "version": "1.1.0", "seed": "4"}
    assert found.data.metrics == {"loss": 0.3, "val.both_val_mean_auroc": 0.78, "test.mean_of_14.auroc": 0.66}
    curve = client.get_metric_history(identity, "loss")
    assert [(one.step, one.value) for one in curve] == [(0, 0.4), (1, 0.3)]
    files = {one.path for one in client.list_artifacts(identity)}
    assert files == {"settings.json", "history.json", "evaluation.json"}


def test_a_second_run_joins_the_experiment_of_its_model(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    first, second = log_run(run, uri), log_run(run, uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiments = {client.get_run(one).info.experiment_id for one in (first, second)}
    assert first != second and len(experiments) == 1
