"""Model packages: reading `manifest.toml`, finding packages on the shelf, and the checks a package must pass.

A package is a folder `<name>/` with `manifest.toml`, `card.md`, the weights, `golden/cases.json` and
`evaluation.json` (DESIGN 4). A manifest and its thresholds are one pinned thing with the weights: their
SHA-256 stands in the manifest, and weights that differ are never loaded. Whatever is wrong becomes one
`ManifestInvalid` with one sentence that names the package and the key.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import hoichan
from hoichan.analysis.acceptance import Gates
from hoichan.analysis.films import Film
from hoichan.analysis.imaging import read_picture
from hoichan.codes import FINDINGS
from hoichan.errors import InputOutOfDomain, ManifestInvalid, ModelError
from hoichan.types import Calibration, InputSpec, ModelManifest, Output, Sha256, Tier

MANIFEST_FILE = "manifest.toml"
CARD_FILE = "card.md"
GOLDEN_FILE = "golden/cases.json"
CARD_SECTIONS = ("Intended use", "Limits", "Training data", "Evaluation", "Pixel gate", "Licence")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one pass of a model gives for one film."""

    logits: Mapping[str, float]  # Output.name -> raw logit
    # probabilities, 0..1, in the order of gate.GATE_CLASSES; () when the model has no gate
    gate: tuple[float, ...]
    maps: Mapping[str, NDArray[np.float32]]  # Output.name -> (h, w) float32 over exactly the stored image
    provider: str  # what really ran


class Scorer(Protocol):
    """Runs a model on a film, without gates or studies. Raises RunnerFailed."""

    def score(self, manifest: ModelManifest, film: Film) -> Scores:
        """Scores of one film."""
        ...


# -------------------------------------------------------------------------------- the schema of manifest.toml
class Strict(BaseModel):
    """A table with no other keys than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Texts(Strict):
    """One sentence in both languages."""

    vi: str = Field(min_length=1)
    en: str = Field(min_length=1)


class ModelTable(Strict):
    """`[model]`: what every package says of itself."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")
    algorithm_name: str = Field(min_length=1, max_length=64)
    algorithm_version: str = Field(pattern=r"^\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$")
    algorithm_source: str = Field(min_length=1, max_length=64)
    runtime: Literal["onnx", "monai_bundle"]
    weights: str = Field(min_length=1)
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    license: str = Field(min_length=1)
    status: Literal["research", "shadow", "clinical"]
    intended_use: Texts
    disclaimer: Texts


class _Accepts(Strict):
    modality: tuple[str, ...] = Field(min_length=1)
    body_part_examined: tuple[str, ...] = Field(min_length=1)
    view_position: tuple[str, ...] = Field(min_length=1)
    patient_age_years: tuple[int, int]
    size: int = Field(ge=32, le=4096)
    value_range: tuple[float, float] = (0.0, 1.0)
    gate_operating_point: Fraction


class _Calibration(Strict):
    method: Literal["none", "platt"]
    slope: float = Field(1.0, gt=0.0)
    intercept: float = 0.0


class _Output(Strict):
    name: str = Field(min_length=1)
    index: int = Field(ge=0)
    finding_key: Literal[tuple(FINDINGS)]  # type: ignore[valid-type]
    operating_point: Fraction
    calibration: _Calibration
    tier: Tier
    enabled: bool = True
    disabled_reason: str = ""

    @model_validator(mode="after")
    def _reason_given(self) -> _Output:
        if not self.enabled and not self.disabled_reason:
            raise ValueError("an output that is not enabled needs a disabled_reason")
        return self


class _Manifest(Strict):
    schema_version: Literal[1]
    model: ModelTable
    accepts: _Accepts
    outputs: tuple[_Output, ...] = Field(min_length=1)
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _outputs_are_distinct(self) -> _Manifest:
        for values in ([o.name for o in self.outputs], [o.index for o in self.outputs]):
            if len(set(values)) != len(values):
                raise ValueError("two outputs have the same name or index")
        if not any(o.enabled for o in self.outputs):
            raise ValueError("no output is enabled")
        return self


