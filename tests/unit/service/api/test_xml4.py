"""XML4 over the API: refused until a physician has signed."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.site_codes_sql import SiteCodesSql
from hoichan.reporting.signed import signed_report
from hoichan.site_codes import CodeTable, SiteCode
from hoichan.testing.reading import a_record, arrive, assemble, report
from hoichan.testing.reviews import a_draft, a_review
from tests.unit.service.api.asking import an_app


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def test_only_what_was_signed_is_given(record):
    study = assemble(record, arrive(record, "film"))
    machine = report(record, study, {"pleural_effusion": 0.7, "edema": 0.1})
    service = SiteCode(code="18.0119", display="x", finding_key="CR/CHEST", verified_by="BS Châu")
    SiteCodesSql(record.engine, record.clock).load(CodeTable.SERVICE, [service], "0" * 64)
    uid = study.study_instance_uid
    with TestClient(an_app(record), base_url="http://localhost:8080", client=("127.0.0.1", 50000)) as client:
        place = f"/api/v1/studies/{uid}/xml4"
        answer = client.get(place)
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.CONFLICT, "report.unsigned")
        signed = ReviewsSql(record.engine, record.reading.objects, record.clock)
        draft = signed.save_draft(replace(a_draft(machine), version=0))
        review = a_review(machine, study, draft=draft)
        final = signed_report(machine, review, study, time="08:32 20/11/2026")
        signed.sign(review, final, study=study, draft_version=draft.version, made=[], planned=[])
        line = client.get(place, params={"visit": "KCB1"}).json()
        assert (line["MA_LK"], line["MA_DICH_VU"]) == ("KCB1", "18.0119")
        assert line["KET_LUAN"] == draft.sections.conclusion.reveal()
        assert line["MA_BS_DOC_KQ"] == review.licence_number
        assert client.get("/api/v1/studies/1.2.3/xml4").status_code == HTTPStatus.NOT_FOUND
