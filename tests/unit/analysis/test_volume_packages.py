"""Packages for volumes: the shipped one is sound, and a broken one says what is broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hoichan.adapters.runner_volumes import VolumeRunner
from hoichan.analysis.manifests import discover
from hoichan.analysis.volume_packages import VOLUME_FILE, load_volume_package, verify_volume_package
from hoichan.errors import ManifestInvalid

SHIPPED = Path(__file__).parents[3] / "models" / "hippocampus"


@pytest.fixture
def package(tmp_path):
    copy = tmp_path / "hippocampus"
    shutil.copytree(SHIPPED, copy, ignore=shutil.ignore_patterns("models", "configs"))
    return copy


def changed(package, old, new):
    file = package / VOLUME_FILE
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_shipped_package_passes_all_its_checks():
    checks = verify_volume_package(SHIPPED, VolumeRunner(threads=1))
    assert [c.name for c in checks] == ["schema_and_checksum", "card", "golden:drawn"]
    assert all(c.passed for c in checks), checks
    assert [s.channel for s in load_volume_package(SHIPPED).segments] == [1, 2]


def test_no_film_is_shown_to_a_package_for_volumes():
    shelf = discover([SHIPPED.parent])
    assert "hippocampus" not in {m.name for m in shelf.manifests}
    assert shelf.invalid == ()


def test_other_answers_than_the_golden_ones_fail(package):
    case = package / "golden" / "drawn.npz"
    with np.load(case) as stored:
        volume, labels = stored["volume"], stored["labels"].copy()
    labels[labels == 1] = 2
    np.savez(case, volume=volume, labels=labels)
    assert [c.passed for c in verify_volume_package(package, VolumeRunner(threads=1))] == [True, True, False]


def test_a_package_without_golden_cases_fails(package):
    (package / "golden" / "drawn.npz").unlink()
    assert not verify_volume_package(package, VolumeRunner(threads=1))[-1].passed


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('modality = "MR"', 'modality = "CR"', "accepts.modality"),
        ("smallest = [28, 36, 22]", "smallest = [280, 36, 22]", "smallest is larger than largest"),
        ("channel = 2", "channel = 1", "must rise"),
        ('unit = "ml"', 'unit = "cc"', "segments.0.unit"),
        ('runtime = "onnx"', 'runtime = "monai_bundle"', "metadata.json cannot be read"),
        ('weights_sha256 = "f', 'weights_sha256 = "e', "checksum"),
        ("schema_version = 1", "schema_version = ", "not TOML"),
    ],
)
def test_what_is_broken_is_named(package, old, new, told):
    changed(package, old, new)
    with pytest.raises(ManifestInvalid, match=told):
        load_volume_package(package)
