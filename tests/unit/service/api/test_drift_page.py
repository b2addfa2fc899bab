"""The page of drift: the newest week as a table, the weeks before as lines."""

from __future__ import annotations

import shutil
from datetime import date, timedelta

import pytest

from hoichan.adapters.drift_sql import DriftRow, DriftSql
from hoichan.analysis.drift import Drift, State
from service.api.drift_page import HEIGHT, LEFT, MOST_LINES, WIDTH, picture
from tests.unit.service.api.test_app import PAGE, House, filled  # noqa: F401  a fixture

MONDAY = date(2026, 10, 5)


def row(measure: str, psi: float | None, *, sender: str = "", state: State = State.STEADY) -> DriftRow:
    drift = Drift(
        reference_count=80, week_count=25, reference_value=0.4, week_value=0.5,
        psi=psi, ks=0.1, p_value=0.2, state=state,
    )  # fmt: skip
    return DriftRow(sender=sender, measure=measure, version="1.0.0", drift=drift)


@pytest.fixture
def house(filled, tmp_path):  # noqa: F811  the fixture of that name
    folder, uids = filled
    shutil.copytree(folder, tmp_path / "data")
    house = House(tmp_path / "data", uids)
    yield house
    house.client.close()
    house.record.engine.dispose()


def test_lines_go_from_the_first_week_to_the_last_and_stay_inside():
    weeks = [(MONDAY + timedelta(weeks=n), row("score:mass", psi)) for n, psi in enumerate((0.0, 0.2, 9.0))]
    drawn = picture(weeks)
    assert drawn is not None
    (line,) = drawn.lines
    assert [x for x, _, _, _ in line.dots] == sorted(x for x, _, _, _ in line.dots)
    assert line.dots[0][0] == LEFT and line.dots[-1][0] <= WIDTH
    heights = [y for _, y, _, _ in line.dots]
    assert heights == sorted(heights, reverse=True)  # a larger PSI lies higher
    assert all(0 <= y <= HEIGHT for y in heights)
    assert drawn.alarm_y < drawn.watch_y


def test_only_the_measures_furthest_away_have_a_line():
    weeks = [(MONDAY, row(f"score:{n}", n / 100)) for n in range(10)]
    drawn = picture(weeks)
    assert drawn is not None
    assert [line.measure for line in drawn.lines] == [f"score:{n}" for n in range(9, 9 - MOST_LINES, -1)]


def test_weeks_without_a_number_and_single_senders_draw_nothing():
    assert picture([]) is None
    assert picture([(MONDAY, row("refused", None)), (MONDAY, row("refused", 0.4, sender="CR1"))]) is None


@pytest.mark.parametrize(
    ("language", "state", "score"), [("vi", "báo động", "Điểm số"), ("en", "alarm", "Score")]
)
def test_the_newest_week_is_a_table_and_the_weeks_are_a_picture(house, language, state, score):
    rows = DriftSql(house.record.engine)
    for n in range(3):
        rows.keep("cxr-demo", MONDAY + timedelta(weeks=n), "1.0.0", [
            row("score:mass", 0.1 * n), row("input:brightness", 0.3, state=State.ALARM),
            row("refused", None, sender="CR_ROOM1", state=State.FEW),
        ])  # fmt: skip
    page = house.client.get(f"/drift?lang={language}", headers=PAGE)
    assert page.status_code == 200
    assert "2026-10-19" in page.text and "CR_ROOM1" in page.text
    assert state in page.text and score in page.text
    assert page.text.count("<polyline") == 2
    assert "score:mass" not in page.text  # words, not keys


def test_before_the_first_week_the_page_says_so(house):
    assert "No week has been judged yet" in house.client.get("/drift?lang=en", headers=PAGE).text
