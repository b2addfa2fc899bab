"""The workshop of volumes: a stopped run goes on, and what is shipped is what was trained."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hoichan.analysis.volumes import normalise, slide

torch = pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI and torch speak of their own future on import
    from monai.bundle import ConfigParser
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import ScaleIntensityRangePercentiles

    from training import train_hippocampus, volumes

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # libraries of training warn at will
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "models" / "hippocampus"
DATA = Path(os.environ.get("HOICHAN_TEST_DATA", ROOT / ".." / "shared" / "data"))
RECIPE = ROOT / "training" / "recipes" / "hippocampus.toml"
needs_data = pytest.mark.skipif(
    not (DATA / volumes.FOLDER).is_dir(), reason="the volumes are not beside the checkout (HOICHAN_TEST_DATA)"
)


@pytest.fixture(scope="module")
def drawn():
    return normalise(np.load(PACKAGE / "golden" / "drawn.npz")["volume"].astype(np.float32))


@pytest.fixture(scope="module")
def bundled():
    """The network as a MONAI bundle describes it, with the bundle's weights."""
    parser = ConfigParser()
    parser.read_config(PACKAGE / "configs" / "inference.json")
    net = parser.get_parsed_content("network_def")
    net.load_state_dict(torch.load(PACKAGE / "models" / "model.pt", weights_only=True))
    return net.eval()


@pytest.fixture(scope="module")
def session():
    return onnxruntime.InferenceSession(PACKAGE / "weights.onnx", providers=["CPUExecutionProvider"])


def test_bundle_and_onnx_give_the_same_numbers(bundled, session, drawn):
    x = np.pad(drawn, [(0, -side % 4) for side in drawn.shape])[None, None]
    with torch.inference_mode():
        ours = bundled(torch.from_numpy(x)).numpy()
    theirs = session.run(["logits"], {"image": x})[0]
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_serving_scales_grey_values_as_monai_does():
    volume = np.random.default_rng(0).gamma(2.0, 200.0, (31, 44, 29)).astype(np.float32)
    scale = ScaleIntensityRangePercentiles(lower=1, upper=99, b_min=0.0, b_max=1.0, clip=True)
    np.testing.assert_allclose(normalise(volume), np.asarray(scale(volume)), atol=1e-5)
    np.testing.assert_array_equal(normalise(volume), train_hippocampus.normalise(volume))


def test_our_sliding_window_is_that_of_monai(bundled, session, drawn):
    window = (16, 24, 16)
    ours = slide(drawn, window, lambda x: session.run(["logits"], {"image": x[None, None]})[0][0])
    inferer = SlidingWindowInferer(roi_size=window, overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        theirs = inferer(torch.from_numpy(drawn[None, None]), bundled)[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_a_name_never_changes_its_split():
    names = [f"hippocampus_{n:03}.nii.gz" for n in range(400)]
    shares = {s: sum(volumes.split_of(n) == s for n in names) / 400 for s in volumes.SPLITS}
    assert volumes.split_of("hippocampus_001.nii.gz") == volumes.split_of("hippocampus_001.nii.gz")
    assert shares["test"] == pytest.approx(volumes.TEST_SHARE, abs=0.06)
    assert sum(shares.values()) == pytest.approx(1)


@needs_data
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
    torch.set_num_threads(1)
    settings = train_hippocampus.read_recipe(
        RECIPE, epochs=2, decay_epochs=1, volumes=4, channels=(4, 8), strides=(2,), patch=(16, 16, 16)
    )
    whole = train_hippocampus.train(settings, DATA, tmp_path / "whole").state_dict()

    class Stopped(Exception):
        pass

    wrote = train_hippocampus._write

    def stop(run, recipe, history):
        wrote(run, recipe, history)
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(train_hippocampus, "_write", stop)
        train_hippocampus.train(settings, DATA, tmp_path / "halves")
    halves = train_hippocampus.train(settings, DATA, tmp_path / "halves").state_dict()
    for name, values in whole.items():
        torch.testing.assert_close(halves[name], values, rtol=1e-4, atol=1e-5)
    assert len(json.loads((tmp_path / "halves" / "history.json").read_text())["epochs"]) == 2
