"""Two versions of a network for volumes under governance: report, signature, promotion, way back."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hoichan.adapters.rows import measurements
from hoichan.adapters.schema import reports, revisions, studies
from hoichan.adapters.schema_governance import shadow_results
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.schema_volumes import volume_results
from hoichan.analysis.versions import read
from hoichan.errors import ConfigurationError, ManifestInvalid
from hoichan.reporting.volume_verdicts import measurement_id
from hoichan.uids import derived_uid
from service.cli import app
from service.governance import report
from service.governance_volumes_page import render_volumes
from tests.unit.service.governance_site import Site

SHIPPED = Path(__file__).parents[3] / "models" / "hippocampus"
NAME, NEW = "hippocampus", "9.0.0"
FRONT, BACK = "HIPP-ANTERIOR", "HIPP-POSTERIOR"


class VolumeSite(Site):
    """The shipped package live, and another version of it in shadow; ten series by both, one by the first."""

    def __init__(self, folder, gates=""):
        super().__init__(folder)
        package = folder / "models" / NAME / NEW
        leave = shutil.ignore_patterns("model.pt")  # torch's weights: another file, and another digest
        shutil.copytree(SHIPPED, package, ignore=leave)
        text = (package / "volume.toml").read_text(encoding="utf-8")
        text = text.replace('status = "research"', 'status = "shadow"').replace('"1.1.0"', f'"{NEW}"')
        (package / "volume.toml").write_text(text + gates, encoding="utf-8")
        self.volumes = read(package)
        for number in range(11):
            self._series(number, shadow=number < 10)

    def _measured(self, number, ml):
        return [
            {
                "code": {"code_value": code, "coding_scheme_designator": "99HOICHAN", "code_meaning": code},
                "region": None,
                "display": {"en": code},
                "value": value,
                "unit": "ml",
                "segment_number": segment,
                "segmentations": {},
                "series_instance_uid": derived_uid("vol", str(number), "series"),
                "sop_instance_uid": derived_uid("vol", str(number), "slice 1"),
                "algorithm_name": self.volumes.manifest.algorithm_name,
                "algorithm_version": "1.1.0",
            }
            for segment, (code, value) in enumerate(ml.items(), start=1)
        ]

    def sign(self, number, said, *, signature=1):
        """A review: part -> ml that stands there, None for a rejection; of other parts no word."""
        uid, told = derived_uid("vol", str(number)), derived_uid("vol", str(number), "report")
        with self.engine.begin() as connection:
            rows = connection.execute(
                volume_results.select().where(volume_results.c.report_uid == told)
            ).mappings()
            measured = {one.code.code_value: one for row in rows for one in measurements(row["measurements"])}
            volumes = [
                {
                    "measurement_id": measurement_id(told, measured[code]),
                    "verdict": "rejected"
                    if ml is None
                    else "accepted"
                    if ml == measured[code].value
                    else "edited",
                    "value_ml": ml,
                    "reason": "other" if ml is None else "",
                }
                for code, ml in said.items()
            ]
            signed = {
                "report_uid": derived_uid("vol", str(number), f"review {signature}"),
                "study_instance_uid": uid,
                "number": signature,
                **dict.fromkeys(("judged", "predecessor", "known_as"), told),
                "revision": 1,
                "kind": "final" if signature == 1 else "amendment",
                "reviewer": "bs.lan",
                "reviewer_name": "BS Lan",
                "licence_number": "001",
                "language": "vi",
                "reason": "",
                "signed_at": self.house.clock.now() + timedelta(minutes=signature),
                "judgements": [],
                "sections": dict.fromkeys(("description", "conclusion", "recommendation", "comparison"), ""),
                "may_train": False,
                "seconds_spent": 60,
                "content_sha256": "0" * 64,
                "volumes": volumes or None,
            }
            connection.execute(reviews.insert(), signed)
            return signed["report_uid"]

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
            "measurements": self._measured(number, ml),
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
    assert page.count("<svg") == 2 and "Phần trước hồi hải mã" in page and "No reader has judged" in page
    for person in ("Nguyễn", "BN1"):
        assert person not in page and person not in json.dumps(content, ensure_ascii=False)


def test_the_command_writes_both_forms(site, tmp_path):
    found = run(site, "report", NAME, "--out", str(tmp_path))
    assert found.exit_code == 1, found.output  # nobody has judged a volume: no gate holds
    assert f"{FRONT}  reviews  0.000  bar 100.000  DOES NOT HOLD" in found.output
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
    with pytest.raises(ConfigurationError, match="2 gates do not hold"):
        run(site, "promote", NAME, NEW)
    assert run(site, "promote", NAME, NEW, "--override", "biases are small").exit_code == 0
    assert site.office.live(NAME).version.version == NEW
    assert site.office.live(NAME).version.digest == site.volumes.digest  # a signature changes no digest
    run(site, "rollback", NAME, "--reason", "test")
    assert site.office.live(NAME).version.version == "1.1.0"
    assert site.house.audit.verify() is None


@pytest.fixture(scope="module")
def read_site(tmp_path_factory):
    """As `site`, with gates and ten studies that somebody read."""
    gates = "[gates]\nreviews = 8\nwithin = 0.1\n[gates.parts.HIPP-POSTERIOR]\nright = 0.6\nlimit_ml = 1.5\n"
    site = VolumeSite(tmp_path_factory.mktemp("read"), "\n" + gates)
    for number in range(10):
        back = 1.2 + number / 20
        front = {FRONT: 1.5 + number / 10} if number < 8 else {}  # of two nobody said a word
        site.sign(number, {**front, BACK: None if number == 0 else back + 0.5 if number < 3 else back})
    yield site
    site.close()


def test_the_report_tells_what_readers_let_stand(read_site):
    content = report(read_site.office, NAME, None)
    assert content["reviewed"] == 10
    front, back = content["parts"][FRONT], content["parts"][BACK]
    (shown,) = back["verdicts"]
    assert (shown["version"], shown["n"], shown["studies"]) == ("1.1.0", 10, 10)
    assert [shown[name]["k"] for name in ("confirmed", "corrected", "rejected")] == [7, 2, 1]
    assert shown["correction_ml"]["median"] == pytest.approx(0.5)
    assert front["verdicts"][0]["n"] == front["readers"]["n"] == 8
    assert front["readers"]["live"]["right"]["share"] == 1.0
    assert front["readers"]["shadow"]["off_ml"]["median"] == pytest.approx(0.1)
    assert back["readers"]["live"]["right"] == back["readers"]["shadow"]["right"]  # the same numbers
    assert back["readers"]["shadow"]["right"]["share"] == pytest.approx(0.7)
    page = render_volumes(json.loads(json.dumps(content)))
    assert "All gates hold." in page and "0.70 (0.40–0.89), 7 of 10" in page and "bs.lan" not in page


def test_an_amendment_replaces_what_was_said_and_a_retracted_review_says_nothing(tmp_path):
    site = VolumeSite(tmp_path)
    try:
        site.sign(1, {FRONT: None})
        site.sign(1, {FRONT: 1.6}, signature=2)
        gone = site.sign(2, {FRONT: None})
        site.sign(3, {})
        with site.engine.begin() as connection:
            row = {"report_uid": gone, "study_instance_uid": "2.25.2", "revision": 1, "destinations": []}
            person = {"patient_id": "BN2", "patient_name": "Nguyễn^An", "asked_at": site.house.clock.now()}
            connection.execute(retractions.insert(), {**row, **person})
        content = report(site.office, NAME, None)
        (shown,) = content["parts"][FRONT]["verdicts"]
        assert (content["reviewed"], shown["confirmed"]["k"], shown["rejected"]["k"]) == (1, 1, 0)
    finally:
        site.close()


def test_gates_that_hold_promote_without_an_override(read_site):
    found = run(read_site, "promote", NAME, NEW)
    assert found.exit_code == 0 and "DOES NOT HOLD" not in found.output, found.output
    decision = read_site.office.governance.decisions()[-1]
    assert (decision.version, decision.reason) == (NEW, "")
    assert {gate["gate"] for gate in decision.gates} == {"reviews", "right_against_live", "right", "limit_ml"}
    run(read_site, "rollback", NAME)
    read_site.sign(10, {})  # a review without a word of volumes changes nothing
    assert run(read_site, "report", NAME, "--against", NEW).exit_code == 0


def test_gates_of_a_part_that_is_not_outlined_are_refused(tmp_path):
    package = tmp_path / NAME
    shutil.copytree(SHIPPED, package)
    text = (package / "volume.toml").read_text(encoding="utf-8")
    (package / "volume.toml").write_text(text + "\n[gates.parts.SPLEEN]\nright = 0.9\n", encoding="utf-8")
    with pytest.raises(ManifestInvalid, match="does not outline"):
        read(package)
