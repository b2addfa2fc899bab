"""Packages for volumes: `volume.toml` in the place of `manifest.toml`, so that no film is ever shown to one.

The rest of a package is the same: weights pinned by SHA-256, `card.md`, and golden cases: `golden/*.npz` with
`volume` (x, y, z; grey values as stored) and `labels` (what the network must say of it).
"""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from hoichan.analysis.bundles import check_bundle
from hoichan.analysis.manifests import (
    Check,
    ModelTable,
    Strict,
    Texts,
    check_card,
    check_weights,
    first_fault,
)
from hoichan.analysis.volume_gates import VolumeGates
from hoichan.errors import ManifestInvalid, ModelError
from hoichan.types import Code, Segment, Sha256, VolumeManifest, VolumeSpec

VOLUME_FILE = "volume.toml"
DRAFT_MARK = "CHECK:"  # in lines of a drafted VOLUME_FILE that nobody has read yet
AGREEMENT = 0.999  # of the voxels of a golden case
Side = Annotated[int, Field(ge=1, le=1024)]
Sides = tuple[Side, Side, Side]
Millimetres = Annotated[float, Field(gt=0, le=50)]


class _Accepts(Strict):
    modality: Literal["MR", "CT", "PT"]
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    spacing_tolerance_mm: float = Field(ge=0, le=5)
    smallest: Sides
    largest: Sides
    largest_echo_time_ms: float | None = Field(None, gt=0)
    without_contrast: bool = True
    body_part_examined: tuple[str, ...] = ()
    youngest_years: int | None = Field(None, ge=0, le=130)
    plane: Literal["", "axial", "coronal", "sagittal"] = ""
    series_description: tuple[Annotated[str, Field(min_length=2, max_length=64)], ...] = ()
    not_in_description: tuple[Annotated[str, Field(min_length=2, max_length=64)], ...] = ()
    take: Literal["one", "each"] = "one"

    @model_validator(mode="after")
    def _in_order(self) -> _Accepts:
        if any(low > high for low, high in zip(self.smallest, self.largest, strict=True)):
            raise ValueError("smallest is larger than largest")
        return self


class _Code(Strict):
    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)

    def code(self) -> Code:
        return Code(code_value=self.value, coding_scheme_designator=self.scheme, code_meaning=self.meaning)


class _Segment(Strict):
    channel: int = Field(ge=1, le=255)
    unit: Literal["ml"]
    display: Texts
    code: _Code
    region: _Code | None = None


class _Runs(Strict):
    window: Sides | None = None
    multiple_of: int = Field(1, ge=1, le=64)


class _Manifest(Strict):
    schema_version: Literal[1]
    model: ModelTable
    accepts: _Accepts
    runs: _Runs = _Runs()
    segments: tuple[_Segment, ...] = Field(min_length=1)
    gates: VolumeGates = VolumeGates()

    @model_validator(mode="after")
    def _sound(self) -> _Manifest:
        channels = [segment.channel for segment in self.segments]
        if channels != sorted(set(channels)):
            raise ValueError("the channels of the segments must rise")
        stray = set(self.gates.parts) - {segment.code.value for segment in self.segments}
        if stray:
            raise ValueError(f"gates of a part that it does not outline: {', '.join(sorted(stray))}")
        return self


class Outliner(Protocol):
    """Runs a package for volumes on voxels. Raises RunnerFailed."""

    def labels(self, manifest: VolumeManifest, voxels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(x, y, z) channel of each voxel, 0 for the background."""
        ...


def load_volume_package(package: Path) -> VolumeManifest:
    """The package in this folder, its schema and weights checked. Raises ManifestInvalid."""
    package = package.resolve()
    try:
        text = (package / VOLUME_FILE).read_text(encoding="utf-8")
        checked = _Manifest.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ManifestInvalid(f"Model package {package.name}: {VOLUME_FILE} cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"Model package {package.name}: {VOLUME_FILE} is not TOML: {error}.") from error
    except ValidationError as error:
        raise ManifestInvalid(f"Model package {package.name}: {first_fault(error)}.") from error
    guesses = sum(DRAFT_MARK in line for line in text.splitlines())
    if guesses:
        raise ManifestInvalid(
            f"Model package {package.name}: {guesses} lines of {VOLUME_FILE} still hold a guess of the draft "
            f"({DRAFT_MARK}); correct them and take the mark out."
        )
    model = checked.model
    if model.name != package.name and (model.algorithm_version, model.name) != (
        package.name,
        package.parent.name,
    ):
        raise ManifestInvalid(
            f"Model package {package.name}: its {VOLUME_FILE} calls it {model.name!r}; "
            "folder and name must be the same."
        )
    check_weights(package, model.weights, model.weights_sha256)
    if model.runtime == "monai_bundle":
        channels = check_bundle(package)
        if max(segment.channel for segment in checked.segments) >= channels:
            raise ManifestInvalid(f"Model package {package.name}: its bundle gives {channels} channels only.")
    return VolumeManifest(
        name=model.name,
        algorithm_name=model.algorithm_name,
        algorithm_version=model.algorithm_version,
        algorithm_source=model.algorithm_source,
        intended_use=model.intended_use.model_dump(),
        disclaimer=model.disclaimer.model_dump(),
        weights=PurePosixPath(model.weights),
        weights_sha256=Sha256(model.weights_sha256),
        accepts=VolumeSpec(**checked.accepts.model_dump()),
        window=checked.runs.window,
        multiple_of=checked.runs.multiple_of,
        segments=tuple(
            Segment(
                channel=one.channel,
                display=one.display.model_dump(),
                code=one.code.code(),
                region=one.region.code() if one.region is not None else None,
            )
            for one in checked.segments
        ),
        license=model.license,
        status=model.status,
        root=PurePosixPath(package),
        runtime=model.runtime,
    )


def verify_volume_package(package: Path, runner: Outliner) -> tuple[Check, ...]:
    """Check schema, checksum, card and golden volumes; never raises for what is wrong with the package."""
    try:
        manifest = load_volume_package(package)
    except ManifestInvalid as error:
        return (Check(name="schema_and_checksum", passed=False, detail=str(error)),)
    cases = sorted((package / "golden").glob("*.npz"))
    golden = [_check_case(manifest, case, runner) for case in cases]
    none = Check(name="golden", passed=False, detail="there is no golden case")
    return (Check(name="schema_and_checksum", passed=True), check_card(package), *(golden or [none]))


def _check_case(manifest: VolumeManifest, case: Path, runner: Outliner) -> Check:
    name = f"golden:{case.stem}"
    try:
        with np.load(case) as stored:
            voxels, wanted = stored["volume"].astype(np.float32), stored["labels"]
        share = float((runner.labels(manifest, voxels) == wanted).mean())
    except (ModelError, OSError, KeyError, ValueError) as error:
        return Check(name=name, passed=False, detail=f"{type(error).__name__}: {error}")
    outlined = set(np.unique(wanted).tolist()) >= {segment.channel for segment in manifest.segments}
    detail = f"{share:.2%} of the voxels agree, {AGREEMENT:.1%} must"
    return Check(name=name, passed=share >= AGREEMENT and outlined, detail=detail)
