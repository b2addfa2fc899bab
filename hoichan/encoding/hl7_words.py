"""What an HL7 v2 message says as text: one statement a line, each of which can stand alone."""

from __future__ import annotations

import re
import textwrap

from hoichan import codes
from hoichan.reporting.reports import (
    NOT_REACHED,
    OTHERS_NOT_ANALYSED,
    THRESHOLD,
    UNDETERMINED,
    measurement_lines,
    number_text,
    refusal_reasons,
    score_text,
)
from hoichan.types import Finding, Outcome, Presence, RefusalCode, Report

LONGEST_LINE = 180  # characters of a TX; receivers that take it for an ST stop at 199


def statements(report: Report, language: str) -> list[str]:
    """The conclusion of an unread report, one statement a line.

    A receiver may show, cut or keep each line alone, so each says of itself that it is the AI's suggestion,
    or that something was *not* found; and none is longer than LONGEST_LINE where a list can be broken.
    """
    reasons = refusal_reasons(report.refusals, language)
    if report.outcome is Outcome.NOT_ANALYSED:
        reasons = reasons or (codes.REFUSALS[RefusalCode.NO_MODEL][language],)
        return [f"{codes.NOT_ANALYSED[language]}: {reason}" for reason in reasons]
    lines = [_suspicion(finding, language) for finding in report.positives]
    searched = bool(report.findings) or not report.measurements
    if not lines and searched:
        lines += textwrap.wrap(codes.NOTHING_ABOVE_THRESHOLD[language], LONGEST_LINE)
    for heading, presence in ((UNDETERMINED, Presence.INDETERMINATE), (NOT_REACHED, Presence.ABSENT)):
        names = [
            codes.FINDINGS[finding.key].display[language].lower()
            for finding in report.findings
            if finding.presence is presence
        ]
        lines += _lists(heading[language], list(dict.fromkeys(names)))
    if report.measurements:
        lines += [*measurement_lines(report.measurements, language), codes.NO_REFERENCE[language]]
        lines += [] if searched else [codes.NOT_SEARCHED[language]]
    return lines + [f"{OTHERS_NOT_ANALYSED[language]}: {reason}" for reason in reasons]


def _suspicion(finding: Finding, language: str) -> str:
    return (
        f"{codes.SUSPECTED[language]}: {codes.FINDINGS[finding.key].display[language]} "
        f"({score_text(finding, language)}, "
        f"{THRESHOLD[language]} {number_text(finding, finding.operating_point, language)}; "
        f"{codes.TIERS[finding.tier][language]})."
    )


def _lists(heading: str, names: list[str]) -> list[str]:
    """The names after their heading, which is repeated on every line."""
    lines: list[str] = []
    held: list[str] = []
    for name in names:
        if held and len(f"{heading}: {', '.join([*held, name])}.") > LONGEST_LINE:
            lines.append(f"{heading}: {', '.join(held)}.")
            held = []
        held.append(name)
    return [*lines, f"{heading}: {', '.join(held)}."] if held else lines


def sentences(paragraph: str) -> list[str]:
    """A paragraph that fits a line as it is, a longer one by its sentences; a sentence is never cut."""
    return [paragraph] if len(paragraph) <= LONGEST_LINE else re.split(r"(?<=[.!?])\s+", paragraph)
