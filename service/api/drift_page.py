"""`/drift`: what each live model saw and said in the last weeks against its first ones: lines and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from hoichan.adapters.drift_sql import DriftRow, DriftSql
from hoichan.analysis.drift import ALARM_PSI, WATCH_PSI, State
from service.api.desk import AtDesk
from service.api.show import show

WEEKS = 26  # in the picture
TOP_PSI = 0.5  # the picture's upper edge; what lies higher is drawn there
MOST_LINES = 6  # measures with a line: those furthest from the reference
WIDTH, HEIGHT, LEFT, BELOW = 640.0, 200.0, 40.0, 24.0

page_router = APIRouter(default_response_class=HTMLResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measure over the weeks, ready to be drawn."""

    measure: str
    points: str  # of an SVG polyline
    dots: tuple[tuple[float, float, date, float], ...]  # x, y, Monday, PSI
    number: int  # which of the picture's styles


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The lines of one model and the two bars."""

    lines: tuple[Line, ...]
    watch_y: float
    alarm_y: float
    first: date
    last: date


@page_router.get("/drift")
def show_drift(request: Request, desk: AtDesk) -> HTMLResponse:
    """The newest week of each model, and how the measures came there."""
    rows = DriftSql(desk.reading.engine)
    models = [
        {
            "name": name,
            "week": week,
            "rows": found,
            "picture": picture(rows.weeks(name, most=WEEKS)),
            "alarms": sum(row.drift.state is State.ALARM for row in found),
        }
        for name, (week, found) in sorted(rows.latest().items())
    ]
    edges = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "below": BELOW, "top": TOP_PSI}
    return show(request, desk, "drift.html", models=models, edges=edges)


def picture(weeks: Sequence[tuple[date, DriftRow]]) -> Picture | None:
    """The PSI of everybody's measures by week; None where no week has a number."""
    told = [(week, row) for week, row in weeks if not row.sender and row.drift.psi is not None]
    if not told:
        return None
    mondays = sorted({week for week, _ in told})
    first, last = mondays[0], mondays[-1]
    newest = {row.measure: row.drift.psi or 0.0 for week, row in sorted(told, key=lambda one: one[0])}
    chosen = sorted(newest, key=lambda measure: (-newest[measure], measure))[:MOST_LINES]
    lines = []
    for number, measure in enumerate(chosen):
        dots = tuple(
            (_x(week, first, last), _y(row.drift.psi or 0.0), week, row.drift.psi or 0.0)
            for week, row in sorted(told, key=lambda one: one[0])
            if row.measure == measure
        )
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in dots)
        lines.append(Line(measure=measure, points=points, dots=dots, number=number))
    return Picture(lines=tuple(lines), watch_y=_y(WATCH_PSI), alarm_y=_y(ALARM_PSI), first=first, last=last)


def _x(week: date, first: date, last: date) -> float:
    days = (last - first).days
    share = (week - first).days / days if days else 0.5
    return LEFT + share * (WIDTH - LEFT - 12)


def _y(psi: float) -> float:
    return 8 + (1 - min(psi, TOP_PSI) / TOP_PSI) * (HEIGHT - BELOW - 8)
