"""What a model package says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from hoichan.types.words import Sha256


class Tier(StrEnum):
    """How soon a person should look (ACR Actionable Reporting, CID 7035), most urgent first."""

    CRITICAL = "critical"  # RID49480, minutes   FHIR stat
    URGENT = "urgent"  # RID49481, hours     FHIR urgent
    ROUTINE = "routine"  # RID49482, days      FHIR routine


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Platt scaling of a logit: probability = 1 / (1 + exp(-(slope * logit + intercept)))."""

    method: str  # "none" | "platt"
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One entry of the model's output vector."""

    name: str  # label the network was trained with, e.g. "Effusion"
    index: int  # position in the output vector
    finding_key: str  # key into hoichan.codes.FINDINGS, e.g. "pleural_effusion"
    operating_point: float  # probability, 0..1, after calibration; at or above it is PRESENT
    calibration: Calibration
    tier: Tier
    enabled: bool = True
    disabled_reason: str = ""  # why a finding is computed but not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the model accepts. Anything else is InputOutOfDomain, not a guess."""

    modality: tuple[str, ...]
    body_part_examined: tuple[str, ...]
    view_position: tuple[str, ...]
    patient_age_years: tuple[int, int]  # inclusive
    size: int  # pixels, side of the square network input
    value_range: tuple[float, float] = (0.0, 1.0)
    gate_operating_point: float = 0.5  # the pixel gate's bar, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """One model package: names as in TID 4019, what it accepts, what it says, and its checksum."""

    name: str  # folder name, e.g. "cxr-demo"
    algorithm_name: str  # (0066,0036)   Device.deviceName
    algorithm_version: str  # (0066,0031)   Device.version
    algorithm_source: str  # (0024,0202)   Device.manufacturer
    intended_use: Mapping[str, str]  # BCP-47 language -> one sentence
    disclaimer: Mapping[str, str]  # language -> e.g. "Demonstration, not validated"
    runtime: str  # onnx | monai_bundle
    weights: PurePosixPath  # inside the package
    weights_sha256: Sha256
    accepts: InputSpec
    outputs: tuple[Output, ...]
    license: str  # SPDX
    status: str  # research | shadow | clinical
    root: PurePosixPath  # absolute folder of the package on this machine

    @property
    def digest(self) -> str:
        """What makes two versions different: name, version and weights. Seeds the Device UID."""
        return f"{self.algorithm_name}|{self.algorithm_version}|{self.weights_sha256}"
