"""The shipped model on films whose answer is known: three chest films, and three that must be refused.

The films are real and not ours to carry: they lie beside the checkout, or where HOICHAN_TEST_DATA says.
"""

import json
import os
from pathlib import Path

import pytest
from pydicom import dcmread

from hoichan.testing.house import RunningHouse, write_film
from hoichan.uids import derived_uid

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HOICHAN_TEST_DATA", ROOT.parent / "shared" / "data"))
FILMS = DATA / "dicom" / "cxr_known_answer"
REFUSALS = [
    ("test4", "Bộ phận chụp"),
    ("test5", "KHÔNG PHÂN TÍCH"),
    ("test6", "KHÔNG PHÂN TÍCH"),
]

pytestmark = pytest.mark.skipif(not FILMS.is_dir(), reason=f"the films are not there: {FILMS}")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    quick = {"HOICHAN_ASSEMBLY__QUIET_SECONDS_VOLUME": "0.3"}  # one of the films says that it is a CT
    with RunningHouse(tmp_path_factory.mktemp("house"), environment=quick) as made:
        yield made


def conclusion(house, name, folder):
    """Sends a film as a study of its own (some share their UIDs); what the report concludes."""
    film = dcmread(FILMS / f"{name}.dcm")
    film.StudyInstanceUID = derived_uid("known answer", name)
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = derived_uid("known answer", name, 1)
    house.send(write_film(film, folder))
    bundle = json.loads(
        (house.wait_for_report(film.StudyInstanceUID) / "report.fhir.json").read_text("utf-8")
    )
    (said,) = (
        entry["resource"]["conclusion"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "DiagnosticReport"
    )
    return said


@pytest.mark.parametrize("name", ["test1", "test2", "test3"])
def test_a_chest_film_is_analysed(house, name, tmp_path):
    said = conclusion(house, name, tmp_path)
    assert "KHÔNG PHÂN TÍCH" not in said
    assert "chưa được thẩm định" in said


@pytest.mark.parametrize(("name", "reason"), REFUSALS)
def test_another_film_is_refused_with_the_reason(house, name, reason, tmp_path):
    said = conclusion(house, name, tmp_path)
    assert "KHÔNG PHÂN TÍCH: " in said
    assert reason in said
