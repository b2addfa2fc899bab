"""What a model said: its numbers, where to look, and the findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from hoichan.types.models import Tier
from hoichan.types.words import SeriesInstanceUID, Sha256, SOPInstanceUID, StudyInstanceUID

if TYPE_CHECKING:  # no command that only names a study should wait for it
    import numpy as np
    from numpy.typing import NDArray


class RefusalCode(StrEnum):
    """Why a model did not answer. Stable; texts are in `hoichan.codes.REFUSALS`."""

    NO_MODEL = "no_model"
    NO_IMAGE = "no_image"
    REJECTED_IMAGE = "rejected_image"
    REMOVED_IMAGE = "removed_image"
    WRONG_MODALITY = "wrong_modality"
    WRONG_BODY_PART = "wrong_body_part"
    WRONG_VIEW = "wrong_view"
    AGE_UNDER_LIMIT = "age_under_limit"
    AGE_OVER_LIMIT = "age_over_limit"
    DERIVED_IMAGE = "derived_image"
    FOR_PROCESSING = "for_processing"
    MULTI_FRAME = "multi_frame"
    NOT_FRONTAL_CHEST = "not_frontal_chest"
    PIXELS_OUT_OF_RANGE = "pixels_out_of_range"
    UNDECODABLE_PIXELS = "undecodable_pixels"
    WRONG_REGION = "wrong_region"
    WRONG_SEQUENCE = "wrong_sequence"
    WRONG_GEOMETRY = "wrong_geometry"
    OTHER_SERIES = "other_series"
    MODEL_FAILED = "model_failed"
    MODEL_FROZEN = "model_frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One model's no to one series (or to the whole study when series is None)."""

    code: RefusalCode
    algorithm_name: str | None  # None: no model is installed at all
    series_instance_uid: SeriesInstanceUID | None
    sop_instance_uid: SOPInstanceUID | None = None
    detail: str = ""  # machine detail without patient data, e.g. "BodyPartExamined=RIBCAGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResult:
    """Raw numbers of one model on one instance. Kept forever; findings can be recomputed."""

    study_instance_uid: StudyInstanceUID
    revision: int
    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID  # exactly what was read
    sop_class_uid: str
    algorithm_name: str
    algorithm_version: str
    weights_sha256: Sha256
    logits: Mapping[str, float]  # Output.name -> raw logit
    gate: float  # 0..1, "this is an upright frontal chest film"
    rows: int  # of the stored image
    columns: int
    started_at: datetime
    ended_at: datetime
    provider: str  # what really ran, e.g. CPUExecutionProvider
    warnings: tuple[str, ...] = ()
    class_activation_maps: Mapping[str, NDArray[np.float32]] = field(
        default_factory=dict, compare=False, repr=False
    )  # Output.name -> (h, w) float32, contribution to the logit, covering exactly the stored image


class GraphicType(StrEnum):
    """(0070,0023) of the shapes we write."""

    POINT = "POINT"
    POLYLINE = "POLYLINE"
    ELLIPSE = "ELLIPSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where to look. Coordinates are (column, row) of the stored image, origin at its outer corner."""

    referenced_sop_instance_uid: SOPInstanceUID  # (0008,1155)   Observation.derivedFrom
    graphic_type: GraphicType | None  # (0070,0023)
    graphic_data: tuple[float, ...]  # (0070,0022)   col, row, col, row, ...
    method: str  # "class activation map", "detector"
    heatmap: NDArray[np.float32] | None = field(
        default=None, compare=False, repr=False
    )  # (h, w) float32, 0..1, covering exactly the stored image


class Presence(StrEnum):
    """CID 240."""

    PRESENT = "present"  # SCT 52101004
    ABSENT = "absent"  # SCT 272519000
    INDETERMINATE = "indeterminate"  # SCT 373068000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement a radiologist can accept, change or reject."""

    key: str  # into hoichan.codes.FINDINGS
    presence: Presence  # Observation.valueCodeableConcept
    probability: float  # DCM 111012 "Certainty of Finding" / 100; 0..1, calibrated as `calibration` says
    operating_point: float  # the bar it was held against
    calibration: str  # "none" | "platt"
    tier: Tier
    evidence: tuple[Evidence, ...]
    algorithm_name: str
    algorithm_version: str
    sop_instance_uid: SOPInstanceUID  # the image it speaks of
