"""What leaves after a signature, in every form: a person's words, and nothing that calls it unread."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from html import escape
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import highdicom as hd
import pytest
from pydicom import dcmread

from hoichan import codes, er7
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.fhir_checks import faults
from hoichan.encoding.fhir_imr import PROFILE
from hoichan.encoding.images import picture_uid
from hoichan.encoding.retraction import BY_A_READER, withdraw
from hoichan.encoding.signer import dicom_name
from hoichan.reporting import plan
from hoichan.reporting.deliveries import plan_retraction
from hoichan.reporting.reviews import finding_id
from hoichan.reporting.signed import signed_report
from hoichan.settings import FhirDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reviews import SIGNED_AT, SIGNER, a_draft, a_review, judgements
from hoichan.types import DocumentKind, Outcome, ReviewKind, Verdict

DESTINATIONS = [
    {
        "name": "pacs",
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": 104,
        "ae_title": "PACS",
        "send": ["sc", "sr", "pdf", "kos", "gsps"],
    },
    {"name": "imr", "kind": "fhir", "url": "http://127.0.0.1/fhir", "content": "imr"},
    {"name": "his", "kind": "hl7v2", "host": "127.0.0.1", "port": 2575, "pdf_maximum_bytes": 1_000_000},
]
UNREAD = ("CHƯA ĐƯỢC BÁC SĨ", "NOT VERIFIED", "unverified", "AIAST", "chưa xác nhận", "AI gợi ý")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    return folder


STUDY = a_study(a_film())
REPORT = a_report(STUDY)


def encoded(folder, report):
    settings = Settings.model_validate({"destinations": DESTINATIONS, "site": {"name": "BV Đa khoa Hội An"}})
    made = DocumentEncoder(FolderOfFilms(folder), settings).encode(STUDY, report)
    return {one.kind: one for one in made}


def signed(review):
    return signed_report(REPORT, review, STUDY, time="08:32 20/11/2026")


@pytest.fixture(scope="module")
def machine(folder):
    return encoded(folder, REPORT)


@pytest.fixture(scope="module")
def first():
    return a_review(REPORT, STUDY)


@pytest.fixture(scope="module")
def final(folder, first):
    return encoded(folder, signed(first))


@pytest.fixture(scope="module")
def amended(folder, first):
    review = a_review(REPORT, STUDY, [first], kind=ReviewKind.AMENDMENT, reason="Đo lại kích thước.")
    return encoded(folder, signed(review))


def dicom(document):
    return dcmread(BytesIO(document.content))


def every_text(item):
    for child in item.ContentSequence:
        if child.ValueType == "TEXT":
            yield child.TextValue
        if "ContentSequence" in child:
            yield from every_text(child)


# ------------------------------------------------------------------ DICOM
def test_the_forms_that_leave(final):
    assert set(final) == {
        *(DocumentKind.SR, DocumentKind.SR_COMPREHENSIVE, DocumentKind.SR_ENHANCED),
        *(DocumentKind.PDF, DocumentKind.FHIR, DocumentKind.IMR, DocumentKind.HL7),
    }


def test_the_sr_is_verified_and_final_and_says_who(final, first):
    document = dicom(final[DocumentKind.SR])
    assert document.SOPInstanceUID == first.report_uid
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == (
        "COMPLETE",
        "VERIFIED",
        "FINAL",
    )
    assert (document.SeriesNumber, document.SeriesDescription) == (9011, "AI Results (verified)")
    (verifier,) = document.VerifyingObserverSequence
    assert str(verifier.VerifyingObserverName) == "Lê^Châu^Minh"
    assert verifier.VerifyingOrganization == "BV Đa khoa Hội An"
    assert verifier.VerificationDateTime == "20261120083210.125000+0700"
    (licence,) = verifier.VerifyingObserverIdentificationCodeSequence
    assert licence.CodeValue == SIGNER.licence_number
    (former,) = document.PredecessorDocumentsSequence
    (series,) = former.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == REPORT.report_uid


def test_the_amended_sr_names_both_that_it_replaces(amended, first):
    document = dicom(amended[DocumentKind.SR])
    replaced = [
        one.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for one in document.PredecessorDocumentsSequence
    ]
    assert replaced == [first.report_uid, REPORT.report_uid]


def test_a_new_line_of_the_sr_is_what_dicom_calls_one(final):
    """CR LF in ST, LT and UT (PS3.5 6.1.3); a person's paragraphs come with LF."""
    assert "Mờ góc sườn hoành trái.\r\nBóng tim không to." in list(every_text(dicom(final[DocumentKind.SR])))


