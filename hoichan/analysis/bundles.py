"""MONAI bundles, read without MONAI: is this one that we can run, and what does it say of itself?

Read are `configs/metadata.json` (with `network_data_format`) and `configs/inference.json` or `.yaml`. What
cannot be run here is said before anything is run: two images in, labels that overlap, no preprocessing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoichan.errors import ManifestInvalid

METADATA_FILE = "configs/metadata.json"
INFERENCE_FILES = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
INPUT = "image"  # the key of the one image, as in the model zoo
NEEDED = ("preprocessing", "network_def", "inferer")


def read_config(bundle: Path) -> dict[str, Any]:
    """`configs/inference.*` as it stands there, nothing of it run. Raises ManifestInvalid."""
    path = next((bundle / name for name in INFERENCE_FILES if (bundle / name).is_file()), None)
    if path is None:
        raise ManifestInvalid(f"Bundle {bundle.name}: there is no {INFERENCE_FILES[0]} (or .yaml).")
    config = _read(bundle, path)
    for key in NEEDED:
        if not isinstance(config.get(key), Mapping):
            raise ManifestInvalid(f"Bundle {bundle.name}: {path.name} has no {key!r} that can be run.")
    if not isinstance(config["preprocessing"].get("transforms"), list):
        raise ManifestInvalid(f"Bundle {bundle.name}: its preprocessing is no list of transforms.")
    return config


def check_bundle(bundle: Path) -> int:
    """How many channels the network gives. Raises ManifestInvalid with what cannot be run here."""
    form = _read(bundle, bundle / METADATA_FILE).get("network_data_format")
    if not isinstance(form, Mapping):
        raise ManifestInvalid(f"Bundle {bundle.name}: {METADATA_FILE} has no network_data_format.")
    inputs, outputs = form.get("inputs"), form.get("outputs")
    if not isinstance(inputs, Mapping) or list(inputs) != [INPUT]:
        raise ManifestInvalid(f"Bundle {bundle.name}: its network does not take one {INPUT!r} alone.")
    if inputs[INPUT].get("num_channels") != 1:
        raise ManifestInvalid(f"Bundle {bundle.name}: its image has more than one channel.")
    if len(inputs[INPUT].get("spatial_shape", ())) != 3:
        raise ManifestInvalid(f"Bundle {bundle.name}: its image is not 3-D.")
    pred = outputs.get("pred") if isinstance(outputs, Mapping) else None
    if not isinstance(pred, Mapping) or pred.get("format") != "segmentation":
        raise ManifestInvalid(f"Bundle {bundle.name}: its output 'pred' is no segmentation.")
    config = read_config(bundle)
    if _says(config.get("postprocessing"), "sigmoid"):
        raise ManifestInvalid(f"Bundle {bundle.name}: its labels may overlap (sigmoid), which is not run.")
    channels = pred.get("num_channels")
    if not isinstance(channels, int) or channels < 2:
        raise ManifestInvalid(f"Bundle {bundle.name}: 'pred' needs a background and one part at least.")
    return channels


def _says(config: object, key: str) -> bool:
    """Whether some transform has this switched on."""
    if isinstance(config, Mapping):
        return config.get(key) is True or any(_says(value, key) for value in config.values())
    return isinstance(config, list) and any(_says(one, key) for one in config)


def _read(bundle: Path, path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found = json.loads(text)
        else:
            import yaml  # type: ignore[import-untyped]  # noqa: PLC0415  with the extra `monai`

            found = yaml.safe_load(text)
    except ImportError as error:
        raise ManifestInvalid(
            f"Bundle {bundle.name}: {path.name} needs PyYAML (pip install 'hoichan[monai]')."
        ) from error
    except (OSError, ValueError) as error:
        raise ManifestInvalid(f"Bundle {bundle.name}: {path.name} cannot be read.") from error
    except Exception as error:  # yaml's own tree
        raise ManifestInvalid(f"Bundle {bundle.name}: {path.name} is no YAML.") from error
    if not isinstance(found, dict):
        raise ManifestInvalid(f"Bundle {bundle.name}: {path.name} holds no keys.")
    return found
