"""An object of a maker's own SOP class: taken where it is named, kept, and answered with a reason."""

import json

from hoichan.testing import a_film
from hoichan.testing.house import write_film

PRIVATE = "1.3.12.2.1107.5.9.1"


def test_a_study_of_a_private_class_ends_as_not_analysed(new_house, tmp_path):
    raw = a_film("private", rows=64, columns=64)
    raw.SOPClassUID = raw.file_meta.MediaStorageSOPClassUID = PRIVATE
    raw.Modality = "OT"
    house = new_house(config=f'[listener]\nprivate_sop_classes = ["{PRIVATE}"]\n')
    house.start()
    assert "1 of 1 accepted" in house.send(write_film(raw, tmp_path / "films")).stdout
    report = house.wait_for_report(raw.StudyInstanceUID)
    (saved,) = [line for line in house.trail(raw.StudyInstanceUID) if line["event"] == "report_saved"]
    assert json.dumps(saved).count("not_analysed") >= 1, saved
    assert (report / "report.fhir.json").exists()
    (kept,) = (house.data_dir / "spool" / "studies").rglob("*.dcm")
    assert kept.read_bytes().endswith(raw.PixelData)
