"""One study through real ports, from a modality's C-STORE to the delivered report, by the commands only."""

import json

import pytest
from pydicom import dcmread

from hoichan.testing import a_film
from hoichan.testing.datasets import PRIVATE_CLASS, rejection_note
from hoichan.testing.house import write_film
from hoichan.testing.reports import PATIENT_NAME
from hoichan.uids import derived_uid

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
CHEST, LEG = "9RG1", "11RG3"  # PatientID of RG1 and RG3
FINDINGS = "Tràn dịch màng phổi"
BANNER = "CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN"


@pytest.fixture
def films(tmp_path):
    """Writes a film of a study; `late` seeds another image of the same study."""

    def write(seed, late=None):
        film = a_film(seed, rows=320, columns=280)
        if late is not None:
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = derived_uid(seed, late)
            film.InstanceNumber = 2
        return film, write_film(film, tmp_path / "films")

    return write


def resources(folder, kind):
    bundle = json.loads((folder / "report.fhir.json").read_text(encoding="utf-8"))
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def delivered(house, study, number=1):
    """The newest report's folder once the house has also written down that it is delivered."""
    folder = house.wait_for_report(study, number=number)
    house.wait_for_event(study, "delivery_acknowledged", number=number)
    return folder


def test_a_film_becomes_sr_picture_and_bundle_in_the_outbox(house, films):
    film, path = films("first")
    assert "1 of 1 accepted" in house.send(path).stdout
    folder = delivered(house, film.StudyInstanceUID)
    assert {f.name for f in folder.iterdir()} == {"sc.dcm", "sr.dcm", "report.fhir.json", "picture.png"}

    sr = dcmread(folder / "sr.dcm")
    assert (sr.SOPClassUID, sr.StudyInstanceUID) == (COMPREHENSIVE_3D_SR, film.StudyInstanceUID)
    assert (sr.VerificationFlag, sr.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert sr.SpecificCharacterSet == "ISO_IR 192"
    assert sr.PatientName == PATIENT_NAME
    assert folder.name == sr.SOPInstanceUID
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert film.SOPInstanceUID in [
        i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence
    ]

    sc = dcmread(folder / "sc.dcm")
    assert (sc.StudyInstanceUID, sc.Modality) == (film.StudyInstanceUID, "OT")
    assert sc.PatientName == PATIENT_NAME

    (report,) = resources(folder, "DiagnosticReport")
    assert report["status"] == "partial"
    assert FINDINGS in report["conclusion"]


def test_the_page_lists_and_shows_it(house, films):
    film, path = films("shown")
    house.send(path)
    delivered(house, film.StudyInstanceUID)
    assert film.StudyInstanceUID in house.get()
    page = house.get(f"studies/{film.StudyInstanceUID}/record")
    assert FINDINGS in page
    assert BANNER in page.upper()
    listed = json.loads(house.get("api/v1/studies"))
    assert film.StudyInstanceUID in json.dumps(listed)
    assert house.get("healthz") == "ok\n"
    assert json.loads(house.get("readyz"))["ready"] is True


def test_the_trail_of_a_study_says_what_happened(house, films):
    film, path = films("trail")
    house.send(path)
    delivered(house, film.StudyInstanceUID)
    told = ("notice_raised",)  # where the model says something critical
    events = [one["event"] for one in house.trail(film.StudyInstanceUID) if one["event"] not in told]
    assert events == [
        "instances_received",
        "study_assembled",
        "analysis_begun",
        "report_saved",
        "delivery_acknowledged",
    ]
    said = house.run("study", film.StudyInstanceUID, check=True).stdout
    assert "Nhận 1 ảnh" in said.splitlines()[0]
    assert house.run("study", "1.2.3").returncode == 1


def test_a_late_image_makes_a_second_revision_that_names_its_predecessor(house, films):
    film, path = films("late")
    house.send(path)
    first = dcmread(delivered(house, film.StudyInstanceUID) / "sr.dcm")
    _, second_path = films("late", late="second image")
    house.send(second_path)
    second = dcmread(delivered(house, film.StudyInstanceUID, number=2) / "sr.dcm")
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in first
    assembled = [e for e in house.trail(film.StudyInstanceUID) if e["event"] == "study_assembled"]
    assert [entry["revision"] for entry in assembled] == [1, 2]


def test_the_same_film_again_changes_nothing(house, films):
    film, path = films("again")
    house.send(path)
    delivered(house, film.StudyInstanceUID)
    before = house.events(film.StudyInstanceUID)
    assert "1 of 1 accepted" in house.send(path).stdout
    other, other_path = films("after the repeated one")
    house.send(other_path)
    delivered(house, other.StudyInstanceUID)  # whatever the repetition set in motion came before
    assert house.events(film.StudyInstanceUID) == before
    assert len(house.reports(film.StudyInstanceUID)) == 1
    assert len(list((house.data_dir / "spool" / "studies").glob(f"*/{film.StudyInstanceUID}/*"))) == 1


def test_a_sender_that_is_not_on_the_list_is_turned_away(house, films):
    film, path = films("stranger")
    answer = house.send(path, calling="STRANGER", check=False)
    assert answer.returncode == 1
    assert "list of senders" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert house.events(film.StudyInstanceUID) == []


def test_everything_reads_while_nothing_runs_and_goes_on_after(new_house, films):
    house = new_house()
    sent = [films(f"stopped {number}") for number in range(2)]
    house.start()
    house.send(*(path for _, path in sent))
    for film, _ in sent:
        delivered(house, film.StudyInstanceUID)
    assert house.stop() == 0

    status = house.status()
    assert status == {
        "instances": 2,
        "studies": {"delivered": 2},
        "queues": {},
        "dead_letters": 0,
        "oldest_undelivered_seconds": None,
    }
    study = sent[0][0].StudyInstanceUID
    before = [entry["event"] for entry in house.trail(study)]
    assert before[-1] == "delivery_acknowledged"
    assert "Nothing to repeat" in house.run("replay", study, check=True).stdout

    house.start()
    film, path = films("after the restart")
    house.send(path)
    delivered(house, film.StudyInstanceUID)
    assert house.events(study) == before
    assert len(house.reports(study)) == 1


def test_an_object_that_cannot_be_read_is_refused_and_the_house_goes_on(house, films):
    film, path = films("malformed")
    uid = film.StudyInstanceUID.encode()
    path.write_bytes(path.read_bytes().replace(uid, uid[:-1] + b"x"))
    answer = house.send(path, check=False)
    assert answer.returncode == 1
    assert "0xA900" in answer.stdout
    sound, sound_path = films("sound")
    house.send(sound_path)
    delivered(house, sound.StudyInstanceUID)
    (kept,) = (house.data_dir / "spool" / "quarantine").glob("*.dcm")
    assert json.loads(kept.with_suffix(".json").read_text())["reason"] == "intake.incomplete_object"


def test_a_rejection_note_supersedes_the_answer(house, tmp_path):
    """The film is taken back; what follows claims nothing."""
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


def test_a_study_of_a_private_class_ends_as_not_analysed(house, tmp_path):
    """It is taken where its class is named, kept, and answered with a reason."""
    raw = a_film("private", rows=64, columns=64)
    raw.SOPClassUID = raw.file_meta.MediaStorageSOPClassUID = PRIVATE_CLASS
    raw.Modality = "OT"
    assert "1 of 1 accepted" in house.send(write_film(raw, tmp_path / "films")).stdout
    report = house.wait_for_report(raw.StudyInstanceUID)
    (saved,) = [line for line in house.trail(raw.StudyInstanceUID) if line["event"] == "report_saved"]
    assert json.dumps(saved).count("not_analysed") >= 1, saved
    assert (report / "report.fhir.json").exists()
    (kept,) = (house.data_dir / "spool" / "studies").rglob(f"{raw.SOPInstanceUID}.dcm")
    assert kept.read_bytes().endswith(raw.PixelData)


def test_the_demonstration_ends_with_both_reports(new_house):
    house = new_house(own_model=False)
    answer = house.run("demo", "--once")
    assert answer.returncode == 0, answer.stderr
    folders = [path.parent for path in (house.data_dir / "outbox").glob("*/*/sr.dcm")]
    said = {
        dcmread(f / "sr.dcm").PatientID: resources(f, "DiagnosticReport")[0]["conclusion"] for f in folders
    }
    assert set(said) == {CHEST, LEG}
    printed = [line for line in answer.stderr.splitlines() if line]
    assert all(any(line in conclusion for line in printed) for conclusion in said.values())
    assert all(str(folder / "sr.dcm") in answer.stderr for folder in folders)
    assert "KHÔNG PHÂN TÍCH: Bộ phận chụp không phải là ngực." in said[LEG]
    assert "KHÔNG PHÂN TÍCH" not in said[CHEST]
