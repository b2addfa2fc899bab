"""Any source gives three documents, and nothing of a patient gets into a log."""

from __future__ import annotations

import json
import logging
from io import BytesIO

import pytest
import structlog
from pydicom import config, dcmread

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_refused_report, a_report, a_study, as_bytes
from hoichan.types import DocumentKind

TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "AccessionNumber", "StudyID", "ReferringPhysicianName",
)  # fmt: skip
OFTEN_ABSENT = (
    "PatientOrientation", "ImagerPixelSpacing", "BodyPartExamined", "ViewPosition", "TimezoneOffsetFromUTC",
    "StudyDescription", "SpecificCharacterSet", "Manufacturer", "SeriesNumber", "InstanceNumber",
)  # fmt: skip


@pytest.fixture
def encode(tmp_path):
    def run(film, make=a_report, **changes):
        with config.disable_value_validation():
            (tmp_path / "film.dcm").write_bytes(as_bytes(film))
        study = a_study(film, **changes)
        return DocumentEncoder(FolderOfFilms(tmp_path), Settings()).encode(study, make(study))

    return run


def kinds(documents):
    return [document.kind for document in documents]


def test_three_documents_in_sending_order(encode):
    documents = encode(a_film())
    assert kinds(documents) == [DocumentKind.SC, DocumentKind.SR, DocumentKind.FHIR]
    sc, sr, fhir = documents
    assert dcmread(BytesIO(sc.content)).SOPInstanceUID == sc.uid
    assert dcmread(BytesIO(sr.content)).SOPInstanceUID == sr.uid == a_report(a_study()).report_uid
    assert json.loads(fhir.content)["resourceType"] == "Bundle"
    assert sr.uid in fhir.content.decode()
    assert sc.uid in fhir.content.decode()


def test_the_same_report_is_the_same_bytes(encode):
    assert [document.content for document in encode(a_film())] == [
        document.content for document in encode(a_film())
    ]


@pytest.mark.parametrize("keyword", [*TYPE_2, *OFTEN_ABSENT])
def test_a_missing_attribute_never_stops_a_report(encode, keyword):
    film = a_film()
    if keyword == "SpecificCharacterSet":
        film.PatientName = film.ReferringPhysicianName = film.StudyDescription = "x"
    delattr(film, keyword)
    _, sr, _ = encode(film)
    read = dcmread(BytesIO(sr.content))
    assert all(name in read for name in TYPE_2)


@pytest.mark.parametrize("name", ["NGUYEN VAN AN", "Nguyễn " * 30, "^^^^^^", "=", "a^b=c^d=e^f", "Ổ" * 70])
def test_odd_names(encode, name):
    sc, sr, _ = encode(a_film(), patient_name=name)
    for document in (sc, sr):
        assert all(len(part) <= 64 for part in str(dcmread(BytesIO(document.content)).PatientName).split("="))


def test_an_identifier_is_carried_on_as_it_came(encode):
    _, sr, fhir = encode(a_film(), patient_id="X" * 80)
    with config.disable_value_validation():
        assert dcmread(BytesIO(sr.content)).PatientID == "X" * 80
    assert "X" * 80 in fhir.content.decode()


def test_damaged_or_absent_files_still_give_a_report(encode, tmp_path):
    film = a_film()
    encode(film)
    study = a_study(film)
    encoder = DocumentEncoder(FolderOfFilms(tmp_path), Settings())
    for content in (b"", b"no dicom", as_bytes(film)[:3000], None):
        if content is None:
            (tmp_path / "film.dcm").unlink()
        else:
            (tmp_path / "film.dcm").write_bytes(content)
        assert len(encoder.encode(study, a_refused_report(study))) == 3


def test_a_header_that_no_library_reads_still_gives_a_report(encode, tmp_path):
    film = a_film()
    encode(film)
    study = a_study(film)
    whole = as_bytes(film)
    at = whole.index(b"\x08\x00\x05\x00CS")  # Specific Character Set, as a sequence of one item
    sequence = b"SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\0\0\0\0"
    (tmp_path / "film.dcm").write_bytes(whole[: at + 4] + sequence + whole[at + 18 :])
    encoder = DocumentEncoder(FolderOfFilms(tmp_path), Settings())
    assert len(encoder.encode(study, a_refused_report(study))) == 3


def test_values_that_no_library_reads_are_left_out(encode, tmp_path):
    film = a_film()
    encode(film)
    study = a_study(film)
    whole = as_bytes(film)
    at = whole.index(b"\x28\x00\x10\x00US")  # Rows, in a number of bytes that is no number
    (tmp_path / "film.dcm").write_bytes(whole[: at + 6] + b"\x03\x00" + b"\x01\x02\x03" + whole[at + 10 :])
    encoder = DocumentEncoder(FolderOfFilms(tmp_path), Settings())
    assert len(encoder.encode(study, a_refused_report(study))) == 3


def test_a_study_without_any_image(encode):
    film = a_film()
    del film.Rows, film.Columns, film.PixelData
    film.Modality = "SR"
    sc, sr, _ = encode(film, a_refused_report)
    assert "SourceImageSequence" not in dcmread(BytesIO(sc.content))
    assert dcmread(BytesIO(sr.content)).CompletionFlag == "COMPLETE"


def test_nothing_of_the_patient_is_logged(encode, caplog, capfd, recwarn):
    caplog.set_level(logging.DEBUG)
    with config.disable_value_validation():
        film = a_film()
        film.PatientName = film.ReferringPhysicianName = "MARKER" * 20
        film.StudyDescription = film.AccessionNumber = film.StudyID = film.PatientID = "MARKER" * 30
        film.PatientSex = film.StudyDate = film.BodyPartExamined = "MARKER/MARKER/MARKER"
    with structlog.testing.capture_logs() as events:
        documents = encode(film)
    assert "MARKER" in documents[1].content.decode("utf-8", "replace")
    out, err = capfd.readouterr()
    warned = [str(warning.message) for warning in recwarn]
    for text in (out, err, repr(events), repr(warned), *(record.getMessage() for record in caplog.records)):
        assert "MARKER" not in text
