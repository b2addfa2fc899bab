"""Films that a person drops on the page: who may, and where they go."""

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from hoichan.guard.roles import ASSIGNABLE, Action, Role, may
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.reading import a_record, add_user
from service.api.caller import SESSION, token_of
from service.api.stow import StowDoor, stow_app
from service.api.upload import ANSWERS, PLACE, SENDER, UploadAccess
from service.web.rendering import LANGUAGES, catalogue
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_stow import TYPE, body, references

URL = "/upload/studies"


class Site:
    def __init__(self, folder):
        self.record = a_record(folder)
        for role in ASSIGNABLE:
            add_user(self.record, role.value, role)
        self.app = an_app(self.record)
        self.spool = FakeSpool()
        access = UploadAccess(self.app.state.desk)
        door = StowDoor(self.spool, folder, admit=access, maximum_bytes=1 << 20, reserve_bytes=0)
        self.app.mount(PLACE, stow_app(door))

    def ask(self, role, method="POST", url=URL, *, token=True, origin="same-origin", content=None):
        session = self.record.people.begin_session(role.value)
        headers = {"Cookie": f"{SESSION}={session}", "Content-Type": TYPE}
        if origin:
            headers["Sec-Fetch-Site"] = origin
        if token:
            headers["X-CSRF-Token"] = token_of(session)
        with TestClient(self.app, base_url="http://localhost", client=("10.0.0.7", 5000)) as client:
            return client.request(method, url, headers=headers, content=content or body(as_file(film())))


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.spool.close()
    made.record.engine.dispose()


@pytest.mark.parametrize("role", ASSIGNABLE)
def test_who_may_bring_films_in(site, role):
    answer = site.ask(role)
    assert answer.status_code == (200 if may(role, Action.INSTANCES_UPLOAD) else 403)
    assert site.ask(role, "GET", "/upload").status_code == answer.status_code


def test_a_film_is_spooled_under_the_sender_of_uploads_and_told(site):
    made = film()
    answer = site.ask(Role.TECHNICIAN, content=body(as_file(made)))
    assert references(answer, "00081199") == [made.SOPInstanceUID]
    (kept,) = site.spool.listing(made.StudyInstanceUID)
    assert kept.calling_ae_title == SENDER
    _, lines = site.record.audit.search(Wanted(what=Audited.INSTANCES_RECEIVED), limit=9)
    assert [(one.record.who, one.record.detail) for one in lines] == [("technician", "upload")]


@pytest.mark.parametrize(
    ("options", "status"),
    [({"token": False}, 403), ({"origin": "cross-site"}, 403), ({"origin": "same-site"}, 403)],
)
def test_another_page_cannot_use_the_session(site, options, status):
    assert site.ask(Role.TECHNICIAN, **options).status_code == status
    assert not site.spool.listing(film().StudyInstanceUID)


def test_nobody_and_programs_stay_outside(site):
    with TestClient(site.app, base_url="http://localhost") as client:
        for more in ({}, {"Authorization": "Bearer abc"}):
            headers = {"Content-Type": TYPE, "Sec-Fetch-Site": "same-origin", **more}
            answer = client.post(URL, content=body(as_file(film())), headers=headers)
            assert answer.status_code in (401, 403)


def test_what_is_no_dicom_is_told_as_such(site):
    answer = site.ask(Role.TECHNICIAN, content=body(b"hello"))
    failed = answer.json()["0008119A"]["Value"][0]["00081197"]["Value"]
    assert (answer.status_code, failed) == (409, [0xC000])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_answer_has_its_words_and_the_page_brings_them(site, language):
    sentences = catalogue(language)
    assert {key for key in sentences if key.startswith("upload.answer.")} == {
        f"upload.answer.{key}" for key in ANSWERS
    }
    page = site.ask(Role.RADIOLOGIST, "GET", f"/upload?lang={language}").text
    assert "/static/upload.js" in page and "webkitdirectory" in page
