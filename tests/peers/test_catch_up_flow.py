"""The power goes, the PACS goes on receiving; when the station is back, nothing is missing.

The whole service against a real Orthanc: catch-up, earlier studies, and the count that closes a volume.
"""

import json
from datetime import UTC, datetime

import pytest
from pydicom import dcmread

from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from hoichan.uids import derived_uid
from tests.acceptance.packages import write_package
from tests.peers.orthanc import Orthanc, is_available

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not is_available(), reason="Orthanc with DICOMweb is not installed"),
]
SECONDS = 180


def film_of(seed, day):
    film = a_film(seed)
    film.StudyDate, film.StudyTime = f"{day:%Y%m%d}", f"{day:%H%M%S}"
    return film


@pytest.fixture(params=["orthanc", "dimse"])
def site(request, tmp_path):
    """A stopped house that catches up with a PACS."""
    house = RunningHouse(tmp_path / "house")
    write_package(house.data_dir / "models")
    (tmp_path / "orthanc").mkdir()
    with Orthanc(tmp_path / "orthanc", move_to=house.port) as pacs:
        how = (
            f'kind = "orthanc"\nurl = "http://127.0.0.1:{pacs.http_port}"\nae_title = "PACS"\n'
            if request.param == "orthanc"
            else f'kind = "dimse"\nhost = "127.0.0.1"\nport = {pacs.port}\nae_title = "PACS"\n'
        )
        house.config.write_text(
            f'[[sources]]\nname = "pacs"\n{how}every_seconds = 1\nsettle_seconds = 0\npriors = 2\n',
            encoding="utf-8",
        )
        yield house, pacs
        house.stop()


def test_what_came_while_the_station_was_dark_is_read_after_it(site, tmp_path):
    house, pacs = site
    now = datetime.now(UTC)
    earlier = film_of("earlier", now.replace(year=now.year - 2, day=1))
    pacs.upload(write_film(earlier, tmp_path / "films"))
    house.start()
    wait_until(
        lambda: house.status().get("sources", {}).get("pacs", {}).get("contacted_at"),
        seconds=SECONDS,
        what="a first contact",
    )
    house.kill("up")

    films = [film_of(seed, now) for seed in ("dark1", "dark2")]
    for film in films:
        film.PatientID = earlier.PatientID
    for film in films:
        pacs.upload(write_film(film, tmp_path / "films"))

    house.start()
    for film in films:
        study = film.StudyInstanceUID
        report = house.wait_for_report(study, seconds=SECONDS)
        events = house.events(study)
        assert events.count("study_fetched") == 1 and events.count("study_assembled") == 1
        assert "priors_available" in events
        assert "AI không so sánh" in (report / "report.fhir.json").read_text(encoding="utf-8")
        texts = dcmread(report / "sr.dcm").to_json_dict()
        assert "AI không so sánh" in json.dumps(texts, ensure_ascii=False)
    assert house.events(earlier.StudyInstanceUID) == []  # here, and no study of the list
    assert not house.reports(earlier.StudyInstanceUID)
    kept = list((house.data_dir / "spool" / "studies").glob(f"*/{earlier.StudyInstanceUID}/*.dcm"))
    assert [path.stem for path in kept] == [earlier.SOPInstanceUID]
    assert house.status()["sources"]["pacs"]["failures"] == 0
    doctor = house.run("doctor").stdout
    assert "source pacs" in doctor and "FAIL  source" not in doctor
    log = house.log()
    assert str(earlier.PatientID) not in log and str(earlier.PatientName) not in log


def test_a_volume_closes_when_its_sender_has_no_more(site, tmp_path):
    house, pacs = site
    slices = []
    for number in range(3):
        image = film_of("volume", datetime.now(UTC))
        image.Modality, image.InstanceNumber = "CT", number + 1
        image.SOPInstanceUID = derived_uid("test", "volume", number)
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        slices.append(write_film(image, tmp_path / "films"))
    for path in slices:
        pacs.upload(path)
    house.start()
    study = image.StudyInstanceUID
    house.send(*slices, calling="PACS")
    house.wait_for_event(study, "study_assembled", seconds=SECONDS)
    trail = json.loads(house.get(f"api/v1/studies/{study}/trail"))["items"]
    (closed,) = [entry for entry in trail if entry["event"] == "study_assembled"]
    assert "source_count" in json.dumps(closed)