# ---------------------------------------------------------------------------------------------------- reading
def load(package: Path) -> ModelManifest:
    """The manifest of the package in this folder, with its schema and the checksum of its weights checked.

    Raises ManifestInvalid with one sentence; trying again does not help until the package is mended.
    """
    package = package.resolve()
    manifest = package / MANIFEST_FILE
    try:
        checked = _Manifest.model_validate(tomllib.loads(manifest.read_text(encoding="utf-8")))
    except OSError as error:
        raise ManifestInvalid(f"Model package {package.name}: {MANIFEST_FILE} cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestInvalid(
            f"Model package {package.name}: {MANIFEST_FILE} is not TOML: {error}."
        ) from error
    except ValidationError as error:
        raise ManifestInvalid(f"Model package {package.name}: {first_fault(error)}.") from error
    if checked.model.name != package.name and not _is_version_folder(package, checked.model):
        raise ManifestInvalid(
            f"Model package {package.name}: its manifest calls it {checked.model.name!r}; "
            "folder and name must be the same."
        )
    check_weights(package, checked.model.weights, checked.model.weights_sha256)
    return _manifest(checked, package)


def _is_version_folder(package: Path, model: ModelTable) -> bool:
    """`<name>/<version>/`: where a site keeps several versions of a package."""
    return package.name == model.algorithm_version and package.parent.name == model.name


def first_fault(error: ValidationError) -> str:
    """The first broken key and how it is broken."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or MANIFEST_FILE
    return f"{where}: {fault['msg']}"


def check_weights(package: Path, weights: str, expected: str) -> None:
    """Raises ManifestInvalid where the weights lie outside, are missing, or are others than pinned."""
    path = (package / weights).resolve()
    if not path.is_relative_to(package):
        raise ManifestInvalid(f"Model package {package.name}: weights lie outside the package.")
    if not path.is_file():
        raise ManifestInvalid(f"Model package {package.name}: the weights {weights} are missing.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ManifestInvalid(
            f"Model package {package.name}: the checksum of {weights} is {found[:12]}…, "
            f"but the manifest says {expected[:12]}…; fetch the package again."
        )


def _manifest(checked: _Manifest, package: Path) -> ModelManifest:
    model = checked.model
    return ModelManifest(
        name=model.name,
        algorithm_name=model.algorithm_name,
        algorithm_version=model.algorithm_version,
        algorithm_source=model.algorithm_source,
        intended_use=model.intended_use.model_dump(),
        disclaimer=model.disclaimer.model_dump(),
        runtime=model.runtime,
        weights=PurePosixPath(model.weights),
        weights_sha256=Sha256(model.weights_sha256),
        accepts=InputSpec(**checked.accepts.model_dump()),
        outputs=tuple(
            Output(**{**o.model_dump(), "calibration": Calibration(**o.calibration.model_dump())})
            for o in checked.outputs
        ),
        license=model.license,
        status=model.status,
        root=PurePosixPath(package),
    )


# -------------------------------------------------------------------------------------------------- the shelf
@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What lies on the shelves: packages that may be used, and those that may not with the reason."""

    manifests: tuple[ModelManifest, ...]
    invalid: tuple[tuple[str, ManifestInvalid], ...]  # folder name, why

    def named(self, name: str) -> ModelManifest:
        """The package of this name; raises ManifestInvalid, with the package's own fault where it has one."""
        for manifest in self.manifests:
            if manifest.name == name:
                return manifest
        for folder, error in self.invalid:
            if folder == name:
                raise error
        known = ", ".join(m.name for m in self.manifests) or "none"
        raise ManifestInvalid(f"There is no model package named {name!r}; installed: {known}.")


def shelf_roots(data_dir: Path | None = None) -> tuple[Path, ...]:
    """Where packages lie: a site's own under `data_dir/models` first, then those shipped with the wheel or
    the checkout.
    """
    installed = Path(hoichan.__file__).resolve().parent
    shipped = installed / "shelf"
    checkout = installed.parent / "models"
    own = [] if data_dir is None else [data_dir / "models"]
    return (*own, shipped if shipped.is_dir() else checkout)


