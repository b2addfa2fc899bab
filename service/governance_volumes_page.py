"""The page of a report on a network for volumes: one HTML file with its plots inside, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from service.governance_page import PAD, SIDE, STYLE, as_table, gates_table, number, share_text


def render_volumes(content: Mapping[str, Any]) -> str:
    """The page of `volume_report`, with a plot of differences for each part inside."""
    title = f"{content['model']}: {content['shadow']['version']} against {content['live']['version']}"
    series = content["series"]
    sides = [
        (side, content[side]["version"], content[side]["digest"], content[side]["answered"])
        for side in ("live", "shadow")
    ]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>",
        f"<p>Made {escape(content['made_at'])}. {series['both']} series were measured by both, "
        f"{series['live_only']} by the live version only, {series['shadow_only']} by the other only. "
        f"Readers judged volumes in {content['reviewed']} studies.</p>",
        f'<p class="note">{escape(content["note"])}</p>',
        as_table(("", "version", "package digest", "series measured"), sides),
        gates_table(content["gates"]),
    ]
    for code, found in content["parts"].items():
        heading = " / ".join(found["display"][one] for one in ("en", "vi") if one in found["display"])
        parts += [f"<h2>{escape(heading)} <code>{escape(code)}</code></h2>", _part(found)]
    return "\n".join(parts) + "</html>\n"


def _part(found: Mapping[str, Any]) -> str:
    row = (
        found["n"],
        number(found["mean_ml"]["live"]),
        number(found["mean_ml"]["shadow"]),
        _with(found["bias_ml"], found["bias_ci95"]),
        _between(found["limits_ml"]),
        number(found["concordance"]),
    )
    names = (
        "series",
        "live, mean ml",
        "shadow, mean ml",
        "bias ml (95 %)",
        "95 % of differences",
        "concordance",
    )
    groups = [
        (one["group"], one["value"], one["n"], number(one["bias_ml"]), number(one["concordance"]))
        for one in found["subgroups"]
    ]
    changed = [
        (one["study_instance_uid"], number(one["live"]), number(one["shadow"])) for one in found["changed"]
    ]
    return "".join(
        [
            _readers(found["verdicts"], found["readers"]),
            "<h3>The two versions</h3>" + as_table(names, [row]),
            _bland_altman(found["points"], found["bias_ml"], found["limits_ml"]),
            "<h3>Subgroups</h3>" + as_table(("group", "", "series", "bias ml", "concordance"), groups)
            if groups
            else "",
            "<h3>Studies to look at</h3>" + as_table(("study", "live ml", "shadow ml"), changed)
            if changed
            else "",
        ]
    )


def _readers(verdicts: Sequence[Mapping[str, Any]], beside: Mapping[str, Any]) -> str:
    """What readers let stand of each version that they were shown, and how near each version comes to it."""
    if not verdicts:
        return "<h3>Readers</h3><p>No reader has judged this part.</p>"
    shown = [
        (
            one["version"],
            f"{one['n']} in {one['studies']} studies",
            *(share_text(one[name]) for name in ("confirmed", "corrected", "rejected")),
            f"{one['correction_ml']['n']}: {_with(*_median(one['correction_ml']))}",
            _between(one["reader_ml"]["limits"]),
        )
        for one in verdicts
    ]
    names = ("shown version", "volumes", "confirmed", "corrected", "rejected",
             "corrections, median ml (95 %)", "95 % of reader - shown")  # fmt: skip
    near = [
        (
            side,
            share_text(beside[side]["right"]),
            _with(*_median(beside[side]["off_ml"])),
            _between(beside[side]["off_ml"]["limits"]),
        )
        for side in ("live", "shadow")
    ]
    return "".join(
        [
            "<h3>Readers</h3>",
            as_table(names, shown),
            f"<p>{beside['n']} volumes were judged and measured by both versions. Right is what lies within "
            f"{beside['within']:.0%} of the reader's number; of {beside['unknown']} more, rejected ones, "
            "nobody knows the right number.</p>",
            as_table(("", "right (95 %)", "version - reader, median ml (95 %)", "95 % of them"), near),
        ]
    )


def _median(one: Mapping[str, Any]) -> tuple[float | None, Sequence[float] | None]:
    return one["median"], one["median_ci95"]


def _bland_altman(
    points: Sequence[Sequence[float]], bias: float | None, limits: Sequence[float] | None
) -> str:
    """Differences (up) over means (across) of two measurements; lines: bias and limits."""
    if not points or bias is None:
        return ""
    means, differences = [(a + b) / 2 for a, b in points], [b - a for a, b in points]
    low, high = min(means), max(means)
    most = max(abs(d) for d in (*differences, *(limits or (bias,)))) or 1.0
    size = SIDE + 2 * PAD

    def place(mean: float, difference: float) -> tuple[float, float]:
        across = (mean - low) / (high - low) if high > low else 0.5
        return PAD + across * SIDE, PAD + (0.5 - difference / most / 2) * SIDE

    marks = [
        '<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="#3b6ea8"/>'.format(*place(mean, difference))
        for mean, difference in zip(means, differences, strict=True)
    ]
    for value, dash in ((bias, ""), *((one, "4 4") for one in limits or ())):
        y = place(low, value)[1]
        marks.append(
            f'<line x1="{PAD}" y1="{y:.1f}" x2="{PAD + SIDE}" y2="{y:.1f}" stroke="#8895a3" '
            f'stroke-dasharray="{dash}"/>'
        )
    return (
        f'<figure><svg width="{size}" height="{size}" role="img" aria-label="Differences of the versions">'
        f'<rect x="{PAD}" y="{PAD}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#8895a3"/>'
        f'<g font-size="12"><text x="{PAD}" y="{size - 12}">{low:.2f}</text>'
        f'<text x="{PAD + SIDE - 24}" y="{size - 12}">{high:.2f}</text>'
        f'<text x="2" y="{PAD + 8}">+{most:.2f}</text><text x="2" y="{PAD + SIDE}">-{most:.2f}</text></g>'
        f"{''.join(marks)}</svg><figcaption>mean ml (across), shadow - live ml (up)</figcaption></figure>"
    )


def _with(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:+.3f}" + (f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else "")


def _between(limits: Sequence[float] | None) -> str:
    return "unknown" if limits is None else f"{limits[0]:+.3f} to {limits[1]:+.3f}"
