"""A result that the image archive rejected: the list, the study's page and the reading room say so."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from hoichan.guard.roles import Role
from hoichan.testing.reading import a_record, add_user, arrive, assemble, report
from hoichan.types import DocumentKind, SOPInstanceUID
from service.api.caller import SESSION
from service.web.reading_room import built
from tests.unit.service.api.asking import an_app

SAID = {
    "vi": "Kết quả của máy đã bị loại bỏ tại hệ thống lưu trữ hình ảnh. Không sử dụng.",
    "en": "result was rejected at the image archive. Do not use it.",
}


@pytest.fixture
def site(tmp_path):
    record = a_record(tmp_path)
    add_user(record, "bs.an", Role.RADIOLOGIST)
    study = assemble(record, arrive(record, "film"))
    made = report(record, study, {"pleural_effusion": 0.91})
    headers = {"Cookie": f"{SESSION}={record.people.begin_session('bs.an')}"}
    with TestClient(an_app(record), base_url="http://localhost", headers=headers) as client:
        yield record, study.study_instance_uid, made, client
    record.engine.dispose()


@pytest.mark.parametrize("language", ["vi", "en"])
def test_it_is_said_where_its_findings_stood(site, language):
    record, uid, made, client = site
    pages = (f"/?lang={language}", f"/studies/{uid}/record?lang={language}")
    assert all(SAID[language] not in client.get(page).text for page in pages)
    sr = record.studies.document(made.report_uid, DocumentKind.SR)
    record.studies.take_back(uid, [SOPInstanceUID(sr.uid)], note=SOPInstanceUID("2.25.9"), title="Rejected")
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200
        assert SAID[language] in answer.text.replace("&#39;", "'")
    listed = client.get("/api/v1/studies").json()
    assert [one["report"]["taken_back"] for one in listed["items"]] == [True]


@pytest.mark.skipif(built() is None, reason="the reading room was not built: make app")
@pytest.mark.parametrize("language", ["vi", "en"])
def test_who_reads_it_is_told_above_the_film(site, language):
    record, uid, made, client = site
    room = f"/studies/{uid}?lang={language}"
    assert 'role="alert"' not in client.get(room).text
    sr = record.studies.document(made.report_uid, DocumentKind.SR)
    record.studies.take_back(uid, [SOPInstanceUID(sr.uid)], note=SOPInstanceUID("2.25.9"), title="Rejected")
    answer = client.get(room).text.replace("&#39;", "'")
    assert 'role="alert"' in answer and SAID[language] in answer


@pytest.mark.parametrize("language", ["vi", "en"])
def test_its_findings_stand_nowhere(site, language):
    record, uid, made, client = site
    name = {"vi": "Tràn dịch màng phổi", "en": "Pleural effusion"}[language]
    pages = (f"/?lang={language}", f"/studies/{uid}/record?lang={language}")
    assert all(name in client.get(page).text for page in pages)
    assert "/picture?" in client.get(pages[1]).text
    before = client.get(f"/api/v1/studies/{uid}").json()
    assert before["tier"] == "urgent" and not any(one["taken_back"] for one in before["documents"])
    sr = record.studies.document(made.report_uid, DocumentKind.SR)
    record.studies.take_back(uid, [SOPInstanceUID(sr.uid)], note=SOPInstanceUID("2.25.9"), title="Rejected")
    for page in pages:
        text = client.get(page).text
        assert name not in text and name.lower() not in text
        assert "/picture?" not in text
    assert client.get(f"/api/v1/studies/{uid}/picture").status_code == 404
    after = client.get(f"/api/v1/studies/{uid}").json()
    said = after["report"]
    assert (after["tier"], said["findings"], said["measurements"]) == (None, [], [])
    assert said["outcome"] == "not_analysed"
    assert name.lower() not in said["conclusion"][language].lower()
    assert all(one["taken_back"] for one in after["documents"])
    listed = client.get("/api/v1/studies").json()["items"][0]
    assert (listed["tier"], listed["report"]["findings"]) == (None, [])
