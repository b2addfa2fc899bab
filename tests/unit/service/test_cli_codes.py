"""`hoichan codes`: what is loaded counts, what was before stays on record."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.unit.test_site_codes import INDICATORS


@pytest.fixture
def run(tmp_path):
    def call(*words, file=None):
        if file is not None:
            (tmp_path / "codes.csv").write_text(file, encoding="utf-8")
            words = (*words, str(tmp_path / "codes.csv"))
        return CliRunner().invoke(app, ["codes", *words, "--data-dir", str(tmp_path / "data")])

    return call


def test_a_table_is_loaded_listed_and_replaced(run):
    loaded = run("load", "indicator", file=INDICATORS)
    assert loaded.exit_code == 0 and "4 codes." in loaded.output and "1 of them name nobody" in loaded.output
    assert "in force already" in run("load", "indicator", file=INDICATORS).output
    listed = run("list", "indicator", "--at", "2026-07-01", "--json")
    codes = [one["code"] for one in json.loads(listed.stdout)["codes"]]
    assert codes == ["2100002", "2100003", "2100004"]
    assert run("load", "indicator", file="code,display\n7,x\n").exit_code == 0
    assert [one["code"] for one in json.loads(run("list", "indicator", "--json").stdout)["codes"]] == ["7"]
    counted = run("list").stdout
    assert "indicator" in counted and "never" in counted
    assert run("load", "indicator", file=INDICATORS).output.startswith("indicator: 4 codes.")
    assert len(json.loads(run("list", "indicator", "--json").stdout)["codes"]) == 4


def test_a_broken_file_changes_nothing(run):
    run("load", "icd10", file="code,display\nJ90,Tràn dịch màng phổi\n")
    broken = run("load", "icd10", file="code,display\nJ90,x\nJ9,y\n")
    assert broken.exit_code == 1 and "line 3" in broken.output
    assert "Tràn dịch màng phổi" in run("list", "icd10").stdout


def test_suggestions_are_compared_with_the_list_of_the_site(run):
    assert run("check").exit_code == 2
    lines = [
        "code,display,valid_from,valid_until,usable,verified_by",
        "J90,Tràn dịch màng phổi,2026-07-01,,yes,BS An",
        "J81,Phù phổi,,2026-06-30,yes,BS An",
        "I51.7,Bóng tim to,,,no,BS An",
    ]
    loaded = run("load", "icd10", file="\n".join(lines) + "\n")
    assert loaded.exit_code == 0 and "suggestions of ours do not fit" in loaded.output
    checked = run("check", "--at", "2026-11-22", "--json")
    assert checked.exit_code == 1
    found = {one["finding_key"]: one["reason"] for one in json.loads(checked.stdout)["misfits"]}
    assert "pleural_effusion" not in found
    assert (found["edema"], found["cardiomegaly"]) == ("expired", "not_usable")
    assert found["pneumothorax"] == "unknown"
    before = run("check", "--at", "2026-06-01").stdout
    assert "J90      for pleural_effusion: not in force yet" in before and "for edema" not in before