def test_the_sr_says_what_the_person_said(final):
    tree = hd.sr.srread(BytesIO(final[DocumentKind.SR].content)).content
    rois = {group.finding_type.meaning: group for group in tree.get_planar_roi_measurement_groups()}
    others = {group.finding_type.meaning: group for group in tree.get_image_measurement_groups()}
    assert set(rois) == {"Pleural effusion", "Solitary nodule of lung"}
    assert set(others) == {"Lung consolidation"}
    (site,) = others["Lung consolidation"].finding_sites
    assert (site.topographical_modifier, site.laterality.meaning) == (None, "Left")
    sizes = [(one.name.meaning, one.value) for one in others["Lung consolidation"].get_measurements()]
    assert sizes == [("Certainty of Finding", 58.0), ("Long Axis", 35.0)]
    (nodule,) = rois["Solitary nodule of lung"].get_measurements()
    assert (nodule.name.meaning, nodule.value, nodule.unit.value) == ("Long Axis", 8.0, "mm")
    document = dicom(final[DocumentKind.SR])
    evaluations = document.ContentSequence[-1]
    absent = [
        (one.ConceptNameCodeSequence[0].CodeMeaning, one.ConceptCodeSequence[0].CodeMeaning)
        for one in evaluations.ContentSequence
        if one.ValueType == "CODE"
    ]
    assert absent == [("Cardiomegaly", "Absent")]
    texts = list(every_text(document))
    assert "Tràn dịch màng phổi." in texts
    assert any("Bóng tim to. Cấu trúc bình thường" in text and "bóng vú" in text for text in texts)
    assert any("012345/HCM-CCHN" in text for text in texts)


