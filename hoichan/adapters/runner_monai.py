"""Runs MONAI bundles, as the model zoo has them, on voxels that are in memory already.

Of the bundle are used: `configs/inference.json` (or .yaml) with `preprocessing`, `network_def` and `inferer`,
and the weights that `volume.toml` pins. Reading and writing of files is left out of its transforms; what its
preprocessing turned, resampled or padded is taken back, so that a label comes back to the voxel it speaks of.
torch and MONAI are imported when the first bundle is run (extra `monai`).

A configuration may hold Python that is run (`$…`): run a bundle of a stranger only where its package was
signed by somebody you trust, and in a process of its own (`hoichan.adapters.runner_apart`).
"""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hoichan.adapters.runner_volumes import Outline, Outlines, outlined
from hoichan.analysis.bundles import INPUT, read_config
from hoichan.errors import ManifestInvalid, RunnerFailed
from hoichan.types import VolumeManifest

if TYPE_CHECKING:
    import torch

# Transforms that read, write or arrange files and channels: the voxels are here, and labels go elsewhere.
_OF_FILES = frozenset({"LoadImage", "EnsureChannelFirst", "AddChannel", "SaveImage"})


class MonaiRunner(Outlines):
    """Runs one bundle after another; keeps the last network."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads
        self._opened: tuple[str, Any, Any, Any] | None = None  # digest, transforms, network, inferer

    def outline(
        self,
        manifest: VolumeManifest,
        voxels: NDArray[np.float32],
        affine: NDArray[np.float64],
        *,
        fractions: bool = False,
    ) -> Outline:
        """What the network says of each voxel of the grid that came in. Raises RunnerFailed."""
        try:
            import monai.data  # noqa: PLC0415  an extra, and seconds to import
            import torch  # noqa: PLC0415
        except ImportError as error:
            raise RunnerFailed(
                f"{manifest.algorithm_name} is a MONAI bundle: pip install 'hoichan[monai]'"
            ) from error
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # torch and MONAI speak of their own future
            try:
                preprocess, network, inferer = self._open(manifest)
                image = monai.data.MetaTensor(torch.from_numpy(voxels[None]), affine=torch.from_numpy(affine))
                prepared = preprocess({INPUT: image})[INPUT]
                device = next(network.parameters()).device
                logits = inferer(inputs=prepared[None].to(device), network=network)[0].float().cpu()
                found = _taken_back(torch.softmax(torch.as_tensor(logits), dim=0), prepared, preprocess)
            except RunnerFailed:
                raise
            except Exception as error:  # whatever a bundle's own code raises
                kind = type(error).__name__
                raise RunnerFailed(f"{manifest.algorithm_name} failed as a bundle: {kind}") from error
        if found.ndim != 4 or found.shape[1:] != voxels.shape:
            raise RunnerFailed(f"{manifest.algorithm_name} gave another shape than it was given")
        if not np.isfinite(found).all():
            raise RunnerFailed(f"{manifest.algorithm_name} gave a number that is none")
        return outlined(manifest, found, f"torch {device.type}", fractions=fractions)

    def _open(self, manifest: VolumeManifest) -> tuple[Any, Any, Any]:
        import torch  # noqa: PLC0415
        from monai.bundle import ConfigParser  # noqa: PLC0415

        if self._opened is not None and self._opened[0] == manifest.digest:
            return self._opened[1:]
        if self._threads:
            torch.set_num_threads(self._threads)
        root = Path(manifest.root)
        try:
            config = read_config(root)
        except ManifestInvalid as error:
            raise RunnerFailed(str(error)) from error
        config["bundle_root"] = str(root)
        config["preprocessing"] = _without_files(config["preprocessing"])
        parser = ConfigParser(config)
        network = parser.get_parsed_content("network_def")
        network.load_state_dict(_weights(manifest))
        network.eval()
        opened = (parser.get_parsed_content("preprocessing"), network, parser.get_parsed_content("inferer"))
        self._opened = (manifest.digest, *opened)
        return opened


def _weights(manifest: VolumeManifest) -> dict[str, torch.Tensor]:
    """The state of the network, from the bytes whose checksum was checked; never a pickled class."""
    import torch  # noqa: PLC0415

    content = Path(manifest.root, manifest.weights).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.weights_sha256:
        raise RunnerFailed(f"The weights of {manifest.algorithm_name} changed on disk")
    state = torch.load(BytesIO(content), weights_only=True, map_location="cpu")
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            return dict(state[key])
    return dict(state)


def _without_files(preprocessing: Any) -> dict[str, Any]:  # noqa: ANN401  as it stands in a JSON file
    """The transforms without those that read files: the voxels come with their channel and affine."""
    transforms = [
        one
        for one in preprocessing["transforms"]
        if str(one.get("_target_", "")).rsplit(".", maxsplit=1)[-1].rstrip("dD").removesuffix("Dict")
        not in _OF_FILES
    ]
    return {**preprocessing, "transforms": transforms}


def _taken_back(shares: torch.Tensor, prepared: Any, preprocess: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """(C, …) in the prepared grid -> (C, x, y, z) in the grid that came in, by the inverse transforms."""
    from monai.data import MetaTensor  # noqa: PLC0415

    turned = MetaTensor(shares, meta=prepared.meta, applied_operations=prepared.applied_operations)
    back = preprocess.inverse({INPUT: turned})[INPUT]
    return np.asarray(back.numpy(), dtype=np.float32)
