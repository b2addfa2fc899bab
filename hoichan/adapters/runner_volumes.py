"""Volumes with ONNX Runtime in this process: our own scaling and sliding window, and no torch.

`hoichan.adapters.runner_apart` runs this, or MONAI, in a process of its own: that is what the service does.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoichan.adapters.onnx_sessions import ORT_ERRORS, Session, open_session
from hoichan.analysis.volumes import normalise, slide
from hoichan.errors import RunnerFailed
from hoichan.types import Sha256, VolumeManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a network says of each voxel."""

    labels: NDArray[np.uint8]  # (x, y, z) channel, 0: none of the segments
    fractions: NDArray[np.uint8] | None  # (x, y, z, segments) probability times 255; None: not asked for
    provider: str  # what really ran


class Outlines(ABC):
    """Runs a package for volumes on voxels."""

    def labels(self, manifest: VolumeManifest, voxels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The channel of each voxel (x, y, z), 0: none of the segments; voxels of the size that is accepted.

        Raises RunnerFailed.
        """
        return self.outline(manifest, voxels, np.diag([*manifest.accepts.spacing_mm, 1.0])).labels

    @abstractmethod
    def outline(
        self,
        manifest: VolumeManifest,
        voxels: NDArray[np.float32],
        affine: NDArray[np.float64],
        *,
        fractions: bool = False,
    ) -> Outline:
        """`voxels`: (x, y, z) stored grey values in RAS; `affine`: (4, 4) to mm. Raises RunnerFailed."""


class VolumeRunner(Outlines):
    """Runs packages for volumes on the processor, one at a time."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._sessions: dict[Sha256, Session] = {}

    def outline(
        self,
        manifest: VolumeManifest,
        voxels: NDArray[np.float32],
        affine: NDArray[np.float64],
        *,
        fractions: bool = False,
    ) -> Outline:
        """What the network says of each voxel; it takes the grid as it is. Raises RunnerFailed."""
        scaled = normalise(voxels)
        if manifest.window is None:
            logits = self._run(manifest, scaled)
        else:
            logits = slide(scaled, manifest.window, lambda part: self._run(manifest, part))
        if not np.isfinite(logits).all():
            raise RunnerFailed(f"{manifest.algorithm_name} gave a number that is none")
        provider = self._session(manifest).get_providers()[0]
        return outlined(manifest, softmax(logits) if fractions else logits, provider, fractions=fractions)

    def _run(self, manifest: VolumeManifest, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(x, y, z) -> (C, x, y, z)."""
        session = self._session(manifest)
        padded = np.pad(voxels, [(0, -side % manifest.multiple_of) for side in voxels.shape])
        try:
            (found, *_) = session.run(None, {session.get_inputs()[0].name: padded[None, None]})
        except ORT_ERRORS as error:
            raise RunnerFailed(f"{manifest.algorithm_name} failed: {type(error).__name__}") from error
        if found.ndim != 5 or found.shape[2:] != padded.shape:
            raise RunnerFailed(f"{manifest.algorithm_name} gave logits of another shape than its input")
        x, y, z = voxels.shape
        return np.asarray(found[0, :, :x, :y, :z], dtype=np.float32)

    def _session(self, manifest: VolumeManifest) -> Session:
        if manifest.runtime != "onnx":
            raise RunnerFailed(f"{manifest.algorithm_name} needs the runtime {manifest.runtime}, not onnx")
        if manifest.weights_sha256 not in self._sessions:
            self._sessions[manifest.weights_sha256] = open_session(manifest, self._threads)
        return self._sessions[manifest.weights_sha256]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, x, y, z) logits -> probabilities that add up to one over C."""
    powers = np.exp(logits - logits.max(axis=0, keepdims=True))
    return np.asarray(powers / powers.sum(axis=0, keepdims=True), dtype=np.float32)


def outlined(
    manifest: VolumeManifest, values: NDArray[np.float32], provider: str, *, fractions: bool
) -> Outline:
    """From (C, x, y, z) logits, or probabilities where `fractions` are asked for. Raises RunnerFailed."""
    channels = [segment.channel for segment in manifest.segments]
    if max(channels) >= len(values):
        raise RunnerFailed(f"{manifest.algorithm_name} has fewer outputs than its manifest")
    found = values.argmax(axis=0).astype(np.uint8)
    shares = None
    if fractions:
        shares = np.rint(np.stack([values[channel] for channel in channels], axis=-1) * 255).astype(np.uint8)
    return Outline(
        labels=np.where(np.isin(found, channels), found, 0).astype(np.uint8),
        fractions=shares,
        provider=provider,
    )
