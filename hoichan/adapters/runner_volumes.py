"""Volumes with ONNX Runtime in this process: our own scaling and sliding window, and no torch."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from hoichan.adapters.onnx_sessions import ORT_ERRORS, Session, open_session
from hoichan.analysis.volumes import normalise, slide
from hoichan.errors import RunnerFailed
from hoichan.types import Sha256, VolumeManifest


class VolumeRunner:
    """Runs packages for volumes on the processor, one at a time."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._sessions: dict[Sha256, Session] = {}

    def labels(self, manifest: VolumeManifest, voxels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(x, y, z) stored grey values -> the channel of each voxel; 0: none of the segments.

        Raises RunnerFailed.
        """
        scaled = normalise(voxels)
        if manifest.window is None:
            logits = self._run(manifest, scaled)
        else:
            logits = slide(scaled, manifest.window, lambda part: self._run(manifest, part))
        if not np.isfinite(logits).all():
            raise RunnerFailed(f"{manifest.algorithm_name} gave a number that is none")
        channels = [segment.channel for segment in manifest.segments]
        if max(channels) >= len(logits):
            raise RunnerFailed(f"{manifest.algorithm_name} has fewer outputs than its manifest")
        found = logits.argmax(axis=0).astype(np.uint8)
        return np.where(np.isin(found, channels), found, 0).astype(np.uint8)

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
        if manifest.weights_sha256 not in self._sessions:
            self._sessions[manifest.weights_sha256] = open_session(manifest, self._threads)
        return self._sessions[manifest.weights_sha256]
