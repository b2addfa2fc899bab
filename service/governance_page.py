"""The report of a model as one HTML file with its plots inside: no script, no address of another place.

Studies stand by their UID; nothing of a patient is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hoichan.codes import FINDINGS

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { border: 1px solid #c9d2dc; padding: .25rem .6rem; text-align: left }
th { background: #eef2f6 }
.no { color: #a3201d; font-weight: 600 }
.yes { color: #1b6b3a; font-weight: 600 }
figure { display: inline-block; margin: 0 1.5rem 1rem 0 }
figcaption { font-size: 13px; color: #44515f }
code { font-size: 12px }
.note { background: #fff7e0; padding: .6rem 1rem }
"""
SIDE, PAD = 220, 34


def render(content: Mapping[str, Any]) -> str:
    """The page of `governance.report`."""
    title = f"{content['model']}: {content['shadow']['version']} against {content['live']['version']}"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>",
        f"<p>Made {escape(content['made_at'])}. {content['studies']} studies were answered, "
        f"{content['reviewed']} of them are signed.</p>",
        f'<p class="note">{escape(content["note"])}</p>',
        _versions(content),
        gates_table(content["gates"]),
    ]
    for key, found in content["findings"].items():
        names = FINDINGS[key].display if key in FINDINGS else {"en": key}
        heading = " / ".join(names[language] for language in ("en", "vi") if language in names)
        parts += [f"<h2>{escape(heading)} <code>{escape(key)}</code></h2>", _finding(found)]
    return "\n".join(parts) + "</html>\n"


def _versions(content: Mapping[str, Any]) -> str:
    rows = [
        (side, one["version"], one["digest"], one["thresholds"], one["answered"])
        for side, one in (("live", content["live"]), ("shadow", content["shadow"]))
    ]
    return as_table(("", "version", "package digest", "thresholds", "images answered"), rows)


def gates_table(gates: Sequence[Mapping[str, Any]]) -> str:
    """Every gate, its bar, what was measured; nothing where there are none."""
    if not gates:
        return ""
    rows = [
        (
            g["finding"],
            g["gate"],
            number(g["bar"]),
            number(g["measured"]),
            "holds" if g["held"] else "does not hold",
        )
        for g in gates
    ]
    held = all(g["held"] for g in gates)
    verdict = '<p class="yes">All gates hold.</p>' if held else '<p class="no">Not all gates hold.</p>'
    return f"<h2>Gates</h2>{verdict}" + as_table(("finding", "gate", "bar", "measured", ""), rows)


def _finding(found: Mapping[str, Any]) -> str:
    rows = []
    for side in ("live", "shadow"):
        one = found[side]
        rows.append(
            (
                side,
                f"{one['positives']} of {one['n']}",
                *(share_text(one[name]) for name in ("sensitivity", "specificity", "ppv", "flagged")),
                _interval(one["auroc"], one["auroc_ci95"]),
                number(one["calibration"]["ece"]),
                number(one["kappa"]),
            )
        )
    difference = found["difference"]
    rows.append(
        (
            f"shadow - live, {difference['n']} signed by both",
            "",
            *(
                _interval(difference[n]["value"], difference[n]["ci95"])
                for n in ("sensitivity", "specificity")
            ),
            "",
            "",
            _interval(difference["auroc"]["value"], difference["auroc"]["ci95"]),
            "",
            "",
        )
    )
    names = ("", "n+", "sensitivity", "specificity", "PPV", "flagged", "AUROC", "ECE", "kappa with doctors")
    agreement = found["agreement"]
    return "".join(
        [
            as_table(names, rows),
            f"<p>The two versions agree in {share_text(agreement)} of the studies, "
            f"kappa {number(agreement['kappa'])}; {found['changed_count']} studies changed.</p>",
            _plot("live", found["live"]["calibration"]),
            _plot("shadow", found["shadow"]["calibration"]),
            _subgroups(found["subgroups"]),
            _changed(found["changed"]),
        ]
    )


def _plot(side: str, calibration: Mapping[str, Any]) -> str:
    """A reliability diagram: what was said (across) against what was signed (up), with Wilson's intervals."""
    size = SIDE + 2 * PAD

    def place(x: float, y: float) -> tuple[float, float]:
        return PAD + x * SIDE, PAD + (1 - y) * SIDE

    marks = []
    for row in calibration["bins"]:
        (x, y), (_, low), (_, high) = (
            place(row["said"], value) for value in (row["was"], row["ci95"][0], row["ci95"][1])
        )
        marks.append(
            f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="#3b6ea8"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#3b6ea8">'
            f"<title>{row['n']} studies</title></circle>"
        )
    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    return (
        f'<figure><svg width="{size}" height="{size}" role="img" '
        f'aria-label="Calibration of the {side} version">'
        f'<rect x="{PAD}" y="{PAD}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#8895a3"/>'
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#8895a3" stroke-dasharray="4 4"/>'
        f'<g font-size="12"><text x="{PAD}" y="{size - 12}">0</text>'
        f'<text x="{x1 - 8}" y="{size - 12}">1</text>'
        f'<text x="10" y="{y1 + 12}">1</text></g>{"".join(marks)}</svg>'
        f"<figcaption>{side}: probability said (across), share signed (up)</figcaption></figure>"
    )


def _subgroups(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    told = [
        (
            row["group"],
            row["value"],
            f"{row['positives']} of {row['n']}",
            *(
                share_text(row[side][name])
                for side in ("live", "shadow")
                for name in ("sensitivity", "specificity")
            ),
            *(number(row[side]["auroc"]) for side in ("live", "shadow")),
        )
        for row in rows
    ]
    names = ("group", "", "n+", "live sensitivity", "live specificity", "shadow sensitivity",
             "shadow specificity", "live AUROC", "shadow AUROC")  # fmt: skip
    return "<h3>Subgroups</h3>" + as_table(names, told)


def _changed(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    truth = {True: "there", False: "not there", None: "not signed"}
    told = [
        (row["study_instance_uid"], number(row["live"]), number(row["shadow"]), truth[row["truth"]])
        for row in rows
    ]
    return "<h3>Studies to look at</h3>" + as_table(("study", "live", "shadow", "signed"), told)


def as_table(names: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table of plain cells."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def share_text(one: Mapping[str, Any]) -> str:
    """A share with its interval and its counts."""
    if one["share"] is None:
        return "unknown"
    low, high = one["ci95"]
    return f"{one['share']:.2f} ({low:.2f}–{high:.2f}), {one['k']} of {one['n']}"


def _interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.2f}" + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")


def number(value: float | None) -> str:
    """A figure, or that it is unknown."""
    if value is None:
        return "unknown"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
