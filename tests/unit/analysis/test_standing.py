"""What is live, in shadow and frozen: decided by people, never by what lies on the shelf alone."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from hoichan.analysis.standing import Action, Decision, stand, way_back
from hoichan.analysis.versions import Rule, Version, thresholds_of
from hoichan.errors import ManifestInvalid
from hoichan.testing import a_manifest, a_study

AT = datetime(2026, 11, 20, tzinfo=UTC)


def version(number, status="research", name="cxr"):
    manifest = a_manifest(
        ["pleural_effusion"],
        name=name,
        algorithm_version=number,
        status=status,
        root=PurePosixPath(f"/models/{name}/{number}"),
    )
    return Version(manifest=manifest, digest=f"{name}-{number}")


OLD, NEW = version("1.0.0"), version("1.1.0", "shadow")


def decision(action, chosen, **more):
    named = {"model": chosen.name, "version": chosen.version, "digest": chosen.digest}
    return Decision(action=action, at=AT, who="uid:0", **named, **more)


def look(versions, *decisions, thresholds=None, pins=None, former=None):
    return stand(versions, decisions, thresholds=thresholds or {}, pins=pins or {}, former=former)


def numbers(standing):
    return [m.algorithm_version for m in standing.manifests()], [v.version for v in standing.shadow]


def test_a_new_version_enters_in_shadow():
    assert numbers(look([OLD, NEW])) == (["1.0.0"], ["1.1.0"])
    assert numbers(look([NEW])) == ([], ["1.1.0"])


def test_promoted_it_is_live_and_the_old_one_rests():
    standing = look([OLD, NEW], decision(Action.PROMOTE, OLD), decision(Action.PROMOTE, NEW))
    assert numbers(standing) == (["1.1.0"], [])
    assert [m.status for m in standing.manifests()] == ["research"]


def test_rolled_back_it_is_in_shadow_again():
    decisions = [decision(Action.PROMOTE, OLD), decision(Action.PROMOTE, NEW)]
    back = way_back(decisions, "cxr")
    assert back is not None and back.version == "1.0.0"
    decisions.append(decision(Action.ROLLBACK, OLD))
    assert numbers(look([OLD, NEW], *decisions)) == (["1.0.0"], ["1.1.0"])
    assert way_back(decisions, "cxr") is None


def test_the_way_back_leads_through_every_state_in_turn():
    third = version("1.2.0", "shadow")
    own = thresholds_of(NEW.manifest)
    decisions = [
        decision(Action.PROMOTE, OLD),
        decision(Action.PROMOTE, NEW),
        decision(Action.FREEZE, NEW),
        decision(Action.THRESHOLDS, NEW, thresholds=own.digest),
        decision(Action.PROMOTE, version("9.0.0", name="other")),
        decision(Action.PROMOTE, third),
    ]
    for expected in (("1.1.0", own.digest), ("1.1.0", None), ("1.0.0", None)):
        back = way_back(decisions, "cxr")
        assert back is not None and (back.version, back.thresholds) == expected
        decisions.append(replace(back, action=Action.ROLLBACK))
    assert way_back(decisions, "cxr") is None
    assert way_back([], "cxr") is None


def test_a_frozen_model_answers_nobody_and_runs_on_in_shadow():
    standing = look([OLD], decision(Action.FREEZE, OLD))
    assert standing.frozen == {"cxr"}
    assert numbers(standing) == (["1.0.0"], ["1.0.0"])
    thawed = look([OLD], decision(Action.FREEZE, OLD), decision(Action.THAW, OLD))
    assert thawed.frozen == frozenset() and numbers(thawed) == (["1.0.0"], [])


def test_what_is_in_use_must_be_the_package_that_was_promoted():
    changed = replace(NEW, digest="another")
    with pytest.raises(ManifestInvalid, match="was changed since"):
        look([OLD, changed], decision(Action.PROMOTE, NEW))
    with pytest.raises(ManifestInvalid, match="not on this machine"):
        look([OLD], decision(Action.PROMOTE, NEW))


def test_a_pin_holds_a_package_fast():
    assert numbers(look([OLD], pins={"cxr": OLD.digest})) == (["1.0.0"], [])
    with pytest.raises(ManifestInvalid, match="pins"):
        look([OLD], pins={"cxr": "0" * 64})


def test_no_package_goes_live_under_a_running_worker_by_lying_there():
    before = look([OLD])
    another = version("0.9.0")  # found first
    assert numbers(look([another, OLD], former=before)) == (["1.0.0"], [])
    assert numbers(look([another, OLD])) == (["0.9.0"], [])
    assert numbers(look([another], former=before)) == (["0.9.0"], [])  # what was live is gone


def test_thresholds_that_were_applied_are_a_part_of_the_version():
    made = replace(
        thresholds_of(OLD.manifest),
        rules={"pleural_effusion": (Rule(operating_point=0.1, sex="F"), Rule(operating_point=0.9))},
    )
    standing = look(
        [OLD],
        decision(Action.THRESHOLDS, OLD, thresholds=made.digest),
        thresholds={made.digest: made},
    )
    (manifest,) = standing.manifests(a_study().patient)
    assert manifest.outputs[0].operating_point == 0.1
    assert manifest.algorithm_version == f"1.0.0+t.{made.digest[:12]}"
    with pytest.raises(ManifestInvalid, match="not on record"):
        look([OLD], decision(Action.THRESHOLDS, OLD, thresholds="f" * 64))
    with pytest.raises(ManifestInvalid, match="not for"):  # told at once, not with the first study
        look(
            [OLD, NEW],
            decision(Action.PROMOTE, NEW, thresholds=made.digest),
            thresholds={made.digest: made},
        )
