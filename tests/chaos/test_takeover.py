"""A worker that is killed in the middle of an analysis is replaced within half a minute."""

from __future__ import annotations

import os
import time

from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from tests.acceptance.packages import write_package

TAKEOVER_SECONDS = 30 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # three interpreters start


def test_a_killed_worker_is_replaced_and_its_study_is_reported_once(tmp_path):
    house = RunningHouse(tmp_path / "house")
    write_package(house.data_dir / "models")
    films = [a_film(f"takeover{number}", rows=640, columns=560) for number in range(4)]
    uids = [film.StudyInstanceUID for film in films]
    with house:
        house.send(*[write_film(film, tmp_path / "films") for film in films])

        def begun():
            events = [house.events(uid) for uid in uids]
            return any("analysis_begun" in one and "report_saved" not in one for one in events)

        wait_until(begun, seconds=60, what="an analysis runs")
        killed_at = time.monotonic()
        house.kill("work")
        for uid in uids:
            house.wait_for_event(uid, "delivery_acknowledged", seconds=3 * TAKEOVER_SECONDS)
        took = time.monotonic() - killed_at
        print(f"everything delivered {took:.1f} s after the kill")
        assert took < TAKEOVER_SECONDS
        for uid in uids:
            assert house.events(uid).count("report_saved") == 1
            assert len(house.reports(uid)) == 1
