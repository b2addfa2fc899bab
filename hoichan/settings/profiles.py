"""What a trial found out about receivers (`hoichan try`, `/trial`): read at the start, beneath the file.

A profile is a small TOML file a receiver, `profiles/NAME.toml` in the data folder. What the configuration
says itself stands; a profile fills in what it leaves open.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoichan.errors import ConfigurationError

FOLDER = "profiles"
# What a trial can find out, by the kind of destination; a profile of another kind is passed over.
KEYS: Mapping[str, frozenset[str]] = {
    "dicom": frozenset({"send", "sr_class", "seg_form"}),
    "dicomweb": frozenset({"send", "sr_class", "seg_form"}),
    "fhir": frozenset({"unread_status"}),
    "hl7v2": frozenset({"unread_status", "charset", "pdf_maximum_bytes"}),
}


def profile_file(data_dir: Path, name: str) -> Path:
    """Where the profile of a receiver lies, whether there is one or not."""
    return data_dir / FOLDER / f"{name}.toml"


def profile_lines(found: Mapping[str, object]) -> list[str]:
    """A profile as lines of TOML."""
    return [f"{key} = {json.dumps(value)}" for key, value in found.items()]


def write_profile(data_dir: Path, name: str, found: Mapping[str, object]) -> Path:
    """Keep what a trial found out; whole or not at all. Raises OSError."""
    place = profile_file(data_dir, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    lines = [f"# What {name} showed of a test study.", *profile_lines(found), ""]
    part.write_text("\n".join(lines), encoding="utf-8")
    part.replace(place)
    return place


def apply_profiles(destinations: object, data_dir: Path) -> None:
    """Fill in what each destination of the configuration leaves open. Raises ConfigurationError."""
    if not isinstance(destinations, list):
        return
    for one in destinations:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            continue
        known = KEYS.get(str(one.get("kind")), frozenset())
        for key, value in _read(profile_file(data_dir, one["name"])).items():
            if key in known:
                one.setdefault(key, value)


def _read(place: Path) -> dict[str, Any]:
    if not place.is_file():
        return {}
    try:
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The profile {place} cannot be read: remove it, or try again.") from error
