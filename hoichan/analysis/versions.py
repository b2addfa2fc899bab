"""A version of a model: package, digest, signature's text, and the thresholds that belong to it.

A package lies in `<root>/<name>/` or, where a site keeps several versions, in `<root>/<name>/<version>/`. Its
digest covers every file but the signature; a signature and a promotion speak of that digest. Thresholds that
a site applied are a version of their own: their digest is a part of Algorithm Version, so that every output
(SR, FHIR, HL7) and the Device UID name them without knowing of them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hoichan.analysis.manifests import MANIFEST_FILE, load
from hoichan.analysis.volume_packages import VOLUME_FILE, load_volume_package
from hoichan.errors import ManifestInvalid
from hoichan.types import Calibration, ModelManifest, Output, Patient, VolumeManifest

SIGNATURE_FILE = "signature.json"
PACKAGE_FILES = (MANIFEST_FILE, VOLUME_FILE)  # what makes a folder a package: for films, for volumes
_PURPOSE = b"hoichan model package 1\n"  # a signature for anything else never fits
_THRESHOLDS_MARK = "+t."  # build metadata of the version: the thresholds, by the start of their digest
_SHORT = 12  # hexadecimal digits of a digest inside a version


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One package on a shelf."""

    manifest: ModelManifest | VolumeManifest
    digest: str  # of the package, 64 hexadecimal digits

    @property
    def film(self) -> ModelManifest:
        """The manifest of a package for films. Raises ManifestInvalid for a network for volumes."""
        if isinstance(self.manifest, VolumeManifest):
            raise ManifestInvalid(f"{self.name} measures volumes: it has no findings and no thresholds.")
        return self.manifest

    @property
    def name(self) -> str:
        """Name of the package."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Algorithm Version as the package says it, without thresholds of a site."""
        return self.manifest.algorithm_version


