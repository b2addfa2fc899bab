"""The workshop of volumes: a stopped run goes on, and what is shipped is what was trained."""

import hashlib
import json
import os
import re
import shutil
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.runner_apart import ApartRunner
from hoichan.adapters.runner_monai import MonaiRunner
from hoichan.adapters.runner_onnx import OnnxRunner
from hoichan.adapters.runner_volumes import VolumeRunner
from hoichan.analysis.volume_packages import load_volume_package, verify_volume_package
from hoichan.analysis.volumes import normalise, slide
from hoichan.errors import RunnerFailed
from hoichan.settings import Models
from service.model_add import add

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


def a_bundle(folder, **runs):
    """The shipped bundle as a package that MONAI runs; `runs`: other values for its configuration."""
    package = folder / "hippocampus"
    shutil.copytree(PACKAGE, package)
    text = (package / "volume.toml").read_text()
    weights = hashlib.sha256((package / "models" / "model.pt").read_bytes()).hexdigest()
    text = re.sub(r'weights_sha256 = ".*"', f'weights_sha256 = "{weights}"', text)
    text = text.replace('runtime = "onnx"', 'runtime = "monai_bundle"')
    (package / "volume.toml").write_text(text.replace('"weights.onnx"', '"models/model.pt"'))
    config = json.loads((package / "configs" / "inference.json").read_text())
    config.update(runs)
    (package / "configs" / "inference.json").write_text(json.dumps(config))
    return load_volume_package(package)


@pytest.fixture
def golden():
    return np.load(PACKAGE / "golden" / "drawn.npz")


def test_the_bundle_runs_as_the_onnx_package_does(tmp_path, golden):
    voxels = golden["volume"].astype(np.float32)
    bundle = MonaiRunner(threads=1).outline(a_bundle(tmp_path), voxels, np.eye(4), fractions=True)
    onnx = VolumeRunner(threads=1).outline(load_volume_package(PACKAGE), voxels, np.eye(4), fractions=True)
    assert (bundle.labels == onnx.labels).mean() > 0.999
    assert np.abs(bundle.fractions.astype(int) - onnx.fractions).max() <= 3
    assert bundle.provider == "torch cpu"


def test_the_windows_of_a_bundle_are_those_of_our_own(tmp_path, golden):
    inferer = {
        "_target_": "SlidingWindowInferer", "roi_size": [32, 48, 32], "overlap": 0.5, "mode": "gaussian",
    }  # fmt: skip
    manifest = a_bundle(tmp_path, inferer=inferer)
    voxels = golden["volume"].astype(np.float32)
    voxels = np.pad(voxels, [(0, -side % 4) for side in voxels.shape], mode="edge")  # windows lie alike
    bundle = MonaiRunner(threads=1).outline(manifest, voxels, np.eye(4))
    windowed = replace(load_volume_package(PACKAGE), window=(32, 48, 32))
    onnx = VolumeRunner(threads=1).outline(windowed, voxels, np.eye(4))
    for channel in (1, 2):
        ours, theirs = onnx.labels == channel, bundle.labels == channel
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.99


def test_what_a_bundle_resampled_comes_back_to_the_slices(tmp_path, golden):
    """The same crop with voxels of another size: the labels lie on the grid that came in."""
    voxels = np.repeat(golden["volume"].astype(np.float32), 2, axis=2)
    affine = np.diag([1.0, 1.0, 0.5, 1.0])
    found = MonaiRunner(threads=1).outline(a_bundle(tmp_path), voxels, affine).labels
    wanted = np.repeat(golden["labels"], 2, axis=2)
    assert found.shape == voxels.shape
    for channel in (1, 2):
        ours, theirs = found == channel, wanted == channel
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9


def test_a_bundle_runs_in_a_process_of_its_own(tmp_path, golden):
    voxels = golden["volume"].astype(np.float32)
    found = ApartRunner(Models(volume_seconds=250), threads=1).outline(a_bundle(tmp_path), voxels, np.eye(4))
    assert (found.labels == golden["labels"]).mean() > 0.999
    assert found.provider == "torch cpu"


def zipped(package, place):
    """As the model zoo packs a bundle: everything below one folder, folders as entries of their own."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            archive.write(path, Path("hippocampus_v0.1", path.relative_to(package)))
    return place


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_bundle_is_added_from_a_folder_or_a_zip_file_and_runs_alike(tmp_path, golden, form):
    package = Path(a_bundle(tmp_path / "bench").root)
    text = (package / "volume.toml").read_text(encoding="utf-8")
    text = text.replace('status = "research"', 'status = "shadow"')
    (package / "volume.toml").write_text(text, encoding="utf-8")
    source = package if form == "folder" else zipped(package, tmp_path / "hippocampus_v0.1.zip")
    apart = ApartRunner(Models(volume_seconds=250), threads=1)
    added = add(source, tmp_path / "models", OnnxRunner(Path, SystemClock(), threads=1), outliner=apart)
    assert [(check.name, check.passed) for check in added.checks] == [
        (check.name, True) for check in verify_volume_package(package, apart)
    ]
    assert added.manifest.runtime == "monai_bundle"
    kept = {path.relative_to(added.folder): path.read_bytes() for path in added.folder.rglob("*.*")}
    assert kept == {path.relative_to(package): path.read_bytes() for path in package.rglob("*.*")}
    found = apart.outline(load_volume_package(added.folder), golden["volume"].astype(np.float32), np.eye(4))
    assert (found.labels == golden["labels"]).mean() > 0.999
    assert found.provider == "torch cpu"


def test_a_bundle_that_raises_is_a_failure_with_its_kind(tmp_path, golden):
    manifest = a_bundle(tmp_path, inferer={"_target_": "SlidingWindowInferer", "roi_size": [1]})
    with pytest.raises(RunnerFailed, match="failed as a bundle"):
        MonaiRunner(threads=1).outline(manifest, golden["volume"].astype(np.float32), np.eye(4))
