"""A first `volume.toml` for a MONAI bundle: what the bundle says of itself is filled in.

A bundle says nothing of codes, of the series it is for, of ages, and of how large a volume may be. What
cannot be known stands in a line with the mark `CHECK:`; a package with such a line cannot be used, so nothing
goes onto a shelf that nobody has read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoichan.analysis.bundles import METADATA_FILE, check_bundle, read_config
from hoichan.analysis.volume_packages import DRAFT_MARK, VOLUME_FILE
from hoichan.errors import ManifestInvalid

WEIGHTS = ("models/model.pt", "models/model.pth")
MODALITIES = {"MR": "MR", "MRI": "MR", "CT": "CT", "PT": "PT", "PET": "PT"}
SMALLEST, LARGEST = 16, 512  # voxels a side, where the bundle does not say
LONGEST_VALUE = 16  # characters of a Code Value (SH)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")


def draft(bundle: Path) -> str:
    """The text of a first `volume.toml`. Raises ManifestInvalid, with the reason, for what cannot be run."""
    bundle = bundle.resolve()
    if not _NAME.fullmatch(bundle.name):
        better = re.sub(r"[^a-z0-9]+", "-", bundle.name.lower()).strip("-") or "my-bundle"
        raise ManifestInvalid(
            f"{bundle.name!r} cannot be the name of a package (a-z, 0-9, dash): call the folder {better!r}."
        )
    if (bundle / VOLUME_FILE).exists():
        raise ManifestInvalid(f"Bundle {bundle.name} has a {VOLUME_FILE} already: it is not overwritten.")
    channels = check_bundle(bundle)
    metadata: dict[str, Any] = json.loads((bundle / METADATA_FILE).read_text(encoding="utf-8"))
    weights = next((name for name in WEIGHTS if (bundle / name).is_file()), None)
    if weights is None:
        raise ManifestInvalid(f"Bundle {bundle.name}: there is no {WEIGHTS[0]} with a state_dict.")
    form = metadata["network_data_format"]
    image, pred = form["inputs"]["image"], form["outputs"]["pred"]
    spacing = _spacing(read_config(bundle))
    named = pred.get("channel_def", {})
    lines = [
        *_model(bundle, metadata, weights),
        *_accepts(image, spacing),
        *(line for n in range(1, channels) for line in _segment(n, str(named.get(str(n), f"part {n}")))),
    ]
    return "\n".join(lines) + "\n"


def _model(bundle: Path, metadata: Mapping[str, Any], weights: str) -> list[str]:
    title = str(metadata.get("name") or bundle.name)
    task = str(metadata.get("task") or metadata.get("description") or title)
    return [
        f"# Drafted from the bundle. Lines with {DRAFT_MARK[:-1]} and a colon hold guesses: correct them,",
        "# then take the mark out.",
        "schema_version = 1",
        "",
        "[model]",
        f"name = {_text(bundle.name)}",
        f"algorithm_name = {_text(title[:64])}",
        f"algorithm_version = {_text(str(metadata.get('version', '0.0.1')))}",
        f"algorithm_source = {_text(str(metadata.get('authors') or 'unknown')[:64])}",
        'runtime = "monai_bundle"',
        f"weights = {_text(weights)}",
        f'weights_sha256 = "{hashlib.sha256((bundle / weights).read_bytes()).hexdigest()}"',
        f"license = {_text(str(metadata.get('copyright') or 'unknown')[:64])}  # {DRAFT_MARK} of the weights",
        'status = "shadow"',
        "",
        "[model.intended_use]",
        f"vi = {_text(f'{DRAFT_MARK} {task}')}",
        f"en = {_text(f'{DRAFT_MARK} {task}')}",
        "",
        "[model.disclaimer]",
        'vi = "Chưa được thẩm định tại đây"',
        'en = "Not validated here"',
        "",
    ]


def _accepts(image: Mapping[str, Any], spacing: tuple[float, ...] | None) -> list[str]:
    modality = MODALITIES.get(str(image.get("modality", "")).upper())
    sides = [int(one) if str(one).isdigit() else 0 for one in image["spatial_shape"]]
    patches = bool(image.get("is_patch_data")) or not all(sides)
    smallest = [SMALLEST] * 3 if patches else sides
    largest = [LARGEST] * 3 if patches else sides
    return [
        "[accepts]",
        f'modality = "{modality or "CT"}"'
        + ("" if modality else f"  # {DRAFT_MARK} the bundle does not say"),
        f"spacing_mm = {list(spacing or (1.0, 1.0, 1.0))}"
        + ("" if spacing else f"  # {DRAFT_MARK} its preprocessing resamples to nothing"),
        f"spacing_tolerance_mm = 0.5  # {DRAFT_MARK} how far from that a series may lie",
        f"smallest = {smallest}  # {DRAFT_MARK} voxels, columns rows slices",
        f"largest = {largest}  # {DRAFT_MARK} a guess",
        f"body_part_examined = []  # {DRAFT_MARK} as your scanners write it; empty: not asked",
        f"youngest_years = 18  # {DRAFT_MARK} a guess",
        f"without_contrast = false  # {DRAFT_MARK} a guess",
        "",
    ]


def _segment(channel: int, name: str) -> list[str]:
    value = re.sub(r"[^A-Z0-9]+", "-", name.upper()).strip("-")[:LONGEST_VALUE] or f"PART-{channel}"
    return [
        "[[segments]]",
        f"channel = {channel}",
        'unit = "ml"',
        f"display = {{ vi = {_text(f'{DRAFT_MARK} {name}')}, en = {_text(name)} }}",
        f'code = {{ value = "{value}", scheme = "99LOCAL", meaning = {_text(name[:64])} }}'
        f"  # {DRAFT_MARK} a code of SNOMED CT, where there is one",
        "",
    ]


def _spacing(config: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The voxels, in mm, to which the preprocessing resamples."""
    for one in config["preprocessing"]["transforms"]:
        if isinstance(one, Mapping) and str(one.get("_target_", "")).endswith("Spacingd"):
            sides = one.get("pixdim")
            if isinstance(sides, list) and len(sides) == 3 and all(isinstance(v, int | float) for v in sides):
                return tuple(float(v) for v in sides)
    return None


def _text(value: str) -> str:
    """A TOML string, which a JSON string is."""
    return json.dumps(value, ensure_ascii=False)
