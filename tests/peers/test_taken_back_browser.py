"""A result that the PACS took back over DICOM, in a real browser: no page shows what it said."""

import pydicom
import pytest

from hoichan.testing.datasets import film as a_film
from hoichan.testing.datasets import rejection_note
from hoichan.testing.house import wait_until
from service.web.reading_room import built
from tests.peers.browser import DESK, PHONE, SHOTS, Reader, axe, marks
from tests.peers.test_reading_room import Room, opened

pytestmark = [
    *marks,
    pytest.mark.skipif(built() is None, reason="the reading room was not built: make app"),
]
SAID = {"vi": "Kết quả của máy đã bị loại bỏ", "en": "The machine's result was rejected"}
TOLD = {"vi": "ĐÃ LOẠI BỎ kết quả đó", "en": "REJECTED that result"}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = Room(tmp_path_factory.mktemp("room"))
    yield room
    room.house.stop()


def rejected(room, page, study):
    """Send the note that names the SR of the study's answer, and wait until it is heard."""
    address = f"{room.base}/api/v1/studies/{study}"
    before = page.request.get(address).json()
    result = a_film()
    result.StudyInstanceUID = study
    result.SOPInstanceUID = next(one["uid"] for one in before["documents"] if one["kind"] == "sr")
    note = rejection_note(result)
    note.StudyInstanceUID, note.SeriesInstanceUID = f"{study}.9", f"{study}.9.1"
    note.SOPInstanceUID = f"{study}.9.2"
    path = room.folder / f"note-{study[-8:]}.dcm"
    note.file_meta = pydicom.dataset.FileMetaDataset()
    note.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.save_as(path, enforce_file_format=True)
    room.house.send(path)
    wait_until(lambda: page.request.get(address).json()["report"]["taken_back"], seconds=60, what="the note")
    return before["report"]["findings"]


def is_told(room, page, study):
    """Whether a notice of it waits for a person: none is born of what was taken back before."""
    notices = page.request.get(f"{room.base}/api/v1/notices").json()["items"]
    return study in {one["study_instance_uid"] for one in notices}


@pytest.mark.parametrize(
    ("device", "language", "number"),
    [(DESK, "vi", 11), (PHONE, "en", 12), (DESK, "en", 13), (PHONE, "vi", 14)],
    ids=["desk-vi", "phone-en", "desk-en", "phone-vi"],
)
def test_nothing_of_it_is_shown(room, browser, device, language, number):
    study = room.film(number)
    with Reader(browser, **device) as reader:
        page = opened(room, reader, study, language)
        page.wait_for_selector(".findings")
        assert page.locator(".card-finding").count()
        wait_until(lambda: is_told(room, page, study), seconds=60, what="the notice of its finding")
        findings = rejected(room, page, study)
        names = {one["display"][language] if "display" in one else one["key"] for one in findings}
        for at, address in enumerate((f"/studies/{study}", f"/studies/{study}/record", "/")):
            page.goto(f"{room.base}{address}?lang={language}")
            for selector in ("main",) if at else (".findings .none", ".notice-line"):
                page.wait_for_selector(selector)
            if SHOTS:
                page.screenshot(path=f"{SHOTS}/taken-back-{language}-{at}-{device['viewport']['width']}.png")
            here = page.locator(f"li:has(a[href*='{study}']), tr:has(a[href*='{study}'])").first
            text = (here if at == 2 else page.locator("body")).inner_text()
            assert SAID[language] in text.replace("’", "'")
            told = page.locator(".notice-line").all_inner_texts()  # says itself that it was taken back
            assert all(TOLD[language] in one for one in told) and bool(told) == (not at)
            for one in told:
                text = text.replace(one, "")
            assert not [
                text[max(0, text.find(name) - 60) : text.find(name) + 60] for name in names if name in text
            ]
            assert not page.locator(".card-finding").count()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            found = axe.Axe().run(page).response["violations"]
            assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []
