"""Volumes in what leaves after a signature: those that a person stands for, and nothing of the others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import dcmread

from hoichan import er7
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.fhir_checks import faults
from hoichan.reporting.signed import signed_report
from hoichan.reporting.volume_verdicts import measurement_id
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reviews import SIGNER, a_draft, a_review
from hoichan.testing.volumes import measured
from hoichan.types import DocumentKind, Verdict, VolumeJudgement

PACS = {"kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "PACS", "send": ["sc", "sr", "pdf"]}
HIS = {"kind": "hl7v2", "host": "127.0.0.1", "port": 2575}
SETTINGS = Settings.model_validate({"destinations": [{"name": "pacs", **PACS}, {"name": "his", **HIS}]})
STUDY = a_study(a_film())
REPORT = replace(a_report(STUDY), measurements=measured(STUDY, algorithm="Hoi Chan CXR Demo"))
IDS = [measurement_id(REPORT.report_uid, one) for one in REPORT.measurements]
GIVEN = (
    VolumeJudgement(measurement_id=IDS[0], verdict=Verdict.ACCEPTED, value_ml=1.524),
    VolumeJudgement(measurement_id=IDS[1], verdict=Verdict.EDITED, value_ml=1.4),
    VolumeJudgement(measurement_id=IDS[2], verdict=Verdict.REJECTED, reason="poor_image"),
)
VOLUME = "118565006"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Documents of the signature by kind; the fourth volume has no verdict."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    review = a_review(REPORT, STUDY, draft=replace(a_draft(REPORT), volumes=GIVEN))
    report = signed_report(REPORT, review, STUDY, time="08:32 20/11/2026")
    return {one.kind: one for one in DocumentEncoder(FolderOfFilms(folder), SETTINGS).encode(STUDY, report)}


def numbers(item):
    """(value, whether an algorithm is named) of each volume in a tree."""
    for child in item.ContentSequence:
        if child.ValueType == "NUM" and child.ConceptNameCodeSequence[0].CodeValue == VOLUME:
            named = [one.ConceptNameCodeSequence[0].CodeValue for one in child.get("ContentSequence", ())]
            yield float(child.MeasuredValueSequence[0].NumericValue), "111001" in named  # Algorithm Name
        if "ContentSequence" in child:
            yield from numbers(child)


def texts(item):
    for child in item.ContentSequence:
        if child.ValueType == "TEXT":
            yield child.TextValue
        if "ContentSequence" in child:
            yield from texts(child)


def test_the_sr_has_the_numbers_under_the_person_who_signed(made):
    document = dcmread(BytesIO(made[DocumentKind.SR].content))
    assert list(numbers(document)) == [(1.524, True), (1.4, False)]
    observers = [
        one.PersonName
        for one in document.ContentSequence
        if one.ValueType == "PNAME" and one.ConceptNameCodeSequence[0].CodeValue == "121008"
    ]
    assert [str(one) for one in observers] == ["Lê^Châu^Minh"]
    assert document.VerificationFlag == "VERIFIED"
    told = [one for one in texts(document) if "1,75 ml" in one]
    assert len(told) == 1 and told[0].startswith("Bác sĩ không xác nhận gợi ý của AI: Phần trước 1,75 ml.")
    assert not [one for one in texts(document) if "2,00 ml" in one]


def test_the_sr_names_the_slice_and_no_outline(made):
    document = dcmread(BytesIO(made[DocumentKind.SR].content))
    listed = {
        one.ReferencedSOPClassUID
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert "1.2.840.10008.5.1.4.1.1.66.4" not in listed
    groups = hd.sr.srread(BytesIO(made[DocumentKind.SR].content)).content.get_image_measurement_groups()
    assert len([one for one in groups if one.tracking_identifier.startswith("V-")]) == 2


@pytest.mark.parametrize("kind", [DocumentKind.SR, DocumentKind.SR_COMPREHENSIVE, DocumentKind.SR_ENHANCED])
def test_dciodvfy_finds_no_error(made, tmp_path, kind):
    judge = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    if judge is None:
        pytest.skip("dciodvfy is not installed")
    file = tmp_path / "signed.dcm"
    file.write_bytes(made[kind].content)
    done = subprocess.run([judge, "-new", str(file)], check=False, capture_output=True, text=True, timeout=60)
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    assert [one for one in errors if "PatientName" not in one] == []  # it counts bytes, not letters


def test_fhir_brings_the_same_observations_forward(made):
    bundle = json.loads(made[DocumentKind.FHIR].content)
    assert faults(bundle) == []
    found = {}
    for entry in bundle["entry"]:
        one = entry["resource"]
        if one["resourceType"] == "Observation" and one["code"]["coding"][0]["code"] == VOLUME:
            assert entry["request"]["method"] == "PUT"
            found[one["identifier"][0]["value"]] = (entry["fullUrl"], one)
    assert list(found) == IDS[:3]
    (first_url, first), (_, second), (third_url, third) = found.values()
    assert (first["status"], first["valueQuantity"]["value"], "device" in first) == ("final", 1.524, True)
    assert (second["status"], second["valueQuantity"]["value"], "device" in second) == ("final", 1.4, False)
    assert third["status"] == "cancelled"
    assert {one["performer"][0]["identifier"]["value"] for one in (first, second)} == {SIGNER.licence_number}
    (report,) = [
        entry["resource"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "DiagnosticReport"
    ]
    results = {one["reference"] for one in report["result"]}
    assert first_url in results and third_url not in results
    assert "Phần sau 1,40 ml (chuỗi hình 1, số đo của bác sĩ)" in report["conclusion"]


def test_hl7_has_the_numbers_of_the_person_and_takes_back_the_rejected(made):
    content = made[DocumentKind.HL7].content
    lines = [line.split("|") for line in content.decode().split("\r") if line.startswith("OBX|")]
    volumes = [one for one in lines if one[2] == "NM" and one[3].startswith(VOLUME)]
    assert [(one[5], one[11]) for one in volumes] == [("1.524", "F"), ("1.4", "F"), ("1.75", "D")]
    assert [bool(one[16]) for one in volumes[:2]] == [True, True]  # responsible observer
    assert len({(one[3], one[4]) for one in lines if one[3] != ""}) == len(lines)
    assert "Phần trước 1,52 ml" in " ".join(one[5] for one in lines if one[2] == "TX")
    assert er7.read(content).first("OBR").text(25) == "F"


def test_the_page_says_what_was_signed(made, tmp_path):
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("pdftotext is not installed")
    file = tmp_path / "page.pdf"
    file.write_bytes(dcmread(BytesIO(made[DocumentKind.PDF].content)).EncapsulatedDocument)
    command = [reader, "-enc", "UTF-8", str(file), "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    text = " ".join(done.stdout.split())
    assert "Phần trước 1,52 ml" in text and "1,75 ml" not in text
