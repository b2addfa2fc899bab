"""A film is taken back: its answer is superseded by one that claims nothing."""

import json

from pydicom import dcmread

from hoichan.testing import a_film
from hoichan.testing.datasets import rejection_note
from hoichan.testing.house import write_film


def test_a_rejection_note_supersedes_the_answer(house, tmp_path):
    film = a_film("rejected", rows=320, columns=280)
    house.send(write_film(film, tmp_path / "films"))
    first = house.wait_for_report(film.StudyInstanceUID, number=1)

    note = rejection_note(film, title="113037")
    note.PatientName, note.PatientID = film.PatientName, film.PatientID
    note.ensure_file_meta()
    note.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.save_as(tmp_path / "note.dcm", enforce_file_format=True)
    assert "1 of 1 accepted" in house.send(tmp_path / "note.dcm").stdout
    second = house.wait_for_report(film.StudyInstanceUID, number=2)

    assert "rejection_received" in house.events(film.StudyInstanceUID)
    answer = dcmread(second / "sr.dcm")
    (former,) = answer.PredecessorDocumentsSequence
    assert former.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.name
    assert "Tràn dịch" not in (second / "report.fhir.json").read_text(encoding="utf-8")
    saved = [line for line in house.trail(film.StudyInstanceUID) if line["event"] == "report_saved"]
    assert json.dumps(saved[-1]).count("rejected_image") == 1
