"""What `/routing` says and is told: rules, versions, and the trial of one study."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hoichan.adapters.routing_sql import RoutingVersion
from hoichan.reporting.routing import Rule

LONGEST_REASON = 200


class Rules(BaseModel):
    """All rules, in order: the first that fits a study decides."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=0, le=2**31 - 1)]  # the one that was seen; 0: none
    rules: list[Rule]
    reason: str = Field(min_length=1, max_length=LONGEST_REASON)


class ModelOut(BaseModel):
    """A model that answers here."""

    name: str
    algorithm_name: str
    algorithm_version: str
    status: str
    frozen: bool  # asked no more until somebody decides


class DestinationOut(BaseModel):
    """A receiver, without its address: that may hold a secret."""

    name: str
    kind: str
    forms: list[str]


class VersionOut(BaseModel):
    """One version of the rules."""

    version: int
    rules: list[Rule]
    by: str
    at: datetime
    reason: str
    restores: int | None

    @classmethod
    def of(cls, one: RoutingVersion) -> VersionOut:
        """From the record."""
        return cls(
            version=one.version,
            rules=list(one.rules),
            by=one.by,
            at=one.at,
            reason=one.reason,
            restores=one.restores,
        )


class RoutingOut(BaseModel):
    """The rules now, and what they may name."""

    version: int
    rules: list[Rule]
    models: list[ModelOut]
    destinations: list[DestinationOut]
    versions: list[VersionOut]  # newest first


class RuleTrialOut(BaseModel):
    """Why a rule decides, or not."""

    name: str
    decides: bool
    misfits: list[str]  # senders, modalities, body_parts; empty and not deciding: an earlier one did


class ImageTrialOut(BaseModel):
    """One model and the series of the study."""

    model: str
    asked: bool
    why: str  # the tags that decided; or `rule`, `frozen`, or a refusal's code
    images: int


class TrialOut(BaseModel):
    """What would happen to a study if it were analysed now. Nothing happens."""

    study_instance_uid: str
    rules: list[RuleTrialOut]
    models: list[ImageTrialOut]
    destinations: list[DestinationTrialOut]


class DestinationTrialOut(BaseModel):
    """A receiver and what it would get."""

    name: str
    gets: list[str]  # forms; empty: nothing
    why: str  # "all", "rule", "had" (earlier results of the study) or "left_out"
