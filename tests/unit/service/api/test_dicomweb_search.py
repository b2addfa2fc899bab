"""QIDO-RS: what fits, what is told of it, and what never is."""

import json
import unicodedata

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from hoichan.adapters.schema import audit, studies
from hoichan.guard.scopes import Scope
from hoichan.testing.datasets import MARKER, film, rejection_note
from hoichan.testing.files import as_file
from service.api import dicomweb_search
from tests.unit.service.api.dicomweb_site import DicomwebSite


def shot(study, **values):
    made = film(study=study)
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return as_file(made)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = DicomwebSite(tmp_path_factory.mktemp("qido"))
    site.store(as_file(film()), as_file(film(instance="2")), as_file(film(series="other", instance="3")))
    site.store(
        shot(
            "lan",
            PatientName="Trần^Lan^Thị",
            PatientID="BN0002",
            StudyDate="20261121",
            StudyTime="101500",
            AccessionNumber="XR2",
            ReferringPhysicianName="Lê^Hoà",
            StudyID="7",
        )
    )
    site.store(shot("ct", PatientName="HOANG VAN THAI", PatientID="X9", StudyDate="20250101", Modality="CT"))
    yield site
    site.close()


FIRST, LAN, CT = (film(study=name).StudyInstanceUID for name in ("study", "lan", "ct"))


def found(answer, tag="0020000D"):
    assert answer.status_code in (200, 204), answer.text
    return [one[tag]["Value"][0] for one in answer.json()] if answer.status_code == 200 else []


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, {FIRST, LAN, CT}),
        ({"PatientID": "BN0002"}, {LAN}),
        ({"00100020": "BN0002"}, {LAN}),
        ({"PatientID": "BN*"}, {FIRST, LAN}),
        ({"PatientID": "BN000?"}, {FIRST, LAN}),
        ({"PatientID": "bn0002"}, set()),
        ({"PatientName": "Trần*"}, {LAN}),
        ({"PatientName": unicodedata.normalize("NFD", "Trần*")}, {LAN}),
        ({"PatientName": "Tran*"}, set()),
        ({"PatientName": "lan tran", "fuzzymatching": "true"}, {LAN}),
        ({"PatientName": "hoang thai", "fuzzymatching": "true"}, {CT}),
        ({"StudyDate": "20261121"}, {LAN}),
        ({"StudyDate": "20261101-20261130"}, {FIRST, LAN}),
        ({"StudyDate": "-20251231"}, {CT}),
        ({"StudyDate": "20261121-", "StudyTime": "1000-1030"}, {LAN}),
        ({"StudyTime": "1100-"}, set()),
        ({"AccessionNumber": "XR2"}, {LAN}),
        ({"ModalitiesInStudy": "CT"}, {CT}),
        ({"ModalitiesInStudy": "SR"}, set()),
        ({"ReferringPhysicianName": "Lê*"}, {LAN}),
        ({"StudyID": "7"}, {LAN}),
        ({"StudyInstanceUID": f"{LAN},{CT}"}, {LAN, CT}),
        ({"PatientBirthDate": "19700131"}, {FIRST, LAN, CT}),
        ({"PatientSex": "F"}, set()),
        ({"PatientID": "", "PatientName": "*"}, {FIRST, LAN, CT}),
    ],
)
def test_studies_that_fit(site, query, wanted):
    assert set(found(site.get("/studies", **query))) == wanted


@pytest.mark.parametrize(
    "query",
    [
        {"NoSuchThing": "1"},
        {"99990010": "1"},
        {"StudyDate": "yesterday"},
        {"StudyDate": "99999999"},
        {"limit": "many"},
        {"fuzzymatching": "perhaps"},
        {"PatientName": "x" * 600},
        {"RequestAttributesSequence": "1"},
        {"includefield": "Nonsense"},
    ],
)
def test_what_cannot_be_understood(site, query):
    answer = site.get("/studies", **query)
    assert (answer.status_code, answer.json()["code"]) == (400, "dicomweb.malformed")
    assert all(value not in answer.text for value in query.values() if len(value) > 4)


def test_what_is_told_of_a_study(site):
    (one,) = site.get("/studies", StudyInstanceUID=LAN, includefield="BodyPartExamined").json()
    assert one["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Trần^Lan^Thị"}]}
    assert one["00080020"]["Value"] == ["20261121"] and one["00080030"]["Value"] == ["101500"]
    assert one["00080061"]["Value"] == ["CR"]
    assert one["00201206"]["Value"] == [1] and one["00201208"]["Value"] == [1]
    assert one["00081190"]["Value"] == [f"http://localhost:8080/dicom-web/studies/{LAN}"]
    assert one["00080090"]["Value"] == [{"Alphabetic": "Lê^Hoà"}]
    assert one["00180015"]["Value"] == ["CHEST"]
    assert one["00080005"]["Value"] == ["ISO_IR 192"]