def package_digest(package: Path) -> str:
    """SHA-256 over the sorted list of "digest  path" of its files: 64 hexadecimal digits.

    Left out: the signature, hidden files, and folders that hold a package of their own (other versions).
    """
    package = package.resolve()
    lines = []
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if not path.is_file() or inside.as_posix() == SIGNATURE_FILE or _is_foreign(package, inside):
            continue
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {inside.as_posix()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_foreign(package: Path, inside: Path) -> bool:
    if any(part.startswith(".") or part == "__pycache__" for part in inside.parts):
        return True
    return any(
        (package / folder / file).is_file() for folder in list(inside.parents)[:-1] for file in PACKAGE_FILES
    )


def signed_text(name: str, version: str, digest: str) -> bytes:
    """What a signature is over."""
    return _PURPOSE + f"{name}\n{version}\n{digest}\n".encode()


def read(package: Path) -> Version:
    """The version in this folder. Raises ManifestInvalid."""
    try:
        if (package / VOLUME_FILE).is_file() and not (package / MANIFEST_FILE).is_file():
            return Version(manifest=load_volume_package(package), digest=package_digest(package))
        return Version(manifest=load(package), digest=package_digest(package))
    except OSError as error:
        raise ManifestInvalid(f"Model package {package.name}: a file cannot be read.") from error


def find(roots: Iterable[Path]) -> tuple[tuple[Version, ...], tuple[tuple[str, ManifestInvalid], ...]]:
    """Every version under the roots in their order, and the folders that hold none with the reason.

    Where a folder or a version lies under two roots, the first root's counts, right or wrong: a site's own
    goes before the shipped one.
    """
    found: dict[tuple[str, str], Version] = {}
    invalid: dict[str, ManifestInvalid] = {}
    for root in roots:
        if not root.is_dir():
            continue
        for path in (
            path
            for depth in ("*", "*/*")
            for path in sorted(path for file in PACKAGE_FILES for path in root.glob(f"{depth}/{file}"))
        ):
            folder = path.parent.relative_to(root).as_posix()
            if folder.startswith(".") or folder in invalid:
                continue
            try:
                version = read(path.parent)
            except ManifestInvalid as error:
                invalid[folder] = error
                continue
            found.setdefault((version.name, version.version), version)
    return tuple(found.values()), tuple(sorted(invalid.items()))


# ------------------------------------------------------------------------------------------------- thresholds
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One operating point and whom it is for."""

    operating_point: float  # probability, 0..1, after calibration
    sex: str | None = None  # (0010,0040) F | M; None: whoever
    age_years: tuple[int, int] | None = None  # inclusive; None: whatever age

    def fits(self, sex: str | None, age_years: int | None) -> bool:
        """Whether it is for such a patient; what is not known of a patient fits no condition."""
        if self.sex is not None and (sex or "").upper() != self.sex:
            return False
        if self.age_years is None:
            return True
        return age_years is not None and self.age_years[0] <= age_years <= self.age_years[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Operating points and calibration of one version of a model; impossible ones raise ManifestInvalid."""

    name: str
    algorithm_version: str  # of the package they are for
    weights_sha256: str
    # finding key -> rules; the first that fits decides, and the last one fits everybody
    rules: Mapping[str, tuple[Rule, ...]]
    calibration: Mapping[str, Calibration]

    def __post_init__(self) -> None:
        for key, rules in self.rules.items():
            if key not in self.calibration:
                raise ManifestInvalid(f"Thresholds of {self.name}: {key} has no calibration.")
            if not rules or rules[-1] != Rule(operating_point=rules[-1].operating_point):
                raise ManifestInvalid(
                    f"Thresholds of {self.name}: the last rule of {key} must be for everybody."
                )
            for rule in rules:
                if not (math.isfinite(rule.operating_point) and 0.0 <= rule.operating_point <= 1.0):
                    raise ManifestInvalid(f"Thresholds of {self.name}: a point of {key} is outside 0..1.")

    @property
    def content(self) -> dict[str, Any]:
        """As it is written into a file."""
        return {
            "schema_version": 1,
            "model": self.name,
            "algorithm_version": self.algorithm_version,
            "weights_sha256": self.weights_sha256,
            "outputs": {
                key: {
                    "calibration": {
                        "method": self.calibration[key].method,
                        "slope": self.calibration[key].slope,
                        "intercept": self.calibration[key].intercept,
                    },
                    "rules": [
                        {
                            "operating_point": rule.operating_point,
                            "sex": rule.sex,
                            "age_years": None if rule.age_years is None else list(rule.age_years),
                        }
                        for rule in self.rules[key]
                    ],
                }
                for key in sorted(self.rules)
            },
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the content as JSON with sorted keys and no spaces: 64 hexadecimal digits."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def thresholds_of(manifest: ModelManifest) -> Thresholds:
    """Those that came with the package."""
    return Thresholds(
        name=manifest.name,
        algorithm_version=manifest.algorithm_version,
        weights_sha256=manifest.weights_sha256,
        rules={o.finding_key: (Rule(operating_point=o.operating_point),) for o in manifest.outputs},
        calibration={o.finding_key: o.calibration for o in manifest.outputs},
    )


def parse_thresholds(content: Mapping[str, Any]) -> Thresholds:
    """Thresholds as they were written. Raises ManifestInvalid."""
    try:
        if content["schema_version"] != 1:
            raise ManifestInvalid("Thresholds: this schema_version is not known.")
        outputs: Mapping[str, Any] = content["outputs"]
        return Thresholds(
            name=str(content["model"]),
            algorithm_version=str(content["algorithm_version"]),
            weights_sha256=str(content["weights_sha256"]),
            rules={key: tuple(_rule(one) for one in value["rules"]) for key, value in outputs.items()},
            calibration={
                key: Calibration(
                    method=str(value["calibration"]["method"]),
                    slope=float(value["calibration"]["slope"]),
                    intercept=float(value["calibration"]["intercept"]),
                )
                for key, value in outputs.items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestInvalid(f"Thresholds: {type(error).__name__} at {error}.") from error


def _rule(content: Mapping[str, Any]) -> Rule:
    ages = content.get("age_years")
    return Rule(
        operating_point=float(content["operating_point"]),
        sex=content.get("sex"),
        age_years=None if ages is None else (int(ages[0]), int(ages[1])),
    )


def with_thresholds(
    manifest: ModelManifest, thresholds: Thresholds | None, patient: Patient | None = None
) -> ModelManifest:
    """The manifest with a site's thresholds as they are for this patient; their digest is in its version.

    Raises ManifestInvalid where the thresholds are for another version.
    """
    if thresholds is None:
        return manifest
    mine = (manifest.name, manifest.algorithm_version, manifest.weights_sha256)
    if mine != (thresholds.name, thresholds.algorithm_version, thresholds.weights_sha256):
        raise ManifestInvalid(
            f"The thresholds are for {thresholds.name} {thresholds.algorithm_version}, "
            f"not for {manifest.name} {manifest.algorithm_version}."
        )
    sex = None if patient is None else patient.patient_sex
    age = None if patient is None else patient.patient_age_years
    outputs = tuple(_held(output, thresholds, sex, age) for output in manifest.outputs)
    version = f"{base_version(manifest.algorithm_version)}{_THRESHOLDS_MARK}{thresholds.digest[:_SHORT]}"
    return replace(manifest, outputs=outputs, algorithm_version=version)


def _held(output: Output, thresholds: Thresholds, sex: str | None, age: int | None) -> Output:
    rules: Sequence[Rule] = thresholds.rules.get(output.finding_key, ())
    for rule in rules:
        if rule.fits(sex, age):
            return replace(
                output,
                operating_point=rule.operating_point,
                calibration=thresholds.calibration[output.finding_key],
            )
    return output


def base_version(algorithm_version: str) -> str:
    """Algorithm Version of the package, without the thresholds of a site."""
    return algorithm_version.split(_THRESHOLDS_MARK, maxsplit=1)[0]
