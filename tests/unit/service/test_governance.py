"""What a person decides about models: on evidence, in the audit log, with a way back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.analysis.versions import Rule, thresholds_of
from hoichan.errors import ConfigurationError, ManifestInvalid
from hoichan.guard.audit import Audited
from service.cli import app
from service.governance import report
from service.governance_page import render
from tests.unit.service.governance_site import Site

GATES = """
[gates]
reviews = 100
positives = 10
loss = 0.1
[gates.findings.pleural_effusion]
sensitivity = 0.8
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Filled once; tests that decide something go back to where they began."""
    site = Site(tmp_path_factory.mktemp("site"), gates=GATES)
    site.fill()
    yield site
    site.close()


def run(site, *arguments):
    found = CliRunner().invoke(app, ["model", *arguments, "--data-dir", str(site.folder)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_the_report_holds_shadow_and_live_against_what_was_signed(site):
    content = report(site.office, "tiny", None)
    effusion = content["findings"]["pleural_effusion"]
    assert (content["studies"], content["reviewed"]) == (120, 120)
    assert content["shadow"]["digest"] == site.shadow.digest
    assert effusion["live"]["positives"] == effusion["shadow"]["positives"] == 40
    assert effusion["shadow"]["auroc"] > 0.97 > effusion["live"]["auroc"]
    assert effusion["difference"]["auroc"]["ci95"][0] > 0
    assert {row["group"] for row in effusion["subgroups"]} == {"sender", "device", "view", "sex", "age"}
    assert effusion["changed"] and all(
        row["study_instance_uid"].startswith("2.25.") for row in effusion["changed"]
    )
    page = render(json.loads(json.dumps(content)))
    assert page.count("<svg") == 4 and "Maker &lt;1&gt;" in page and "Maker <1>" not in page
    for person in ("Nguyễn", "BNs", "BS Lan", "bs.lan"):
        assert person not in page and person not in json.dumps(content, ensure_ascii=False)


def test_report_promote_and_rollback_by_command(site, tmp_path):
    found = run(site, "report", "tiny", "--out", str(tmp_path))
    assert found.exit_code == 1  # pneumothorax: nobody has one, and ten are asked for
    assert json.loads((tmp_path / "report.json").read_text())["model"] == "tiny"
    assert "<svg" in (tmp_path / "report.html").read_text()
    with pytest.raises(ConfigurationError, match="gates do not hold"):
        run(site, "promote", "tiny")
    assert site.office.live("tiny").version.version == "1.0.0"
    run(site, "promote", "tiny", "--override", "no pneumothorax in these weeks")
    assert site.office.live("tiny").version.version == "1.1.0"
    decision = site.office.governance.decisions()[-1]
    assert decision.reason == "no pneumothorax in these weeks"
    assert any(not gate["held"] for gate in decision.gates)
    with pytest.raises(ConfigurationError, match="live already"):
        run(site, "promote", "tiny", "1.1.0")
    run(site, "rollback", "tiny", "--reason", "test")
    assert site.office.live("tiny").version.version == "1.0.0"
    with pytest.raises(ConfigurationError, match="Nothing was live before"):
        run(site, "rollback", "tiny")
    _, lines = site.house.audit.search(Wanted(what=Audited.MODEL_CHANGED), limit=9)
    assert [one.record.detail for one in reversed(lines)][-2:] == [
        "promote tiny 1.1.0 override",
        "rollback tiny 1.0.0",
    ]
    assert site.house.audit.verify() is None


def test_thresholds_by_capacity_are_proposed_and_applied_by_a_person(site, tmp_path):
    file = tmp_path / "t.json"
    asked = ("--finding", "pleural_effusion", "--per-week", "20", "--weeks", "2")
    found = run(site, "thresholds", "tiny", *asked, "--json", "--write", str(file))
    told = json.loads(found.stdout)
    assert told["applied"] is False and site.office.live("tiny").thresholds is None
    assert told["expected"]["flagged_per_week"] <= 20
    assert told["expected"]["reviewed"] == 120 and told["expected"]["known"]
    assert told["expected"]["missed_per_week"] > 0
    run(site, "thresholds", "tiny", "--from", str(file), "--apply", "--reason", "forty a week")
    live = site.office.live("tiny")
    assert live.thresholds is not None and live.thresholds.digest == told["digest"]
    assert live.manifest().algorithm_version == f"1.0.0+t.{told['digest'][:12]}"
    run(site, "rollback", "tiny")
    assert site.office.live("tiny").thresholds is None
    with pytest.raises(ConfigurationError, match="no statement"):
        run(site, "thresholds", "tiny", "--finding", "mass", "--per-week", "20")
    with pytest.raises(ConfigurationError, match="no study"):
        run(
            site,
            "thresholds",
            "tiny",
            "--finding",
            "pleural_effusion",
            "--per-week",
            "9",
            "--weeks",
            "1e-9",  # shorter than this test, however quick the machine
        )


def test_the_live_version_is_judged_with_the_thresholds_in_use(site):
    live = site.office.live("tiny")
    rules = {**thresholds_of(live.version.manifest).rules}
    rules["pleural_effusion"] = (Rule(operating_point=0.0, sex="F"), Rule(operating_point=1.0))
    held = replace(live, thresholds=replace(thresholds_of(live.version.manifest), rules=rules))
    (found,) = (c for k, c in site.office.cases(held, site.shadow).items() if k == "pleural_effusion")
    assert {c.live_present for c in found if c.groups["sex"] == "F"} == {True}
    assert {c.live_present for c in found if c.groups["sex"] == "M"} == {False}


def test_freeze_and_thaw(site):
    run(site, "freeze", "tiny", "--reason", "drift")
    told = json.loads(run(site, "status", "--json").stdout)
    (live,) = (one for one in told["live"] if one["model"] == "tiny")
    assert (live["version"], live["frozen"], live["digest"]) == ("1.0.0", True, site.live.digest)
    shadows = {one["version"]: one["outcomes"] for one in told["shadow"]}
    assert shadows["1.1.0"] == {"answered": 120}
    assert told["decisions"][-1]["reason"] == "drift"
    assert "FROZEN" in run(site, "status").stdout
    assert site.office.standing().frozen == {"tiny"}
    run(site, "thaw", "tiny", "--reason", "mended")
    assert site.office.standing().frozen == frozenset()


def test_a_version_that_is_not_there(site):
    with pytest.raises(ManifestInvalid, match=r"there are: 1\.0\.0, 1\.1\.0"):
        run(site, "promote", "tiny", "9.9.9")
    with pytest.raises(ManifestInvalid, match="No version of 'none'"):
        site.office.live("none")


def test_signing_by_command_and_what_verify_says(site, tmp_path, monkeypatch):
    key = tmp_path / "site.key"
    found = CliRunner().invoke(app, ["model", "sign", "--make-key", str(key)])
    assert found.exit_code == 0, found.output
    folder = str(site.live.manifest.root)
    config = tmp_path / "hoichan.toml"
    config.write_text(f'[models]\nrequire_signature = true\ntrusted_keys = ["{key}.pub"]\n')
    ask = ["model", "verify", folder, "--config", str(config), "--data-dir", str(site.folder)]
    assert "signature  FAILED" in CliRunner().invoke(app, ask).output
    assert CliRunner().invoke(app, ["model", "sign", folder, "--key", str(key)]).exit_code == 0
    assert "signature  passed" in CliRunner().invoke(app, ask).output


def test_scores_of_nobody_give_no_thresholds(site):
    since = site.house.clock.now() + timedelta(days=1)
    with pytest.raises(ConfigurationError):
        site.office.propose("tiny", "pleural_effusion", per_week=3, since=since)