def test_series_and_instances(site):
    answer = site.get(f"/studies/{FIRST}/series")
    assert [one["00201209"]["Value"][0] for one in answer.json()] in ([2, 1], [1, 2])
    series = film().SeriesInstanceUID
    assert len(found(site.get(f"/studies/{FIRST}/instances"))) == 3
    assert len(found(site.get(f"/studies/{FIRST}/series/{series}/instances"))) == 2
    (one,) = site.get("/instances", SOPInstanceUID=film(instance="2").SOPInstanceUID).json()
    assert (one["00280010"]["Value"], one["00280011"]["Value"], one["00100020"]["Value"]) == (
        [8],
        [8],
        ["BN0001"],
    )
    assert found(site.get("/series", Modality="CT")) == [CT]
    assert found(site.get("/series", PatientID="BN0002", Modality="CT")) == []
    assert found(site.get(f"/studies/{FIRST}/instances", SOPClassUID="1.2.3")) == []
    assert site.get(f"/studies/{FIRST}/series", StudyInstanceUID=LAN).status_code == 400
    assert site.get("/studies/1.2.3/series").status_code == 204


def test_all_fields_of_an_instance_but_its_pixels(site):
    (one,) = site.get(
        "/instances", SOPInstanceUID=film(instance="2").SOPInstanceUID, includefield="all"
    ).json()
    assert one["00185101"]["Value"] == ["PA"] and "7FE00010" not in one


def test_page_by_page(site):
    every = found(site.get("/studies"))
    first = site.get("/studies", limit="2")
    assert found(first) == every[:2] and first.headers["warning"].startswith("299")
    rest = site.get("/studies", limit="2", offset="2")
    assert found(rest) == every[2:] and "warning" not in rest.headers
    assert site.get("/studies", offset="3").status_code == 204
    assert site.get("/studies", limit="0").status_code == 204


def test_only_json(site):
    assert site.get("/studies", accept="application/dicom+xml").status_code == 406
    assert site.get("/studies", accept="application/json").status_code == 200


def test_the_result_that_stands_is_found_and_the_one_it_replaces_is_not(tmp_path):
    site = DicomwebSite(tmp_path)
    site.report(site.store(as_file(film())))
    study = film().StudyInstanceUID
    (one,) = site.get("/studies", StudyInstanceUID=study).json()
    assert {"CR", "SR"} <= set(one["00080061"]["Value"])
    before = {*found(site.get(f"/studies/{study}/instances"), "00080018")}
    new = site.report(site.store(as_file(film(instance="late"))))
    after = {*found(site.get(f"/studies/{study}/instances"), "00080018")}
    received = {film().SOPInstanceUID, film(instance="late").SOPInstanceUID}
    assert after - received == {str(one.SOPInstanceUID) for one in new}
    assert (before - received).isdisjoint(after)
    assert found(site.get("/studies", ModalitiesInStudy="SR")) == [study]
    site.close()


def test_a_correction_is_told_and_not_what_the_image_says(tmp_path):
    site = DicomwebSite(tmp_path)
    site.store(as_file(film()))
    with site.record.engine.begin() as connection:
        connection.execute(
            studies.update().values(patient_id="BN0009", patient_name="Lê^Mai", accession_number="XR9")
        )
    (one,) = site.get("/instances", includefield="AccessionNumber").json()
    assert one["00100020"]["Value"] == ["BN0009"] and one["00080050"]["Value"] == ["XR9"]
    assert one["00100010"]["Value"] == [{"Alphabetic": "Lê^Mai"}]
    site.close()


def test_a_question_that_opens_too_many_studies_is_too_broad(site, monkeypatch):
    monkeypatch.setattr(dicomweb_search, "MOST_STUDIES", 2)  # three are here; 5,001 would take a minute
    answer = site.get("/studies", BodyPartExamined="HAND")
    assert (answer.status_code, answer.json()["code"]) == (413, "dicomweb.too_broad")
    assert set(found(site.get("/studies", BodyPartExamined="CHEST", PatientID="BN*"))) == {FIRST, LAN}


def test_what_was_rejected_is_not_given_out(tmp_path):
    site = DicomwebSite(tmp_path)
    note = rejection_note(film(instance="2"))
    site.store(as_file(film()), as_file(film(instance="2")), as_file(note))
    uids = found(site.get(f"/studies/{film().StudyInstanceUID}/instances"), "00080018")
    assert set(uids) == {film().SOPInstanceUID, note.SOPInstanceUID}
    gone = film(instance="2")
    path = f"/studies/{gone.StudyInstanceUID}/series/{gone.SeriesInstanceUID}/instances/{gone.SOPInstanceUID}"
    assert site.get(path).status_code == 404
    site.close()


def test_who_asked_is_recorded_and_what_for_is_not(site):
    text = site.record.tokens.add("viewer", [Scope.READ])
    with (
        capture_logs() as lines,
        TestClient(site.app, base_url="https://localhost", client=("10.0.0.9", 1)) as browser,
    ):
        browser.get(
            f"/dicom-web/studies?PatientName={MARKER}&PatientID={MARKER}",
            headers={"Authorization": f"Bearer {text}"},
        )
    assert MARKER not in json.dumps(lines, default=str)
    with site.record.engine.connect() as connection:
        last = connection.execute(sa.select(audit).order_by(audit.c.position.desc()).limit(1)).one()
    assert (last.who, last.what, last.detail) == (
        "token:viewer",
        "queried",
        "qido studies PatientID,PatientName",
    )
    assert MARKER not in str(last)
