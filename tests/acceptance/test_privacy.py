"""A patient whose every text says MARKER goes through the whole house: it may stand in documents only."""

import json

import pytest

from hoichan.testing import a_film
from hoichan.testing.datasets import MARKER
from hoichan.testing.house import free_ports, wait_until, write_film

TEXTS = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientAddress",
    "PatientComments",
    "OtherPatientNames",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AccessionNumber",
    "StudyID",
    "InstitutionName",
    "StationName",
    "Manufacturer",
    "ManufacturerModelName",
    "ImageComments",
    "PatientName",
    "ReferringPhysicianName",
    "OperatorsName",
)
FAILING = """
[[destinations]]
name = "pacs"
kind = "dicom"
host = "127.0.0.1"
port = {closed}
ae_title = "PACS"
[[destinations]]
name = "emr"
kind = "fhir"
url = "http://127.0.0.1:{closed}/fhir"
[[destinations]]
name = "refusing"
kind = "fhir"
url = "http://127.0.0.1:{web}/nothing/here"
[[destinations]]
name = "share"
kind = "folder"
path = "{folder}"
"""


@pytest.fixture
def marked_film(tmp_path):
    film = a_film("marked", rows=320, columns=280)
    for keyword in TEXTS:
        setattr(film, keyword, MARKER)
    return film, write_film(film, tmp_path / "films")


def test_no_text_of_a_patient_leaves_the_documents(new_house, marked_film, tmp_path):
    film, path = marked_film
    study = film.StudyInstanceUID
    house = new_house(environment={"HOICHAN_WORK__FIRST_RETRY_SECONDS": "0.2"})
    (closed,) = free_ports(1)
    house.config.write_text(
        FAILING.format(closed=closed, web=house.web_port, folder=tmp_path / "share"), encoding="utf-8"
    )
    house.start()
    sent = house.send(path)
    house.wait_for_event(study, "delivery_acknowledged")
    house.wait_for_event(study, "delivery_refused")
    house.wait_for_event(study, "delivery_postponed", number=2)  # whoever is knocked at then is left alone

    damaged = tmp_path / "damaged.dcm"
    uid = film.SOPInstanceUID.encode()
    damaged.write_bytes(path.read_bytes().replace(uid, uid[:-1] + b"x"))
    refused = house.send(damaged, check=False)
    wait_until(lambda: "instance_refused" in house.log(), seconds=60, what="the refusal is logged")

    said = {
        "send": sent.stdout + sent.stderr + refused.stdout + refused.stderr,
        "metrics": house.get("metrics"),
        "readyz": house.get("readyz"),
        "trail of the API": house.get(f"api/v1/studies/{study}/trail"),
        "trail of the page": house.get(f"studies/{study}/trail"),
    }
    asked = {
        "status": ["status"],
        "status as JSON": ["status", "--json"],
        "trail": ["study", study],
        "replay": ["replay", study],
        "doctor": ["doctor", "--json"],
        "models": ["model", "list"],
    }
    for name, arguments in asked.items():
        answer = house.run(*arguments)
        said[name] = answer.stdout + answer.stderr
    house.stop()
    said["log"] = house.log()
    assert "Traceback" not in said["log"]
    assert {name for name, text in said.items() if MARKER in text.upper()} == set()

    names = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")]
    assert any("share" in name for name in names)
    assert [name for name in names if MARKER in name.upper()] == []

    engine = [p.read_bytes() for p in house.data_dir.glob("engine.sqlite*")]  # it keeps identifiers only
    assert engine
    assert not any(MARKER.encode() in content for content in engine)

    # the test can fail: the documents and the page do say who it is
    bundle = next((tmp_path / "share").rglob("report.fhir.json")).read_text(encoding="utf-8")
    assert MARKER in json.dumps(json.loads(bundle))
