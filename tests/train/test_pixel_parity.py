"""What serving does to pixels without torch is what MONAI and torch do to them in training."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from hoichan.adapters.runner_monai import _without_files
from hoichan.analysis.bundles import read_config
from hoichan.analysis.films import Film
from hoichan.analysis.imaging import balance, to_model_input
from hoichan.analysis.volumes import normalise

torch = pytest.importorskip("torch", reason="torch is not installed: make test-train installs it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI and torch speak of their own future on import
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor
    from monai.transforms import Compose, Lambda, ScaleIntensityRangePercentiles, SpatialPad

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # libraries of training warn at will
PACKAGE = Path(__file__).parents[2] / "models" / "hippocampus"
SIZE = 256


def by_monai(pixels):
    """The same film by MONAI's transforms and torch's antialiased resizing: (1, size, size)."""
    scale = SIZE / max(pixels.shape)
    shape = tuple(max(1, round(side * scale)) for side in pixels.shape)
    small = torch.nn.functional.interpolate(
        torch.from_numpy(pixels)[None, None], size=shape, mode="bilinear", antialias=True
    )[0]
    chain = Compose(
        [
            ScaleIntensityRangePercentiles(lower=0.5, upper=99.5, b_min=0.0, b_max=1.0, clip=True),
            Lambda(lambda x: torch.from_numpy(balance(np.asarray(x)))),
            SpatialPad(spatial_size=(SIZE, SIZE), method="symmetric", mode="constant"),
        ]
    )
    return np.asarray(chain(small))


@pytest.mark.parametrize("shape", [(1955, 1841), (512, 512), (300, 420), (200, 180)])
def test_a_film_is_scaled_as_monai_and_torch_scale_it(shape):
    rng = np.random.default_rng(shape[0])
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / max(shape)
    pixels = (0.5 + 0.4 * np.sin(9 * x) * np.cos(7 * y) + rng.normal(0, 0.03, shape)).astype(np.float32)
    served = to_model_input(Film(grey=pixels.clip(0, 1), spacing_mm=None), SIZE)[0]
    np.testing.assert_allclose(served, by_monai(pixels.clip(0, 1)), atol=1e-3)


@pytest.fixture(scope="module")
def preprocessing():
    config = read_config(PACKAGE)
    config["preprocessing"] = _without_files(config["preprocessing"])
    return ConfigParser(config).get_parsed_content("preprocessing")


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)], ids=["RAS", "LPS", "LAI"])
def test_a_volume_is_prepared_as_the_bundle_prepares_it(preprocessing, signs):
    """Turning, spacing, scaling and padding of the bundle, against ours: flip, `normalise`, pad."""
    stored = np.random.default_rng(5).gamma(2.0, 200.0, (31, 44, 29)).astype(np.float32)
    affine = np.diag([*map(float, signs), 1.0])
    image = MetaTensor(torch.from_numpy(stored[None]), affine=torch.from_numpy(affine))
    theirs = np.asarray(preprocessing({"image": image})["image"])[0]
    flips = tuple(axis for axis, sign in enumerate(signs) if sign < 0)
    ours = normalise(np.flip(stored, flips))
    ours = np.pad(ours, [(0, -side % 4) for side in ours.shape])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
