"""An EMR that nobody of us wrote: its tokens, its patients, and its versions."""

from __future__ import annotations

import json
import subprocess
import urllib.error

import pytest
from typer.testing import CliRunner

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.errors import Refused, Unreachable
from hoichan.reporting import plan
from hoichan.settings import FhirDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT
from hoichan.testing.tokens import private_key
from service.cli import app
from tests.peers import emr as emr_module

pytestmark = pytest.mark.skipif(
    not emr_module.is_available(), reason="sekmet-fhir is not installed: make .venv-emr/.emr"
)
NUMBERS = f"{Settings().site.identifier_base}/id/patient"
STUDY = a_study(a_film(91))


class Known:
    """Whose the study is; nobody has chosen anything."""

    chosen = None

    def reference(self, destination, study, subject_sha256):
        return self.chosen

    def patient(self, study):
        return STUDY.patient


def deliver(emr, folder, known=None, **changes):
    (folder / "film.dcm").write_bytes(as_bytes(a_film(91)))
    report = a_report(STUDY)
    documents = DocumentEncoder(FolderOfFilms(folder), Settings()).encode(STUDY, report)
    destination = FhirDestination(name="emr", kind="fhir", url=emr.url, **changes)
    (delivery,) = plan(report, STUDY, [destination], documents, REPORTED_AT)
    fhir = [one for one in documents if one.kind in delivery.documents]
    return FhirSink(destination, known).deliver(delivery, fhir)


def test_it_gives_a_token_for_our_signature_and_takes_the_report(tmp_path):
    key = private_key(tmp_path)
    public = tmp_path / "public.pem"
    subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    client = f"client_id: hoichan, public_key_path: {public}, client_secret: unused, scopes: 'system/*.*'"
    (tmp_path / "emr").mkdir()
    with emr_module.Emr(tmp_path / "emr", auth=f"types: [smart], smart_clients: [{{{client}}}]") as emr:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            emr.search("DiagnosticReport")
        auth = {"kind": "smart", "client_id": "hoichan", "private_key": key, "scope": "system/*.*"}
        # the token is good; that the EMR knows no such patient is told as what it is
        with pytest.raises(Refused, match="patient_unmatched: none"):
            deliver(emr, tmp_path, auth=auth)
        (tmp_path / "other").mkdir()
        wrong = {**auth, "private_key": private_key(tmp_path / "other")}
        with pytest.raises(Unreachable, match="no token"):
            deliver(emr, tmp_path, auth=wrong)


def test_a_patient_whom_it_knows_twice_waits_for_a_person(tmp_path):
    (tmp_path / "emr").mkdir()
    with emr_module.Emr(tmp_path / "emr") as emr:
        with pytest.raises(Refused, match="patient_unmatched: none"):
            deliver(emr, tmp_path)
        emr.create_patient(NUMBERS, PATIENT_ID)
        emr.create_patient(NUMBERS, PATIENT_ID)
        with pytest.raises(Refused, match="patient_unmatched: several"):
            deliver(emr, tmp_path)
        assert emr.search("DiagnosticReport") == []
        known = Known()
        known.chosen = f"Patient/{emr.search('Patient')[1]['id']}"
        assert deliver(emr, tmp_path, known) == "200"
        (report,) = emr.search("DiagnosticReport")
        assert report["subject"]["reference"] == known.chosen


def test_somebody_else_under_the_number_gets_no_report(tmp_path):
    (tmp_path / "emr").mkdir()
    with emr_module.Emr(tmp_path / "emr") as emr:
        emr.create_patient(NUMBERS, PATIENT_ID, family="Trần Văn Khác")
        with pytest.raises(Refused, match="patient_unmatched: differs"):
            deliver(emr, tmp_path, Known(), compare_patient=True)
        assert emr.search("DiagnosticReport") == []


def test_a_trial_is_sent_in_both_statuses_and_taken_back(tmp_path):
    (tmp_path / "emr").mkdir()
    with emr_module.Emr(tmp_path / "emr") as emr:
        emr.create_patient(NUMBERS, "T1", family="THỬ NGHIỆM")
        config = tmp_path / "hoichan.toml"
        config.write_text(emr.destination(), encoding="utf-8")
        options = ["--config", str(config), "--data-dir", str(tmp_path / "data"), "--json"]
        done = CliRunner().invoke(
            app, ["try", "emr", "--patient-id", "T1", "--shows", "preliminary", *options]
        )
        assert done.exit_code == 0, done.output
        answer = json.loads(done.stdout)
        assert answer["stored"] == answer["taken_back"] == ["partial", "preliminary"]
        assert answer["unread_status"] == "preliminary"
        found = emr.search("DiagnosticReport")
        assert [one["status"] for one in found] == ["entered-in-error"] * 2
        assert len(emr.search("Patient")) == 1
