"""A week held against the first weeks: seen in the right measures, for the right sender, once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from hoichan.adapters.drift_sql import DriftSql
from hoichan.adapters.evidence_sql import EvidenceSql
from hoichan.analysis.drift import State
from service import wiring
from service.api.metrics import exposition
from service.cli import app
from service.drifting import Drifting
from service.readiness import examine, premises
from tests.unit.service.governance_site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    drifting = made(site)
    now = site.house.clock.now()
    monday = drifting.last_monday()
    middle = (now.date() - monday).days - 3
    site.fill(150, days=middle + 60, prefix="first")
    site.fill(150, days=middle + 60, prefix="others", sender="CR2")
    site.fill(90, days=middle, prefix="week", shift=1.5)
    site.fill(90, days=middle, prefix="quiet", sender="CR2")
    yield site
    site.close()


def made(site):
    return Drifting(
        roster=wiring.roster(site.house),
        evidence=EvidenceSql(site.engine),
        rows=DriftSql(site.engine),
        clock=site.house.clock,
        zone=site.house.settings.site.zone,
    )


def test_the_week_that_drifted_is_told_for_the_sender_that_did(site):
    drifting = made(site)
    assert drifting.step() >= 1
    assert drifting.step() == 0  # once a week and version
    _, rows = DriftSql(site.engine).latest()["tiny"]
    states = {(row.sender, row.measure): row.drift.state for row in rows}
    for measure in ("score:pleural_effusion", "positive:pleural_effusion", "input:brightness"):
        assert states["CR1", measure] is State.ALARM, measure
        assert states["CR2", measure] is State.STEADY, measure
    assert states["CR1", "score:pneumothorax"] is State.STEADY
    assert states["CR1", "refused"] is State.STEADY
    assert states["CR1", "hours_to_review"] is State.STEADY
    assert rows[0].drift.state is State.ALARM  # the worst first


def test_everybody_who_must_know_is_told(site):
    made(site).step()
    found = CliRunner().invoke(app, ["model", "drift", "--data-dir", str(site.folder), "--json"])
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert {line["state"] for line in told} <= {"alarm", "watch"}
    assert told[0]["model"] == "tiny" and told[0]["state"] == "alarm"
    place = premises(
        site.house.settings,
        site.engine,
        spool_root=site.house.settings.storage.spool_dir,
        now=site.house.clock.now,
    )
    (finding,) = (one for one in examine(place) if one.name == "drift")
    assert (finding.ok, finding.reason, finding.blocks) == (False, "model_drift", False)
    assert "tiny: score:pleural_effusion of CR1" in finding.detail or "more" in finding.detail
    text = exposition(place).decode()
    (alarms,) = (
        x
        for x in text.splitlines()
        if x.startswith('hoichan_model_drift_measures{model="tiny",state="alarm"}')
    )
    assert float(alarms.split()[-1]) >= 3
    assert 'hoichan_model_drift_psi{measure="score:pleural_effusion",model="tiny"}' in text
    assert "CR2" not in text


def test_a_model_that_never_answered_is_judged_too(site):
    drifting = made(site)
    (used,) = (one for one in drifting.roster.standing().live if one.version.name == "cxr-demo")
    assert drifting.judge(used, drifting.last_monday()) == []
    drifting.rows.keep("none", drifting.last_monday(), "1.0.0", [])
    assert drifting.rows.is_done("none", drifting.last_monday(), "1.0.0")
    assert not drifting.rows.is_done("none", drifting.last_monday(), "2.0.0")
    assert drifting.rows.latest()["none"][1] == []


class Watched(EvidenceSql):
    """Remembers the spans that it was asked for."""

    def __init__(self, engine):
        super().__init__(engine)
        self.spans = []

    def answers(self, version, *, since=None, until=None):
        self.spans.append((since, until))
        return super().answers(version, since=since, until=until)


def test_years_between_the_first_weeks_and_the_last_are_not_read(tmp_path):
    """Of a version that answered for years five weeks are asked for, no more than a day at a time."""
    site = Site(tmp_path)
    try:
        drifting = replace(made(site), evidence=Watched(site.engine))
        (used,) = (one for one in drifting.roster.standing().live if one.version.name == "tiny")
        now, monday = site.house.clock.now(), drifting.last_monday()
        week = (now.date() - monday).days - 3
        site.fill(120, days=week + 700, prefix="first")
        site.fill(120, days=week, prefix="week", sender="")
        before = drifting.judge(used, monday)
        site.fill(90, days=week + 300, prefix="between", shift=9.0)
        site.fill(90, days=week - 7, prefix="later", shift=9.0)
        drifting.evidence.spans.clear()
        assert drifting.judge(used, monday) == before
        asked = drifting.evidence.spans
        assert max(until - since for since, until in asked) <= timedelta(days=1)
        assert sum((until - since for since, until in asked), timedelta()) <= timedelta(weeks=5)
        counts = {
            (row.sender, row.measure): (row.drift.reference_count, row.drift.week_count) for row in before
        }
        assert counts["", "score:pneumothorax"] == (120, 120)  # a sender that is not known counts once
        assert counts["CR1", "score:pneumothorax"] == (120, 0)
    finally:
        site.close()


def test_the_week_is_the_last_that_is_over(site):
    drifting = made(site)
    monday = drifting.last_monday()
    today = drifting.clock.now().astimezone(drifting.zone).date()
    assert monday.weekday() == 0
    assert timedelta(days=7) <= today - monday < timedelta(days=14)