@pytest.mark.parametrize("kind", [DocumentKind.SR, DocumentKind.SR_COMPREHENSIVE, DocumentKind.SR_ENHANCED])
def test_dciodvfy_finds_no_error(final, amended, tmp_path, kind):
    judge = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    if judge is None:
        pytest.skip("dciodvfy is not installed")
    for number, made in enumerate((final, amended)):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(made[kind].content)
        command = [judge, "-new", str(file)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert [one for one in errors if "PatientName" not in one] == []  # it counts bytes, not letters


def test_a_result_of_which_nothing_was_confirmed_is_rejected_by_a_note(folder):
    given = [
        replace(one, verdict=Verdict.REJECTED, reason="not_seen", site="", size_mm=None, laterality=None)
        for one in judgements(REPORT)
        if one.finding_id
    ]
    report = signed(a_review(REPORT, STUDY, draft=a_draft(REPORT, given)))
    assert report.outcome is Outcome.WITHOUT_FINDINGS
    note = dicom(encoded(folder, report)[DocumentKind.KOS])
    named = [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in note.ContentSequence[-2:]]
    assert named == [REPORT.report_uid, picture_uid(REPORT)]


# ------------------------------------------------------------------ FHIR
def resources(document, kind):
    entries = json.loads(document.content)["entry"]
    return [entry for entry in entries if entry["resource"]["resourceType"] == kind]


def test_the_bundle_is_sound(final, amended):
    for made in (final, amended):
        assert faults(json.loads(made[DocumentKind.FHIR].content)) == []


def test_observations_become_final_in_place(final, machine):
    before = {
        entry["resource"]["code"]["coding"][0]["display"]: entry["resource"]["identifier"]
        for entry in resources(machine[DocumentKind.FHIR], "Observation")
    }
    after = {
        entry["resource"]["code"]["coding"][0]["display"]: entry
        for entry in resources(final[DocumentKind.FHIR], "Observation")
    }
    assert {name: entry["resource"]["status"] for name, entry in after.items()} == {
        "Pleural effusion": "final",
        "Lung consolidation": "final",
        "Cardiomegaly": "cancelled",
        "Solitary nodule of lung": "final",
    }
    for name, entry in after.items():
        (identifier,) = entry["resource"]["identifier"]
        assert entry["request"] == {
            "method": "PUT",
            "url": f"Observation?identifier={identifier['system']}|{identifier['value']}",
        }
        assert entry["resource"]["performer"][0]["identifier"]["value"] == SIGNER.licence_number
        assert "meta" not in entry["resource"]
        is_added = name == "Solitary nodule of lung"
        assert (before.get(name) == [identifier]) is not is_added
        assert ("device" in entry["resource"]) is not is_added
    assert after["Pleural effusion"]["resource"]["identifier"][0]["value"] == finding_id(
        REPORT.report_uid, REPORT.findings[0]
    )


def test_a_side_is_said_beside_the_site_and_is_no_other_name_of_it(final):
    """Codings of one concept are the same thing in other systems (FHIR R4 datatypes): a lung is no "Left"."""
    said = {}
    for entry in resources(final[DocumentKind.FHIR], "Observation"):
        resource = entry["resource"]
        (site,) = resource["bodySite"]["coding"]
        sides = [
            one["valueCodeableConcept"]["coding"][0]["display"]
            for one in resource["component"]
            if one["code"].get("coding", [{}])[0].get("code") == "272741003"
        ]
        said[resource["code"]["coding"][0]["display"]] = (
            site["display"],
            resource["bodySite"].get("text"),
            sides,
        )
    assert said["Lung consolidation"] == ("Lung", "vùng dưới, bên trái", ["Left"])
    assert said["Solitary nodule of lung"] == ("Lung", "bên phải", ["Right"])
    assert said["Pleural effusion"] == ("Pleura", None, [])


@pytest.mark.parametrize(("which", "status"), [("final", "final"), ("amended", "amended")])
def test_the_report_of_the_receiver_is_brought_forward(request, which, status, machine):
    document = request.getfixturevalue(which)[DocumentKind.FHIR]
    (entry,) = resources(document, "DiagnosticReport")
    (before,) = resources(machine[DocumentKind.FHIR], "DiagnosticReport")
    report = entry["resource"]
    assert report["identifier"][0] == before["resource"]["identifier"][0]
    assert report["status"] == status
    assert report["resultsInterpreter"][0]["display"] == SIGNER.full_name
    assert base64.b64decode(report["presentedForm"][0]["data"]).startswith(b"%PDF")
    (provenance,) = resources(document, "Provenance")
    assert any(
        one["what"]["identifier"]["system"].endswith("/id/signed-content")
        for one in provenance["resource"]["entity"]
        if "identifier" in one["what"]
    )


def test_nothing_says_that_nobody_has_read_it(final, amended):
    for made in (final, amended):
        for kind in (DocumentKind.FHIR, DocumentKind.HL7):
            text = made[kind].content.decode("utf-8")
            assert not [words for words in UNREAD if words in text]
        for text in every_text(dicom(made[DocumentKind.SR])):
            assert not [words for words in UNREAD if words in text]
        assert dicom(made[DocumentKind.PDF]).SeriesDescription == "Report (verified)"


# ------------------------------------------------------------------ HL7
@pytest.mark.parametrize(("which", "status"), [("final", "F"), ("amended", "C")])
def test_the_message_is_final_then_corrected(request, which, status, machine):
    document = request.getfixturevalue(which)[DocumentKind.HL7]
    message = er7.read(document.content)
    obr = message.first("OBR")
    assert obr.text(25) == status
    lines = document.content.decode().split("\r")
    fields = next(line for line in lines if line.startswith("OBR")).split("|")
    assert fields[32].startswith(f"{SIGNER.licence_number}&Lê&Châu&Minh^2026112008321")
    states = {line.split("|")[11] for line in lines if line.startswith("OBX")}
    assert states == {status, "D"}
    deleted = [line for line in lines if line.startswith("OBX") and line.split("|")[11] == "D"]
    assert len(deleted) == 1 and "|73.0|" in deleted[0]  # the machine's number of what was rejected
    assert message.control_id != er7.read(machine[DocumentKind.HL7].content).control_id


# ------------------------------------------------------------------ taking it back
def test_a_signed_report_is_taken_back_in_each_dialect(final):
    made = {
        one.kind: one
        for one in withdraw(list(final.values()), language="vi", now=SIGNED_AT, words=BY_A_READER)
    }
    bundle = json.loads(made[DocumentKind.FHIR].content)
    assert faults(bundle) == []
    statuses = {entry["resource"]["resourceType"]: entry["resource"]["status"] for entry in bundle["entry"]}
    assert statuses.pop("Task") == "failed"
    assert set(statuses.values()) == {"entered-in-error"}
    assert all(entry["request"]["method"] == "PUT" for entry in bundle["entry"])
    (report,) = resources(made[DocumentKind.FHIR], "DiagnosticReport")
    assert report["resource"]["conclusion"] == BY_A_READER["vi"]
    assert "presentedForm" not in report["resource"]
    lines = made[DocumentKind.HL7].content.decode().split("\r")
    assert {line.split("|")[11] for line in lines if line.startswith("OBX")} == {"W"}
    note = dicom(made[DocumentKind.KOS])
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert codes.BANNER["vi"] not in made[DocumentKind.FHIR].content.decode()


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("Lê Minh Châu", "Lê^Châu^Minh"),
        ("Nguyễn Thị Hồng Ổn", "Nguyễn^Ổn^Thị Hồng"),
        ("Trần An", "Trần^An"),
        ("Y", "Y"),
        ("a^b=c\\d", "a^d^b c"),
        (" ", ""),
    ],
)
def test_a_name_as_dicom_writes_it(spoken, written):
    assert dicom_name(spoken) == written


