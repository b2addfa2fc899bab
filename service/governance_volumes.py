"""How a version of a network for volumes agrees with the live one: content and page of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from hoichan.adapters.volume_evidence_sql import VolumeEvidenceSql
from hoichan.analysis.standing import InUse
from hoichan.analysis.versions import Version
from hoichan.analysis.volume_agreement import Pair, compare_volumes
from hoichan.types import VolumeManifest
from service.governance_page import PAD, SIDE, STYLE, as_table, number

if TYPE_CHECKING:
    from service.governance import Office

NOTE = (
    "Agreement of two networks, not accuracy: signed reviews say nothing of volumes, so both may be wrong. "
    "No gate can hold, and a promotion is a person's decision (--override)."
)
_BY_REVIEWER = frozenset({"view"})  # of films only


def volume_report(office: Office, live: InUse, chosen: Version) -> dict[str, Any]:
    """What both measured, part by part: the content of the JSON file and of the page."""
    rows = VolumeEvidenceSql(office.house.engine)
    before, now = rows.measured(live.version), rows.measured(chosen)
    both = sorted(before.keys() & now.keys())
    groups = office.groups({study for study, _ in both}, left_out=_BY_REVIEWER)
    parts: dict[str, list[Pair]] = {code: [] for code in _parts(chosen)}
    for key in both:
        for code, mine in parts.items():
            if code in before[key].ml and code in now[key].ml:
                mine.append(
                    Pair(
                        study_instance_uid=key[0],
                        part=code,
                        live=before[key].ml[code],
                        shadow=now[key].ml[code],
                        groups=groups.get(key[0], {}),
                    )
                )
    return {
        "model": chosen.name,
        "kind": "volumes",
        "made_at": office.house.clock.now().isoformat(timespec="seconds"),
        "note": NOTE,
        "live": _side(live.version, len(before)),
        "shadow": _side(chosen, len(now)),
        "series": {
            "both": len(both),
            "live_only": len(before) - len(both),
            "shadow_only": len(now) - len(both),
        },
        "studies": len({study for study, _ in (*before, *now)}),
        "reviewed": 0,
        "gates": [],
        "parts": {code: {**_parts(chosen)[code], **compare_volumes(mine)} for code, mine in parts.items()},
    }


def _parts(version: Version) -> dict[str, dict[str, Any]]:
    manifest = version.manifest
    assert isinstance(manifest, VolumeManifest)  # whoever calls has looked
    return {one.code.code_value: {"display": dict(one.display)} for one in manifest.segments}


def _side(version: Version, answered: int) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "weights_sha256": version.manifest.weights_sha256,
        "answered": answered,
    }


# ---------------------------------------------------------------------- the page
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
        f"{series['live_only']} by the live version only, {series['shadow_only']} by the other only.</p>",
        f'<p class="note">{escape(content["note"])}</p>',
        as_table(("", "version", "package digest", "series measured"), sides),
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
            as_table(names, [row]),
            _bland_altman(found["points"], found["bias_ml"], found["limits_ml"]),
            "<h3>Subgroups</h3>" + as_table(("group", "", "series", "bias ml", "concordance"), groups)
            if groups
            else "",
            "<h3>Studies to look at</h3>" + as_table(("study", "live ml", "shadow ml"), changed)
            if changed
            else "",
        ]
    )


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
