"""`hoichan model pull` where nothing can be pulled: one sentence that says what to do."""

import sys

import pytest
from typer.testing import CliRunner

from hoichan.codes import FINDINGS
from hoichan.errors import ManifestInvalid
from service import model_pull
from service.cli_models import app


@pytest.mark.parametrize("name", ["xrv:resnet50-res512-all", "densenet121-res224-all", "xrv:", "https://x"])
def test_what_is_no_public_model_is_told(name, tmp_path):
    with pytest.raises(ManifestInvalid, match="write xrv:densenet121-res224-all"):
        model_pull.pull(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)  # as where it is not installed
    result = CliRunner().invoke(
        app, ["pull", "xrv:densenet121-res224-all", "--data-dir", str(tmp_path / "data")]
    )
    assert result.exit_code == 2
    assert "pip install 'hoichan[xrv]'" in result.output
    assert not list((tmp_path / "data").glob("models/*"))


def test_the_findings_it_can_name_are_ours():
    assert set(model_pull.KEYS.values()) - set(FINDINGS) <= {"fracture"}
    assert model_pull.KEYS["Effusion"] == "pleural_effusion"
    for place in model_pull.PUBLISHED["densenet121-res224-all"].values():
        assert set(place) <= set(model_pull.KEYS)
