"""The process in which one volume is run: `python -P -m hoichan.adapters.volume_child`.

Standard input: one line of JSON (`Order`), then the voxels and the affine as two .npy. Standard output: one
line of JSON with `provider` or `error`, then the labels and, where asked for, the fractions as .npy. It ends
with its parent; memory and processor time are bounded by the system.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hoichan.analysis.volume_packages import load_volume_package
from hoichan.errors import ManifestInvalid, RunnerFailed

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run what stands on standard input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    asked = BytesIO(sys.stdin.buffer.read())  # numpy goes back and forth
    order: dict[str, Any] = json.loads(asked.readline())
    _limit(int(order["memory_bytes"]), int(order["processor_seconds"]))
    voxels, affine = np.load(asked, allow_pickle=False), np.load(asked, allow_pickle=False)
    try:
        manifest = load_volume_package(Path(order["package"]))
        if manifest.weights_sha256 != order["weights_sha256"]:
            raise RunnerFailed(f"{manifest.algorithm_name}: its package was changed")
        if manifest.runtime == "monai_bundle":
            from hoichan.adapters.runner_monai import MonaiRunner  # noqa: PLC0415

            runner: Any = MonaiRunner(threads=order["threads"])
        else:
            from hoichan.adapters.runner_volumes import VolumeRunner  # noqa: PLC0415

            runner = VolumeRunner(threads=order["threads"])
        found = runner.outline(manifest, voxels, affine, fractions=order["fractions"])
    except (RunnerFailed, ManifestInvalid) as error:
        _say(answers, {"error": str(error)})
        return
    except MemoryError:
        _say(answers, {"error": "more memory was needed than it may use"})
        return
    _say(answers, {"provider": found.provider})
    for array in (found.labels, found.fractions):
        if array is not None:
            content = BytesIO()  # numpy writes no pipe
            np.save(content, array, allow_pickle=False)
            answers.write(content.getbuffer())
    answers.flush()


def _say(answers: Any, line: dict[str, str]) -> None:  # noqa: ANN401
    answers.write(json.dumps(line).encode() + b"\n")
    answers.flush()


def _limit(memory_bytes: int, processor_seconds: int) -> None:
    """No more than this, and no longer than the parent lives."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    if processor_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
