"""The words and marks that stand on the picture: from a report to a caption, without any pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hoichan import codes
from hoichan.reporting.reports import (
    NOT_REACHED,
    OTHERS_NOT_ANALYSED,
    THRESHOLD,
    measurement_lines,
    number_text,
    refusal_reasons,
    score_text,
)
from hoichan.types import Evidence, Finding, GraphicType, Outcome, Presence, Report, Tier

OTHER_IMAGE: Mapping[str, str] = {"vi": "trên hình khác của ca chụp", "en": "on another image of the study"}
LEGEND: Mapping[str, str] = {
    "vi": "Vùng ảnh hưởng nhiều đến điểm AI. Không phải ranh giới tổn thương.",
    "en": "Area that weighed most in the AI score. Not the outline of a lesion.",
}
SCORES: Mapping[str, str] = {
    "vi": "Số là điểm AI, chưa hiệu chuẩn.",
    "en": "Numbers are AI scores, not calibrated.",
}
RESULT: Mapping[str, str] = {"vi": "Kết quả AI", "en": "AI result"}
MODEL: Mapping[str, str] = {"vi": "Mô hình", "en": "Model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One positive finding as it is listed and, when it is on this image, drawn."""

    number: int
    name: str
    score: str  # the bare number
    detail: str  # score with its name, and the threshold
    tier: Tier
    tier_name: str
    elsewhere: str = ""  # said when the finding is on another image
    graphic_type: GraphicType | None = None
    points: tuple[tuple[float, float], ...] = ()  # (column, row) as fractions of the film, 0..1
    heatmap: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)  # (h, w), 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """All words of one picture."""

    banner: str
    title: str  # "AI gợi ý" | "KHÔNG PHÂN TÍCH" | ...
    message: str  # a paragraph under the title; "" when the marks say it all
    marks: tuple[Mark, ...]
    below_title: str
    below: tuple[tuple[str, str], ...]  # name and number of what stayed below its threshold
    notes: tuple[str, ...]
    legend: str  # "" where no map is drawn
    standing: str  # the models, and what they say of themselves ("demonstration, not validated")
    footer: str
    warning: bool  # nothing was analysed: the title is set as a warning


def caption(
    report: Report, *, sop_instance_uid: str | None, rows: int, columns: int, language: str
) -> Caption:
    """The caption for the picture of one image; rows and columns are those of the stored image."""
    reasons = refusal_reasons(report.refusals, language)
    standing, footer = _standing(report, language), codes.FOOTER[language]
    if report.outcome is Outcome.NOT_ANALYSED:
        return Caption(
            banner=codes.BANNER[language],
            title=codes.NOT_ANALYSED[language],
            message=" ".join(reasons) or report.conclusion[language],
            marks=(),
            below_title="",
            below=(),
            notes=(),
            legend="",
            standing=standing,
            footer=footer,
            warning=True,
        )
    marks = tuple(
        _mark(finding, number, sop_instance_uid, rows, columns, language)
        for number, finding in enumerate(report.positives, start=1)
    )
    return Caption(
        banner=codes.BANNER[language],
        title=(codes.SUSPECTED if marks else RESULT)[language],
        message="" if marks else _message(report, language),
        marks=marks,
        below_title=NOT_REACHED[language],
        below=_below(report.findings, language),
        notes=_notes(report, reasons, language),
        legend=LEGEND[language] if any(mark.heatmap is not None for mark in marks) else "",
        standing=standing,
        footer=footer,
        warning=False,
    )


def _message(report: Report, language: str) -> str:
    """What to say where nothing is flagged: nothing found, or volumes where nothing was looked for."""
    searched = [codes.NOTHING_ABOVE_THRESHOLD[language]] if report.findings or not report.measurements else []
    if not report.measurements:
        return " ".join(searched)
    lines = [*measurement_lines(report.measurements, language), codes.NO_REFERENCE[language]]
    return " ".join([*searched, *lines, *([] if searched else [codes.NOT_SEARCHED[language]])])


def _notes(report: Report, reasons: Sequence[str], language: str) -> tuple[str, ...]:
    uncalibrated = any(finding.calibration == "none" for finding in report.findings)
    notes = [SCORES[language]] if uncalibrated else []
    if report.measurements and report.positives:
        notes += measurement_lines(report.measurements, language)
    if reasons:
        notes.append(f"{OTHERS_NOT_ANALYSED[language]}: {' '.join(reasons)}")
    return tuple(notes)


def _standing(report: Report, language: str) -> str:
    """The models' names, and the part of the disclaimer that is theirs."""
    names = ", ".join(f"{model.algorithm_name} {model.algorithm_version}" for model in report.manifests)
    own = report.disclaimer[language].removesuffix(codes.FOOTER[language]).strip()
    return " · ".join(part for part in (f"{MODEL[language]}: {names}" if names else "", own) if part)


def _below(findings: Sequence[Finding], language: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (codes.FINDINGS[finding.key].display[language], _beside_threshold(finding, language))
        for finding in findings
        if finding.presence is not Presence.PRESENT
    )


def _beside_threshold(finding: Finding, language: str) -> str:
    """The number and, where it stayed below, the bar it did not reach: "0,10 < 0,50"."""
    number = number_text(finding, finding.probability, language)
    if finding.presence is not Presence.ABSENT:
        return number
    return f"{number} < {number_text(finding, finding.operating_point, language)}"


def _mark(
    finding: Finding, number: int, sop_instance_uid: str | None, rows: int, columns: int, language: str
) -> Mark:
    here = finding.sop_instance_uid == sop_instance_uid
    shape = _shape(finding.evidence, rows, columns) if here else None
    maps = (item.heatmap for item in finding.evidence if here and item.heatmap is not None)
    threshold = number_text(finding, finding.operating_point, language)
    return Mark(
        number=number,
        name=codes.FINDINGS[finding.key].display[language],
        score=number_text(finding, finding.probability, language),
        detail=f"{score_text(finding, language)} ({THRESHOLD[language]} {threshold})",
        tier=finding.tier,
        tier_name=codes.TIERS[finding.tier][language],
        elsewhere="" if here else OTHER_IMAGE[language],
        graphic_type=shape[0] if shape else None,
        points=shape[1] if shape else (),
        heatmap=next(maps, None),
    )


def _shape(
    evidence: Sequence[Evidence], rows: int, columns: int
) -> tuple[GraphicType, tuple[tuple[float, float], ...]] | None:
    for item in evidence:
        if item.graphic_type is not None and len(item.graphic_data) >= 2:
            data = item.graphic_data
            points = tuple((data[at] / columns, data[at + 1] / rows) for at in range(0, len(data) - 1, 2))
            return item.graphic_type, points
    return None