# ------------------------------------------------------------------ IHE IMR
def imr(documents):
    bundle = json.loads(documents[DocumentKind.IMR].content)
    assert faults(bundle) == []
    return bundle, {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}


def test_imr_holds_report_and_study_and_nothing_else(final, first):
    bundle, found = imr(final)
    assert bundle["meta"]["profile"] == [PROFILE]
    assert sorted(one["resource"]["resourceType"] for one in bundle["entry"]) == [
        "DiagnosticReport",
        "ImagingStudy",
    ]
    assert {entry["request"]["method"] for entry in bundle["entry"]} == {"POST"}
    report = found["DiagnosticReport"]
    assert report["status"] == "final" and report["issued"] and "result" not in report
    assert report["performer"][0]["type"] == "Organization"
    assert report["resultsInterpreter"][0]["identifier"]["value"] == SIGNER.licence_number
    full = json.loads(final[DocumentKind.FHIR].content)
    (same,) = [e["resource"] for e in full["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    assert report["conclusion"] == same["conclusion"]
    assert report["identifier"][0] != same["identifier"][0]  # a report of its own at that receiver
    assert first.report_uid in json.dumps(report["identifier"])


def test_imr_has_the_signed_words_as_html_and_pdf(final):
    _, found = imr(final)
    html, pdf = found["DiagnosticReport"]["presentedForm"]
    assert (html["contentType"], pdf["contentType"]) == ("text/html", "application/pdf")
    page = base64.b64decode(html["data"])
    assert html["size"] == len(page)
    assert html["hash"] == base64.b64encode(hashlib.sha1(page).digest()).decode()
    text = page.decode("utf-8")
    for line in found["DiagnosticReport"]["conclusion"].splitlines():
        assert escape(line) in text
    assert "<script" not in text and not any(word in text for word in UNREAD)
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")


def test_an_amendment_is_another_imr_report(final, amended):
    first, second = (imr(one)[1]["DiagnosticReport"] for one in (final, amended))
    assert second["status"] == "amended"
    assert first["identifier"][0] != second["identifier"][0]


def test_imr_is_never_made_of_what_nobody_signed(machine):
    assert DocumentKind.IMR not in machine
    destination = FhirDestination(name="imr", kind="fhir", url="http://127.0.0.1/fhir", content="imr")
    assert plan(REPORT, STUDY, [destination], list(machine.values()), SIGNED_AT) == ()


def test_an_imr_report_is_taken_back(final):
    destination = FhirDestination(name="imr", kind="fhir", url="http://127.0.0.1/fhir", content="imr")
    now = SIGNED_AT.astimezone(ZoneInfo("Asia/Ho_Chi_Minh"))
    made = withdraw(list(final.values()), language="vi", now=now, words=BY_A_READER)
    (delivery,) = plan_retraction("2.25.1", STUDY.study_instance_uid, [destination], made, SIGNED_AT)
    assert delivery.documents == (DocumentKind.IMR,)
    (content,) = [one.content for one in made if one.kind is DocumentKind.IMR]
    (entry,) = json.loads(content)["entry"]
    assert entry["resource"]["status"] == "entered-in-error"
    own = imr(final)[1]["DiagnosticReport"]["identifier"][0]
    assert entry["request"]["url"] == f"DiagnosticReport?identifier={own['system']}|{own['value']}"
