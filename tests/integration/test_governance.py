"""A worker's analysis while models are promoted, rolled back, frozen and watched in shadow."""

from __future__ import annotations

import multiprocessing
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.schema import documents, results
from hoichan.adapters.schema_governance import input_statistics, shadow_results
from hoichan.analysis.standing import Action, Decision
from hoichan.intake.dataset import read_spooled
from hoichan.settings import Settings
from hoichan.testing import a_film
from hoichan.testing.database import prepared
from hoichan.testing.house import wait_until
from hoichan.testing.shelf import write_version
from hoichan.testing.spool import bring
from hoichan.types import RefusalCode
from hoichan.uids import derived_uid
from service import wiring
from service.analyst import Analyst
from service.observer import MOST_KILLED, ObserverProcess, observe

MODELS = Path(__file__).parents[1] / "golden" / "models"


class Desk:
    """What a worker process holds, on a data folder of its own, without its engine."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.model_validate({"storage": {"data_dir": folder, "reserve_bytes": 0}})
        self.shelf = folder / "models"
        write_version(self.shelf, MODELS / "plain.onnx")
        self.house = wiring.open_house(prepared(self.settings))
        self.governance = GovernanceSql(self.house.engine)
        self.roster = wiring.roster(self.house)
        self.analyst = Analyst(
            outliner=wiring.outliner(self.house),
            house=self.house,
            roster=self.roster,
            runner=wiring.runner(self.house),
            encoder=wiring.encoder(self.house),
            corrections=wiring.corrections(self.house),
            priors=lambda study: (),
        )
        self.observer = wiring.observer(self.house, self.roster)

    def arrive(self, name):
        data_set = a_film(rows=160, columns=120)
        data_set.StudyInstanceUID = derived_uid("governance", name)
        data_set.SeriesInstanceUID = derived_uid("governance", name, "series")
        data_set.SOPInstanceUID = derived_uid("governance", name, "instance")
        stored = bring(self.house.spool, data_set)
        uid = stored.study_instance_uid
        (spooled,) = self.house.spool.listing(uid)
        study = read_spooled(self.house.spool, spooled, self.settings.site.zone)
        self.house.studies.add_arrivals(study, study.instances)
        current = self.house.studies.current(uid)
        return self.house.studies.assemble(replace(current, closed_by="quiet_time"))

    def answer(self, name):
        study = self.arrive(name)
        _, report = self.analyst.analyse(study.study_instance_uid, study.revision)
        return report

    def decide(self, action, number, **more):
        standing = self.roster.standing()
        versions = [*(one.version for one in standing.live), *standing.shadow]
        chosen = next(one for one in versions if (one.name, one.version) == ("tiny", number))
        self.governance.decide(
            Decision(
                at=self.house.clock.now(),
                who="uid:0",
                action=action,
                model="tiny",
                version=number,
                digest=chosen.digest,
                **more,
            )
        )

    def rows(self, table):
        with self.house.engine.connect() as connection:
            return connection.execute(sa.select(table)).all()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.house.engine.dispose()


def tiny(report):
    return [m.algorithm_version for m in report.manifests if m.name == "tiny"]


def test_a_promotion_works_with_the_next_study_and_a_rollback_with_the_one_after(desk):
    write_version(desk.shelf, MODELS / "plain.onnx", version="1.1.0", status="shadow", intercept=5.0)
    assert tiny(desk.answer("first")) == ["1.0.0"]
    desk.decide(Action.PROMOTE, "1.0.0")
    desk.decide(Action.PROMOTE, "1.1.0")
    second = desk.answer("second")
    assert tiny(second) == ["1.1.0"]
    assert {r.algorithm_version for r in second.results if r.algorithm_name == "Tiny"} == {"1.1.0"}
    started_anew = wiring.roster(desk.house).standing().named("tiny")
    assert started_anew is not None and started_anew.version.version == "1.1.0"
    (old,) = (d for d in desk.governance.decisions() if d.version == "1.0.0")
    desk.governance.decide(replace(old, action=Action.ROLLBACK))
    assert tiny(desk.answer("third")) == ["1.0.0"]


def test_a_frozen_model_is_not_asked_and_the_study_says_so(desk):
    desk.decide(Action.FREEZE, "1.0.0", reason="drift")
    report = desk.answer("first")
    assert tiny(report) == []
    assert RefusalCode.MODEL_FROZEN in {r.code for r in report.refusals if r.algorithm_name == "Tiny"}


def test_a_shadow_runs_after_the_answer_and_reaches_nobody(desk):
    write_version(desk.shelf, MODELS / "plain.onnx", version="1.1.0", status="shadow")
    assert desk.observer.step() is False  # in shadow from now on
    report = desk.answer("first")
    while desk.observer.step():
        pass
    (row,) = desk.rows(shadow_results)
    assert (row.report_uid, row.outcome, row.version) == (report.report_uid, "answered", "1.1.0")
    assert set(row.logits) == {"dark", "bright"}
    assert "1.1.0" not in {one.algorithm_version for one in desk.rows(results)}
    kept = [desk.house.objects.get(one.sha256) for one in desk.rows(documents)]
    assert kept and not any(b"1.1.0" in content for content in kept)
    (measured, *_) = desk.rows(input_statistics)
    assert 0.0 <= measured.figures["brightness"] <= 1.0


def test_nothing_is_asked_while_a_study_waits_for_its_answer(desk):
    write_version(desk.shelf, MODELS / "plain.onnx", version="1.1.0", status="shadow")
    desk.observer.step()
    desk.answer("first")
    waiting = desk.arrive("second")
    assert not desk.observer.has_work() and desk.observer.step() is False
    desk.analyst.analyse(waiting.study_instance_uid, waiting.revision)
    assert desk.observer.has_work() and desk.observer.step()


def test_a_failing_shadow_hurts_no_study(desk):
    write_version(desk.shelf, MODELS / "nan.onnx", version="1.1.0", status="shadow")
    desk.observer.step()
    report = desk.answer("first")
    with capture_logs() as logs:
        while desk.observer.step():
            pass
    assert [one.outcome for one in desk.rows(shadow_results)] == ["failed"]
    assert "model.runner_failed" in {one.get("code") for one in logs}
    assert tiny(report) == ["1.0.0"] and tiny(desk.answer("second")) == ["1.0.0"]


def test_a_shadow_that_kills_its_process_is_given_up(desk):
    write_version(desk.shelf, MODELS / "plain.onnx", version="1.1.0", status="shadow")
    desk.observer.step()
    (version,) = desk.roster.standing().shadow
    for number in range(MOST_KILLED):
        desk.answer(f"study {number}")
        (due,) = desk.observer.rows.due(version.digest, desk.house.clock.now() - timedelta(days=1), limit=1)
        desk.observer.rows.begin(due, version, at=desk.house.clock.now())  # and the process is gone
    fresh = wiring.observer(desk.house, desk.roster)
    desk.answer("one more")
    with capture_logs() as logs:
        while fresh.step():
            pass
    assert "shadow_given_up" in {one["event"] for one in logs}
    assert {one.outcome for one in desk.rows(shadow_results)} == {"begun"}


def test_the_observer_ends_when_it_is_alone(desk):
    mine, other = multiprocessing.Pipe(duplex=False)
    thread = threading.Thread(target=observe, args=(desk.observer, mine), daemon=True)
    thread.start()
    other.close()
    thread.join(60)
    assert not thread.is_alive()
    mine.close()


def test_the_process_does_the_work_and_ends_with_its_parent(desk):
    write_version(desk.shelf, MODELS / "plain.onnx", version="1.1.0", status="shadow")
    desk.observer.step()
    desk.answer("first")
    process = ObserverProcess(desk.settings, desk.observer)
    try:
        process.step()
        wait_until(
            lambda: [one.outcome for one in desk.rows(shadow_results)] == ["answered"],
            seconds=240,
            what="the shadow to answer",
        )
    finally:
        process.close()
