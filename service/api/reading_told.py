"""What a reader sends: verdicts, words, a draft, a signature. Text is made normal (NFC) where it comes in.

Boxes are pixels of the stored image, (0, 0) at the outer corner of its first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hoichan.privacy import Phi
from hoichan.reporting.reviews import LARGEST_MM, LONGEST_NOTE, LONGEST_TEXT, MOST_BOXES, MOST_JUDGEMENTS
from hoichan.reporting.sealing import sections_json, typed
from hoichan.reporting.volume_verdicts import LARGEST_ML
from hoichan.types import (
    Box,
    Judgement,
    ReviewKind,
    Sections,
    Side,
    SOPInstanceUID,
    Verdict,
    VolumeJudgement,
)

Texts = Mapping[str, str]  # language -> text
LONGEST_PASSWORD = 1024
Seconds = Annotated[int, Field(ge=0, le=7 * 86_400)]


class Told(BaseModel):
    """A value that travels both ways."""

    model_config = ConfigDict(frozen=True)


class _Asked(BaseModel):
    """What a client asks for; anything else in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------------- what is judged
class BoxModel(Told):
    """A rectangle on a stored image, in pixels."""

    sop_instance_uid: Annotated[str, Field(max_length=64)]
    column: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    row: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    width: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    height: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class JudgementModel(Told):
    """One verdict of a person."""

    finding_id: Annotated[str, Field(max_length=64)] | None = None  # None: added by the person
    key: Annotated[str, Field(max_length=64)]
    verdict: Verdict
    reason: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""
    laterality: Side | None = None
    site: Annotated[str, Field(max_length=64)] | None = None
    size_mm: Annotated[float, Field(gt=0, le=LARGEST_MM, allow_inf_nan=False)] | None = None
    text: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""
    boxes: Annotated[list[BoxModel], Field(max_length=MOST_BOXES)] = []

    def said(self) -> Judgement:
        """As our own word."""
        return Judgement(
            finding_id=self.finding_id,
            key=self.key,
            verdict=self.verdict,
            reason=typed(self.reason),
            laterality=self.laterality,
            site=self.site or "",
            size_mm=self.size_mm,
            text=Phi(typed(self.text)),
            boxes=tuple(
                Box(
                    sop_instance_uid=SOPInstanceUID(box.sop_instance_uid),
                    column=box.column,
                    row=box.row,
                    width=box.width,
                    height=box.height,
                )
                for box in self.boxes
            ),
        )


class VolumeJudgementModel(Told):
    """One verdict of a person about a volume of the machine: confirmed, corrected or rejected."""

    measurement_id: Annotated[str, Field(max_length=64)]
    verdict: Literal[Verdict.ACCEPTED, Verdict.EDITED, Verdict.REJECTED]
    value_ml: Annotated[float, Field(gt=0, le=LARGEST_ML, allow_inf_nan=False)] | None = None
    reason: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""

    def said(self) -> VolumeJudgement:
        """As our own word."""
        return VolumeJudgement(
            measurement_id=self.measurement_id,
            verdict=self.verdict,
            value_ml=self.value_ml,
            reason=typed(self.reason),
        )


Judgements = Annotated[list[JudgementModel], Field(max_length=MOST_JUDGEMENTS)]
Words = Annotated[str, Field(max_length=LONGEST_TEXT)]
# The report UID of the last signature that the reader saw; "": there was none; None: not said, not compared.
LastSigned = Annotated[str, Field(max_length=64)] | None
# `study.whose` of what the reader was shown; None: not said, not compared.
Whose = Annotated[str, Field(max_length=64)] | None


class SectionsModel(Told):
    """The report in words: plain text."""

    description: Words = ""
    conclusion: Words = ""
    recommendation: Words = ""
    comparison: Words = ""

    def said(self) -> Sections:
        """As our own word."""
        return Sections(
            description=Phi(typed(self.description)),
            conclusion=Phi(typed(self.conclusion)),
            recommendation=Phi(typed(self.recommendation)),
            comparison=Phi(typed(self.comparison)),
        )

    @classmethod
    def of(cls, sections: Sections) -> SectionsModel:
        """From our own word."""
        return cls(**sections_json(sections))


# ---------------------------------------------------------------------- what a client sends
class DraftIn(_Asked):
    """A draft; `version` is that of the draft it changes, 0 for a new one."""

    version: Annotated[int, Field(ge=0, le=2**31 - 1)]
    last_signed: LastSigned = None
    judgements: Judgements = []
    sections: SectionsModel = SectionsModel()
    volumes: Annotated[list[VolumeJudgementModel], Field(max_length=MOST_JUDGEMENTS)] = []
    seconds_spent: Seconds = 0
    report_uid: Annotated[str, Field(max_length=64)] | None = None  # that was read; None: the newest
    carry_over: bool = False  # keep of the verdicts on a former result those that hold for the newest


class TextIn(_Asked):
    """What a report's words are to be drafted from."""

    judgements: Judgements = []
    language: Literal["vi", "en"] = "vi"


class SignIn(_Asked):
    """A signature: the password again, and what it is for."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    password: Annotated[str, Field(max_length=LONGEST_PASSWORD, repr=False)]
    may_train: bool = False
    kind: Literal[ReviewKind.FINAL, ReviewKind.AMENDMENT, ReviewKind.ADDENDUM] = ReviewKind.FINAL
    reason: Words = ""
    language: Literal["vi", "en"] | None = None  # of the sections; None: the site's
    last_signed: LastSigned = None
    whose: Whose = None


class WithdrawIn(_Asked):
    """A withdrawal: the password again, and why."""

    password: Annotated[str, Field(max_length=LONGEST_PASSWORD, repr=False)]
    reason: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
    last_signed: LastSigned = None


def judgements_said(told: Sequence[JudgementModel]) -> tuple[Judgement, ...]:
    """Judgements as our own words."""
    return tuple(one.said() for one in told)
