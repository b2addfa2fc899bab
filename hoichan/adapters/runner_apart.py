"""One volume in a process of its own: what crashes there, hangs or eats memory costs no other study.

A MONAI bundle may hold Python of a stranger, and a 3-D network may ask for more memory than the machine has:
neither happens inside the worker. Starting the process costs about a second with ONNX, some with torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from hoichan.adapters.runner_volumes import Outline, Outlines
from hoichan.errors import RunnerFailed
from hoichan.settings.models import Models
from hoichan.types import VolumeManifest

_COMMAND = (sys.executable, "-P", "-m", "hoichan.adapters.volume_child")
_KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR", "PYTHONPATH")


class ApartRunner(Outlines):
    """Runs packages for volumes, whatever their runtime, each time in a fresh process."""

    def __init__(self, settings: Models, *, threads: int | None = None) -> None:
        self._settings = settings
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)

    def outline(
        self,
        manifest: VolumeManifest,
        voxels: NDArray[np.float32],
        affine: NDArray[np.float64],
        *,
        fractions: bool = False,
    ) -> Outline:
        """What the network says of each voxel. Raises RunnerFailed, also where it was killed or hung."""
        seconds = self._settings.volume_seconds
        order = {
            "package": str(manifest.root),
            "weights_sha256": manifest.weights_sha256,
            "fractions": fractions,
            "threads": self._threads,
            "memory_bytes": self._settings.volume_memory_bytes,
            "processor_seconds": int(seconds * self._threads) + 1,
        }
        stream = BytesIO(json.dumps(order).encode() + b"\n")
        stream.seek(0, os.SEEK_END)
        np.save(stream, np.ascontiguousarray(voxels, dtype=np.float32), allow_pickle=False)
        np.save(stream, np.asarray(affine, dtype=np.float64), allow_pickle=False)
        threads = {"OMP_NUM_THREADS": str(self._threads)}
        try:
            done = subprocess.run(
                _COMMAND,
                input=stream.getbuffer(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
                env={**{key: os.environ[key] for key in _KEPT if key in os.environ}, **threads},
            )
        except subprocess.TimeoutExpired:
            raise RunnerFailed(f"{manifest.algorithm_name} took longer than {seconds:g} s") from None
        except OSError as error:
            raise RunnerFailed(f"{manifest.algorithm_name}: no process could be started") from error
        return _answer(manifest, done, voxels.shape)


def _answer(
    manifest: VolumeManifest, done: subprocess.CompletedProcess[bytes], shape: tuple[int, ...]
) -> Outline:
    answers = BytesIO(done.stdout)
    try:
        head = json.loads(answers.readline())
        if "error" in head:
            raise RunnerFailed(str(head["error"]))
        labels = np.load(answers, allow_pickle=False)
        fractions = np.load(answers, allow_pickle=False) if answers.tell() < len(done.stdout) else None
    except (ValueError, EOFError, OSError) as error:
        raise RunnerFailed(
            f"{manifest.algorithm_name} ended with {done.returncode} before it answered"
        ) from error
    if labels.shape != shape or labels.dtype != np.uint8:
        raise RunnerFailed(f"{manifest.algorithm_name} gave labels of another shape")
    return Outline(labels=labels, fractions=fractions, provider=str(head["provider"]))
