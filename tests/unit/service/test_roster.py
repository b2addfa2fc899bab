"""The models in use: looked up before each study, so that a decision works without a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from hoichan.adapters.database import open_database
from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.schema import metadata
from hoichan.adapters.signatures import make_key, sign
from hoichan.analysis.manifests import load
from hoichan.analysis.standing import Action, Decision
from hoichan.analysis.versions import Rule, find, read, thresholds_of
from hoichan.errors import InputOutOfDomain, ManifestInvalid, RecordsUnavailable
from hoichan.settings import Models
from hoichan.testing import a_study
from hoichan.testing.ports import FakeClock, FakeRunner
from service.roster import Roster, Thawed
from tests.unit.analysis.test_versions import make_package

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'records.sqlite'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def shelf(tmp_path):
    make_package(tmp_path / "models" / "cxr-small")
    make_package(tmp_path / "models" / "cxr-small" / "1.1.0", version="1.1.0", status="shadow")
    return tmp_path / "models"


@pytest.fixture
def governance(engine):
    return GovernanceSql(engine)


def decided(shelf, action, number, **more):
    versions, _ = find([shelf])
    (chosen,) = (one for one in versions if one.version == number)
    return Decision(
        at=AT,
        who="uid:0",
        action=action,
        model=chosen.name,
        version=chosen.version,
        digest=chosen.digest,
        **more,
    )


def numbers(roster):
    return [one.algorithm_version for one in roster.manifests(a_study())]


def test_the_next_study_has_the_promoted_version(shelf, governance):
    told = []
    roster = Roster((shelf,), Models(), governance, changed=told.append)
    assert numbers(roster) == ["1.0.0"]
    first = roster.standing()
    assert roster.standing() is first  # nothing is read again while nothing is decided
    gates = ({"gate": "auroc", "held": True},)
    governance.decide(
        decided(shelf, Action.PROMOTE, "1.0.0"),
        decided(shelf, Action.PROMOTE, "1.1.0", gates=gates, reason="better"),
    )
    assert numbers(roster) == ["1.1.0"]
    assert governance.decisions()[-1].gates == gates
    governance.decide(decided(shelf, Action.ROLLBACK, "1.0.0"))
    assert numbers(roster) == ["1.0.0"]
    assert [one.live[0].version.version for one in told] == ["1.1.0", "1.0.0"]


def test_thresholds_that_were_applied_are_for_the_patient(shelf, governance):
    roster = Roster((shelf,), Models(), governance)
    made = replace(
        thresholds_of(load(shelf / "cxr-small")),
        rules={"pleural_effusion": (Rule(operating_point=0.1, sex="F"), Rule(operating_point=0.9))},
    )
    for _ in range(2):
        governance.keep(made, at=AT, basis={"studies": 200})
    governance.decide(decided(shelf, Action.THRESHOLDS, "1.0.0", thresholds=made.digest))
    (manifest,) = roster.manifests(a_study())
    assert manifest.outputs[0].operating_point == 0.1
    assert manifest.algorithm_version == f"1.0.0+t.{made.digest[:12]}"


def test_a_decision_that_cannot_be_done_leaves_what_was_in_use(shelf, governance):
    roster = Roster((shelf,), Models(), governance)
    assert numbers(roster) == ["1.0.0"]
    governance.decide(replace(decided(shelf, Action.PROMOTE, "1.1.0"), digest="0" * 64))
    with capture_logs() as logs:
        assert numbers(roster) == ["1.0.0"]
    assert [one["event"] for one in logs] == ["models_not_changed"]
    with pytest.raises(ManifestInvalid, match="changed since"):
        Roster((shelf,), Models(), governance).standing()


def test_a_new_package_is_seen_and_goes_into_shadow(shelf, governance):
    roster = Roster((shelf,), Models(), governance)
    roster.standing()
    make_package(shelf / "cxr-small" / "1.2.0", version="1.2.0", status="shadow")
    make_package(shelf / "cxr-small" / "0.9.0", version="0.9.0")
    assert [one.version for one in roster.standing().shadow] == ["1.1.0", "1.2.0"]
    assert numbers(roster) == ["1.0.0"]


def test_a_broken_shadow_stops_nobody_and_a_broken_model_stops_the_start(shelf, governance):
    (shelf / "cxr-small" / "1.1.0" / "weights.onnx").write_bytes(b"torn")
    with capture_logs() as logs:
        assert numbers(Roster((shelf,), Models(), governance)) == ["1.0.0"]
    assert {"event": "model_package_invalid", "package": "cxr-small/1.1.0"}.items() <= logs[0].items()
    (shelf / "cxr-small" / "weights.onnx").write_bytes(b"torn")
    with pytest.raises(ManifestInvalid, match="checksum"):
        Roster((shelf,), Models(), governance).standing()


def test_what_is_not_signed_is_not_loaded_where_the_site_says_so(shelf, governance, tmp_path):
    make_key(tmp_path / "site.key", tmp_path / "site.pub")
    strict = Models(require_signature=True, trusted_keys=(tmp_path / "site.pub",))
    with pytest.raises(ManifestInvalid, match="not signed"):
        Roster((shelf,), strict, governance).standing()
    sign(read(shelf / "cxr-small"), tmp_path / "site.key")
    standing = Roster((shelf,), strict, governance).standing()
    assert [one.version.version for one in standing.live] == ["1.0.0"]
    assert standing.shadow == ()  # the other one is not signed


def test_a_frozen_model_says_so_with_the_next_image(shelf, governance):
    roster = Roster((shelf,), Models(), governance)
    runner = Thawed(FakeRunner(FakeClock()), roster)
    study = a_study()
    (manifest,) = roster.manifests(study)
    runner.run(manifest, study, study.instances[0])
    governance.decide(decided(shelf, Action.FREEZE, "1.0.0", reason="drift"))
    with pytest.raises(InputOutOfDomain) as caught:
        runner.run(manifest, study, study.instances[0])
    assert caught.value.reason == "model_frozen"
    governance.decide(decided(shelf, Action.THAW, "1.0.0"))
    runner.run(manifest, study, study.instances[0])


def test_a_database_that_is_away_is_told(shelf, governance, engine):
    roster = Roster((shelf,), Models(), governance)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE model_decisions RENAME TO gone"))
    with pytest.raises(RecordsUnavailable):
        roster.standing()


def test_the_shadow_begins_once(shelf, governance):
    version = find([shelf])[0][0]
    assert governance.enter_shadow(version, at=AT) == AT
    assert governance.enter_shadow(version, at=datetime(2027, 1, 1, tzinfo=UTC)) == AT
