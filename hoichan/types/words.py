"""Identifiers and coded concepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

StudyInstanceUID = NewType("StudyInstanceUID", str)
SeriesInstanceUID = NewType("SeriesInstanceUID", str)
SOPInstanceUID = NewType("SOPInstanceUID", str)
Sha256 = NewType("Sha256", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept, e.g. (60046008, SCT, "Pleural effusion")."""

    code_value: str  # (0008,0100)   FHIR Coding.code
    coding_scheme_designator: str  # (0008,0102)   FHIR Coding.system
    code_meaning: str  # (0008,0104)   FHIR Coding.display
