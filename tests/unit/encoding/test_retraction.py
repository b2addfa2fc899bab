"""Taking a report back: every receiver finds what it has, and reads that it is wrong."""

from __future__ import annotations

import json
from datetime import datetime
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread

from hoichan import er7
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.fhir import addressed_to, has_patient
from hoichan.encoding.retraction import WITHDRAWN, withdraw
from hoichan.intake.dataset import read_header
from hoichan.intake.part10 import read_meta
from hoichan.intake.rejections import KEY_OBJECT_SELECTION, rejection_of
from hoichan.settings import FolderDestination, Hl7Destination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID
from hoichan.types import DocumentKind

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
RIS = {
    charset: Hl7Destination(name=charset, kind="hl7v2", host="h", port=1, charset=charset)
    for charset in ("utf-8", "ascii")
}


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    film = a_film()
    (folder / "film.dcm").write_bytes(as_bytes(film))
    study = a_study(film)
    destinations = (*RIS.values(), FolderDestination(name="f", kind="folder", path=folder))
    return DocumentEncoder(FolderOfFilms(folder), Settings(destinations=destinations)).encode(
        study, a_report(study)
    )


@pytest.fixture(scope="module")
def taken_back(sent):
    return withdraw(sent, language="vi", now=NOW)


def of_kind(documents, kind, destination=None):
    return next(one for one in documents if one.kind is kind and one.destination == destination)


def test_one_note_one_bundle_and_a_message_each(taken_back):
    assert [(one.kind, one.destination) for one in taken_back] == [
        (DocumentKind.KOS, None),
        (DocumentKind.FHIR, None),
        (DocumentKind.HL7, "utf-8"),
        (DocumentKind.HL7, "ascii"),
    ]


def test_the_same_retraction_is_the_same_bytes(sent, taken_back):
    again = withdraw(sent, language="vi", now=NOW)
    assert [(one.uid, one.content) for one in again] == [(one.uid, one.content) for one in taken_back]


def test_the_bundle_marks_what_the_receiver_has(sent, taken_back):
    before = json.loads(of_kind(sent, DocumentKind.FHIR).content)["entry"]
    after = json.loads(of_kind(taken_back, DocumentKind.FHIR).content)["entry"]
    marked = ("DiagnosticReport", "Observation", "Media", "Task")
    wanted = [one["resource"]["identifier"] for one in before if one["resource"]["resourceType"] in marked]
    assert [one["resource"]["identifier"] for one in after] == wanted
    own = {one["fullUrl"] for one in after}
    for entry in after:
        resource = entry["resource"]
        is_task = resource["resourceType"] == "Task"
        assert resource["status"] == ("failed" if is_task else "entered-in-error")
        assert entry["request"]["method"] == "PUT"
        assert entry["request"]["url"].startswith(f"{resource['resourceType']}?identifier=")
        subject = resource["for" if is_task else "subject"]
        assert subject["identifier"]["value"] == PATIENT_ID
        assert "reference" not in subject
    pointed = {part for part in json.dumps(after).split('"') if part.startswith("urn:uuid:")}
    assert pointed <= own  # nothing points to an entry that is not there
    report = next(one["resource"] for one in after if one["resource"]["resourceType"] == "DiagnosticReport")
    assert report["conclusion"] == WITHDRAWN["vi"]


def test_the_bundle_keeps_its_marks_for_every_receiver(taken_back):
    content = of_kind(taken_back, DocumentKind.FHIR).content
    assert has_patient(content)
    said = json.loads(addressed_to(content, unread_status="preliminary", patient_identifier_system="urn:emr"))
    found = [one["resource"] for one in said["entry"]]
    assert {one["status"] for one in found} == {"entered-in-error", "failed"}
    people = [one.get("subject") or one["for"] for one in found]
    assert {one["identifier"]["system"] for one in people} == {"urn:emr"}


@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
def test_the_message_posts_every_observation_as_wrong(sent, taken_back, charset):
    before = er7.read(of_kind(sent, DocumentKind.HL7, charset).content)
    document = of_kind(taken_back, DocumentKind.HL7, charset)
    after = er7.read(document.content)
    assert after.control_id == document.uid != before.control_id
    assert len(after.control_id) == 20
    for name in ("PID", "OBR"):  # the same person and order
        assert after.first(name).raw(3) == before.first(name).raw(3)
    assert after.first("OBR").text(25) == "X" and after.first("ORC").text(5) == "CA"
    assert {segment.text(11) for segment in after.all("OBX")} == {"W"}
    assert [segment.raw(3) for segment in after.all("OBX")] == [s.raw(3) for s in before.all("OBX")]
    words = WITHDRAWN["vi"] if charset == "utf-8" else er7.transliterate(WITHDRAWN["vi"])
    assert after.first("NTE").text(3) == words
    assert document.content.isascii() is (charset == "ascii")


def test_the_note_rejects_picture_and_sr_under_the_former_patient(sent, taken_back):
    document = of_kind(taken_back, DocumentKind.KOS)
    note = dcmread(BytesIO(document.content))
    sr = dcmread(BytesIO(of_kind(sent, DocumentKind.SR).content))
    assert note.SOPClassUID == KEY_OBJECT_SELECTION
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert note.get(keyword) == sr.get(keyword)
    offset = read_meta(document.content).offset
    rejection = rejection_of(read_header(document.content[offset:], note.file_meta.TransferSyntaxUID))
    assert rejection is not None and rejection.title == "113037"
    named = rejection.instances[sr.StudyInstanceUID]
    assert named == {of_kind(sent, DocumentKind.SC).uid, of_kind(sent, DocumentKind.SR).uid}


@pytest.mark.parametrize(
    ("offset", "said"), [("+0000", "20261121 023000 +0000"), ("+0700", "20261121 093000 +0700")]
)
def test_the_time_of_the_note_is_in_the_offset_that_it_names(tmp_path, offset, said):
    film = a_film()
    film.TimezoneOffsetFromUTC = offset  # of the modality: the study's date and time are in it
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    study = a_study(film)
    documents = DocumentEncoder(FolderOfFilms(tmp_path), Settings()).encode(study, a_report(study))
    note = dcmread(BytesIO(of_kind(withdraw(documents, language="vi", now=NOW), DocumentKind.KOS).content))
    assert f"{note.ContentDate} {note.ContentTime} {note.TimezoneOffsetFromUTC}" == said