def discover(roots: Iterable[Path]) -> Shelf:
    """One package of each name under the roots: where two roots have the same name the first wins.

    A name that lies in folders of versions only (`<name>/<version>/`) shows the first of them; which version
    is live is decided elsewhere (`hoichan.analysis.standing`).
    """
    manifests: dict[str, ModelManifest] = {}
    invalid: dict[str, ManifestInvalid] = {}
    roots = [root for root in roots if root.is_dir()]
    for pattern in ("*", "*/*"):
        for root in roots:
            for path in sorted(root.glob(f"{pattern}/{MANIFEST_FILE}")):
                name = path.relative_to(root).parts[0]
                if name in manifests or name in invalid or name.startswith("."):
                    continue
                try:
                    manifests[name] = load(path.parent)
                except ManifestInvalid as error:
                    invalid[name] = error
    return Shelf(
        manifests=tuple(manifests[name] for name in sorted(manifests)), invalid=tuple(sorted(invalid.items()))
    )


# ----------------------------------------------------------------------------------------------------- verify
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of a package, and what was found."""

    name: str  # schema_and_checksum | card | golden:<case>
    passed: bool
    detail: str = ""


def verify(package: Path, runner: Scorer) -> tuple[Check, ...]:
    """Check schema, checksum, card and golden cases; never raises for what is wrong with the package."""
    try:
        manifest = load(package)
    except ManifestInvalid as error:
        return (Check(name="schema_and_checksum", passed=False, detail=str(error)),)
    return (
        Check(name="schema_and_checksum", passed=True),
        check_card(package),
        *check_golden(package, manifest, runner),
    )


def check_card(package: Path) -> Check:
    """Whether the card has all its sections."""
    try:
        card = (package / CARD_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Check(name="card", passed=False, detail=f"{CARD_FILE} cannot be read")
    headings = {line.lstrip("#").strip() for line in card.splitlines() if line.startswith("#")}
    missing = [section for section in CARD_SECTIONS if section not in headings]
    detail = "the card lacks: " + ", ".join(missing) if missing else ""
    return Check(name="card", passed=not missing, detail=detail)


def check_golden(package: Path, manifest: ModelManifest, runner: Scorer) -> Iterable[Check]:
    """What a runner says of the package's drawn films, against what they must come out as."""
    try:
        cases: list[dict[str, Any]] = json.loads((package / GOLDEN_FILE).read_text(encoding="utf-8"))["cases"]
    except (OSError, ValueError, KeyError, TypeError):
        return [Check(name="golden", passed=False, detail=f"{GOLDEN_FILE} cannot be read")]
    # other cases name public files that are not in the package
    pictures = [case for case in cases if "picture" in case]
    if not pictures:
        return [Check(name="golden", passed=False, detail="there is no golden case")]
    return [_check_case(package, manifest, runner, case) for case in pictures]


def _check_case(package: Path, manifest: ModelManifest, runner: Scorer, case: Mapping[str, Any]) -> Check:
    name = f"golden:{case.get('name', '?')}"
    try:
        scores = runner.score(manifest, read_picture(package / "golden" / case["picture"]))
        worst = golden_difference(scores, case)
        tolerance = float(case["tolerance"])
    except (ModelError, InputOutOfDomain, KeyError, TypeError, ValueError) as error:
        return Check(name=name, passed=False, detail=f"{type(error).__name__}: {error}")
    detail = f"largest difference {worst:.4f}, allowed {tolerance:.4f}"
    return Check(name=name, passed=worst <= tolerance, detail=detail)


def golden_difference(scores: Scores, case: Mapping[str, Any]) -> float:
    """The largest difference between scores and a golden case, over logits and gate probabilities."""
    pairs = [(scores.logits[name], float(value)) for name, value in case["logits"].items()]
    pairs += list(zip(scores.gate, (float(v) for v in case["gate"]), strict=True))
    return max(abs(found - expected) for found, expected in pairs)
