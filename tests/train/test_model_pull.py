"""A public network becomes a package: its architecture with random weights, since tests fetch nothing."""

import math
import warnings
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.analysis.manifests import load
from hoichan.errors import ManifestInvalid
from service import model_pull
from service.cli_models import app
from service.model_add import add

torch = pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI and torch speak of their own future on import
    from monai.networks.nets import DenseNet121

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]
NAME = "densenet121-res224-all"
# as the library lists them: eighteen outputs, the last four without a finding of ours or of no use here
LABELS = ("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis",
          "Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia",
          "Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum")  # fmt: skip


class Library(torch.nn.Module):
    """What TorchXRayVision's DenseNet is, with weights of nobody."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        net = DenseNet121(spatial_dims=2, in_channels=1, out_channels=len(LABELS))
        self.features, self.classifier = net.features, net.class_layers.out
        with torch.no_grad():
            self.features.conv0.weight /= 1024  # it is fed -1024..1024
        self.pathologies = list(LABELS)
        self.op_threshs = torch.tensor([0.07 + 0.01 * i for i in range(18)])
        self.op_threshs[5] = math.nan
        self.apply_sigmoid = True

    def forward(self, x):
        out = torch.relu(self.features(x)).mean((2, 3))
        out = self.classifier(out)
        if self.apply_sigmoid or self.op_threshs is not None:
            out = torch.sigmoid(out)
        return out


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return model_pull.pull(f"xrv:{NAME}", tmp_path_factory.mktemp("pulled"), lambda name: Library())


def test_it_begins_in_shadow_with_the_operating_points_of_its_authors(package):
    manifest = load(package)
    assert (manifest.name, manifest.status, manifest.accepts.size) == (f"xrv-{NAME}", "shadow", 224)
    points = {o.finding_key: o.operating_point for o in manifest.outputs}
    assert points["pleural_effusion"] == pytest.approx(0.14)
    assert points["atelectasis"] == pytest.approx(0.07)
    off = {o.finding_key for o in manifest.outputs if not o.enabled}
    assert off == {"emphysema"}  # its authors give none
    assert {o.name: o.index for o in manifest.outputs}["Hernia"] == 13


def test_it_passes_the_checks_of_every_package_and_lands_on_the_shelf(package, tmp_path):
    added = add(package, tmp_path / "models", OnnxRunner(Path, SystemClock(), threads=1))
    assert added.folder == tmp_path / "models" / f"xrv-{NAME}" / "1.0.0", added.checks
    golden = [c for c in added.checks if c.name.startswith("golden:")]
    assert len(golden) == 3


def test_the_card_tells_the_published_figures_and_the_proof(package):
    card = (package / "card.md").read_text(encoding="utf-8")
    assert "VinBrain" in card and "@" not in card
    assert "| Pneumothorax | 0.1000 | 0.93 | 0.81 |" in card


def test_a_graph_that_is_not_the_library_s_is_not_kept():
    class Other(Library):
        def forward(self, x):
            return super().forward(x) + 0.01

    with pytest.raises(ManifestInvalid, match="other numbers than the library"):
        model_pull.export(Other())


def test_without_internet_one_sentence_says_so(monkeypatch, capsys):
    xrv = pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed")
    monkeypatch.setattr(xrv.utils.requests, "get", _no_internet)
    with pytest.raises(ManifestInvalid, match="needs the internet"):
        model_pull.fetch_xrv(NAME)


def _no_internet(*args, **kwargs):
    raise ConnectionError("no route")


def test_the_command_writes_a_package(monkeypatch, tmp_path):
    monkeypatch.setattr(model_pull, "fetch_xrv", lambda name: Library())
    with capture_logs():  # else the command line sets the logs of this process up, for a stream that ends
        result = CliRunner().invoke(app, ["pull", f"xrv:{NAME}", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "out" / f"xrv-{NAME}").status == "shadow"
