"""`/quarantine`, and the trail of a study of which every image was refused."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.quarantine_disk import KEPT_REFUSED, Lying
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import a_record, add_user, arrive
from service.api.caller import SESSION
from tests.unit.service.api.asking import an_app

STUDY = "1.2.840.99.190"  # every image of it was refused
FACILITIES = [{"code": "79002", "name": "Trạm y tế xã Tân Lập", "senders": ["CR_DISTRICT"]}]


class Site:
    def __init__(self, folder):
        asked = {"storage": {"data_dir": folder, "reserve_bytes": 0}, "facilities": FACILITIES}
        self.record = a_record(folder, Settings.model_validate(asked))
        self.quarantine = QuarantineSql(self.record.engine, self.record.clock)
        self.app = an_app(self.record)

    def tell(self, *found, spool="a" * 32):
        self.quarantine.tell(
            spool, {f"20261120T08000{number}.000000Z-abcdef01.json": one for number, one in enumerate(found)}
        )

    def lying(self, reason="intake.not_dicom", study=STUDY):
        return Lying(
            reason=reason,
            sop_instance_uid=f"{STUDY}.1",
            study_instance_uid=study,
            calling_ae_title="CR<b>1",
            received_at=self.record.clock.now(),
            size_bytes=1_234_567,
        )

    def as_(self, role, name="ai.do"):
        add_user(self.record, name, role)
        session = self.record.people.begin_session(name)
        return TestClient(
            self.app,
            base_url="http://localhost:8080",
            client=("127.0.0.1", 50000),
            cookies={SESSION: session},
        )


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
    yield opened
    opened.record.engine.dispose()


def test_it_is_listed_for_whoever_looks_after_the_queue(site):
    site.tell(site.lying(), site.lying(study=None))
    site.tell(site.lying(CHANGED_CONTENT), spool="b" * 32)
    client = site.as_(Role.IT_ADMIN)
    told = client.get("/api/v1/quarantine").json()
    assert told["counts"] == {"intake.not_dicom": 2, CHANGED_CONTENT: 1}
    assert told["kept_refused"] == KEPT_REFUSED
    assert {one["study_instance_uid"] for one in told["items"]} == {STUDY, None}
    assert {one["spool"] for one in told["items"]} == {"a" * 32, "b" * 32}
    one = next(one for one in told["items"] if one["reason"] == CHANGED_CONTENT)
    assert (one["calling_ae_title"], one["size_bytes"]) == ("CR<b>1", 1_234_567)
    assert one["name"] == "20261120T080000.000000Z-abcdef01"
    assert "Quarantine: 3" in client.get("/queue?lang=en").text
    _, lines = site.record.audit.search(Wanted(), limit=20)
    assert "quarantine" in [line.record.detail for line in lines]


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("vi", ("Không đọc được ảnh", "1,2 MB", "Ảnh không ghi ca chụp nào")),
        ("en", ("The image cannot be read", "1.2 MB", "It names no study")),
    ],
)
def test_the_page_says_it_in_plain_words(site, language, said):
    site.tell(site.lying(), site.lying(study=None))
    page = site.as_(Role.IT_ADMIN).get("/quarantine", params={"lang": language}).text
    assert all(words in page for words in said)
    assert f'href="/studies/{STUDY}/trail"' in page
    assert "CR&lt;b&gt;1" in page and "CR<b>1" not in page


@pytest.mark.parametrize("role", [Role.CLINICIAN, Role.AUDITOR])
def test_who_does_not_look_after_the_queue_sees_none_of_it(site, role):
    client = site.as_(role)
    assert client.get("/api/v1/quarantine").status_code == HTTPStatus.FORBIDDEN
    assert client.get("/quarantine").status_code == HTTPStatus.FORBIDDEN


def test_an_empty_quarantine_says_so(site):
    page = site.as_(Role.IT_ADMIN).get("/quarantine?lang=en").text
    assert "Nothing lies in quarantine." in page and str(KEPT_REFUSED) in page


def test_a_study_of_which_every_image_was_refused_has_a_trail(site):
    site.tell(site.lying(), site.lying("intake.wrong_sop_class"))
    client = site.as_(Role.IT_ADMIN)
    lines = client.get(f"/api/v1/studies/{STUDY}/trail").json()["items"]
    assert [line["event"] for line in lines] == ["instance_refused"] * 2
    assert lines[0]["details"] == {
        "instance": f"{STUDY}.1",
        "reason": "intake.not_dicom",
        "sender": "CR<b>1",
    }
    page = client.get(f"/studies/{STUDY}/trail?lang=en").text
    assert "Nothing of this study was taken. Refused images that name it: 2." in page
    assert "REFUSED (intake.not_dicom). The image cannot be read" in page
    assert f'href="/studies/{STUDY}"' not in page  # there is nothing to open
    page = client.get(f"/studies/{STUDY}/trail?lang=vi").text
    assert "Chưa nhận được gì của ca này" in page and "BỊ TỪ CHỐI" in page


def test_nobody_can_make_a_study_up_by_asking_for_it(site):
    site.tell(site.lying(), site.lying(CHANGED_CONTENT, study="1.2.840.99.191"))
    client = site.as_(Role.IT_ADMIN)
    for uid in ("1.2.840.99.192", "1.2.840.99.191"):  # of the second nothing was refused
        assert client.get(f"/api/v1/studies/{uid}/trail").status_code == HTTPStatus.NOT_FOUND
        assert client.get(f"/studies/{uid}/trail").status_code == HTTPStatus.NOT_FOUND
    assert client.get(f"/studies/{STUDY}").status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN)


def test_what_was_refused_elsewhere_stands_on_the_trail_of_a_known_study_once(site):
    study = arrive(site.record, "known").study_instance_uid
    client = site.as_(Role.IT_ADMIN)
    before = client.get(f"/api/v1/studies/{study}/trail").json()["items"]
    site.tell(site.lying(study=study))
    lines = client.get(f"/api/v1/studies/{study}/trail").json()["items"]
    assert [line["event"] for line in lines] == [line["event"] for line in before] + ["instance_refused"]


def test_an_account_of_a_facility_sees_no_refusal_of_a_study_that_nobody_knows(site):
    site.tell(replace(site.lying(), calling_ae_title="CR_DISTRICT"))
    client = site.as_(Role.IT_ADMIN, "bs.xa")
    site.app.state.desk.access.bind("bs.xa", ["79002"])
    assert client.get(f"/api/v1/studies/{STUDY}/trail").status_code == HTTPStatus.NOT_FOUND
    assert client.get("/quarantine").status_code == HTTPStatus.FORBIDDEN
    assert 'href="/quarantine"' not in client.get("/queue").text
