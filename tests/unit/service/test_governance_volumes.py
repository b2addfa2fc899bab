"""Two versions of a network for volumes under governance: report, signature, promotion, way back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hoichan.adapters.schema import reports, revisions, studies
from hoichan.adapters.schema_governance import shadow_results
from hoichan.adapters.schema_volumes import volume_results
from hoichan.analysis.versions import read
from hoichan.errors import ConfigurationError
from hoichan.uids import derived_uid
from service.cli import app
from service.governance import report
from service.governance_volumes import render_volumes
from tests.unit.service.governance_site import Site

SHIPPED = Path(__file__).parents[3] / "models" / "hippocampus"
NAME, NEW = "hippocampus", "9.0.0"
FRONT, BACK = "HIPP-ANTERIOR", "HIPP-POSTERIOR"


class VolumeSite(Site):
    """The shipped package live, and another version of it in shadow; ten series by both, one by the first."""

    def __init__(self, folder):
        super().__init__(folder)
        package = folder / "models" / NAME / NEW
        leave = shutil.ignore_patterns("model.pt")  # torch's weights: another file, and another digest
        shutil.copytree(SHIPPED, package, ignore=leave)
        text = (package / "volume.toml").read_text(encoding="utf-8")
        text = text.replace('status = "research"', 'status = "shadow"').replace('"1.1.0"', f'"{NEW}"')
        (package / "volume.toml").write_text(text, encoding="utf-8")
        self.volumes = read(package)
        for number in range(11):
            self._series(number, shadow=number < 10)

    def _series(self, number, *, shadow):
        uid, told = derived_uid("vol", str(number)), derived_uid("vol", str(number), "report")
        slices = [derived_uid("vol", str(number), f"slice {n}") for n in range(3)]
        at, ml = self.house.clock.now(), {FRONT: 1.5 + number / 10, BACK: 1.2 + number / 20}
        study = {
            "study_instance_uid": uid,
            "state": "reported",
            "last_revision": 1,
            "calling_ae_title": "MR1",
            "patient_age_years": 30 + 4 * number,
            "first_received_at": at,
            "last_received_at": at,
            "modalities": "MR",
            "patient_id": f"BN{number}",
            "patient_name": "Nguyễn^An",
            "patient_sex": "FM"[number % 2],
        }
        revision = {
            "study_instance_uid": uid,
            "revision": 1,
            "state": "reported",
            "closed_by": "quiet_time",
            "assembled_at": at,
        }
        made = {
            "report_uid": told,
            "study_instance_uid": uid,
            "revision": 1,
            "status": "unverified",
            "outcome": "without_findings",
            "refusals": [],
            "conclusion": {},
            "disclaimer": {},
            "predecessor": None,
            "created_at": at,
            "algorithms": [],
            "findings": [],
        }
        live = {
            "report_uid": told,
            "series_instance_uid": derived_uid("vol", str(number), "series"),
            "algorithm_name": self.volumes.manifest.algorithm_name,
            "algorithm_version": "1.1.0",
            "weights_sha256": self.volumes.manifest.weights_sha256,
            "measurements": [{"code": {"code_value": code}, "value": value} for code, value in ml.items()],
            "voxels": [3, 40, 40],
            "voxel_ml": 0.001,
            "sop_instance_uids": slices,
            "provider": "CPU",
            "started_at": at,
            "ended_at": at,
        }
        with self.engine.begin() as connection:
            for table, row in (
                (studies, study),
                (revisions, revision),
                (reports, made),
                (volume_results, live),
            ):
                connection.execute(table.insert(), row)
            if shadow:
                connection.execute(
                    shadow_results.insert(),
                    {
                        "report_uid": told,
                        "sop_instance_uid": slices[0],
                        "digest": self.volumes.digest,
                        "model": NAME,
                        "version": NEW,
                        "outcome": "answered",
                        "logits": {FRONT: ml[FRONT] + 0.1, BACK: ml[BACK]},
                        "started_at": at,
                        "ended_at": at,
                    },
                )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = VolumeSite(tmp_path_factory.mktemp("volumes"))
    yield site
    site.close()


def run(site, *arguments):
    found = CliRunner().invoke(app, ["model", *arguments, "--data-dir", str(site.folder)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_the_report_holds_millilitres_against_each_other(site):
    content = report(site.office, NAME, None)
    assert content["series"] == {"both": 10, "live_only": 1, "shadow_only": 0}
    front, back = content["parts"][FRONT], content["parts"][BACK]
    assert (front["n"], back["n"]) == (10, 10)
    assert front["bias_ml"] == pytest.approx(0.1) and back["bias_ml"] == pytest.approx(0.0)
    assert back["concordance"] == pytest.approx(1.0) and front["concordance"] < 0.99
    assert {row["group"] for row in front["subgroups"]} == {"sender", "device", "sex", "age"}
    page = render_volumes(json.loads(json.dumps(content)))
    assert page.count("<svg") == 2 and "Phần trước hồi hải mã" in page and "not accuracy" in page
    for person in ("Nguyễn", "BN1"):
        assert person not in page and person not in json.dumps(content, ensure_ascii=False)


def test_the_command_writes_both_forms(site, tmp_path):
    found = run(site, "report", NAME, "--out", str(tmp_path))
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["kind"] == "volumes"
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_version_that_nobody_saw_has_an_empty_report(site):
    content = report(site.office, NAME, "1.1.0")  # the live one against itself
    assert content["parts"][FRONT]["bias_ml"] == 0.0
    rendered = render_volumes({**content, "parts": {}})
    assert "1.1.0 against 1.1.0" in rendered


def test_it_is_signed_promoted_by_a_person_and_taken_back(site, tmp_path):
    package = site.folder / "models" / NAME / NEW
    signed = CliRunner().invoke(app, ["model", "sign", str(package), "--make-key", str(tmp_path / "k")])
    assert signed.exit_code == 0 and (package / "signature.json").is_file()
    with pytest.raises(ConfigurationError, match="measures volumes"):
        run(site, "promote", NAME, NEW)
    assert run(site, "promote", NAME, NEW, "--override", "biases are small").exit_code == 0
    assert site.office.live(NAME).version.version == NEW
    assert site.office.live(NAME).version.digest == site.volumes.digest  # a signature changes no digest
    run(site, "rollback", NAME, "--reason", "test")
    assert site.office.live(NAME).version.version == "1.1.0"
    assert site.house.audit.verify() is None
