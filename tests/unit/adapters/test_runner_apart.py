"""A network in a process of its own: the same numbers, and no harm where it hangs or eats memory."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hoichan.adapters.runner_apart import ApartRunner
from hoichan.analysis.volume_packages import load_volume_package
from hoichan.errors import RunnerFailed
from hoichan.settings import Models
from hoichan.types import Sha256

PACKAGE = Path(__file__).parents[3] / "models" / "hippocampus"


@pytest.fixture(scope="module")
def golden():
    with np.load(PACKAGE / "golden" / "drawn.npz") as stored:
        return stored["volume"].astype(np.float32), stored["labels"]


def outline(golden, manifest=None, **limits):
    runner = ApartRunner(Models(**{"volume_seconds": 250, **limits}), threads=1)
    return runner.outline(manifest or load_volume_package(PACKAGE), golden[0], np.eye(4), fractions=True)


def test_it_says_there_what_it_says_here(golden):
    found = outline(golden)
    assert (found.labels == golden[1]).mean() > 0.999
    assert found.fractions.shape == (*golden[1].shape, 2) and found.fractions.max() > 200
    assert found.provider == "CPUExecutionProvider"


def test_more_memory_than_it_may_use_is_a_failure(golden):
    with pytest.raises(RunnerFailed):
        outline(golden, volume_memory_bytes=64 * 1024**2)


def test_one_that_takes_too_long_is_ended(golden):
    with pytest.raises(RunnerFailed, match="longer than"):
        outline(golden, volume_seconds=0.01)


def test_a_package_that_was_changed_meanwhile_is_not_run(golden, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "hippocampus")
    manifest = load_volume_package(tmp_path / "hippocampus")
    with pytest.raises(RunnerFailed, match="was changed"):
        outline(golden, replace(manifest, weights_sha256=Sha256("0" * 64)))
