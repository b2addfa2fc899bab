"""The whole story in a real browser, on a phone: a PACS pushes, the list moves, somebody reads and signs.

Then the signed report stands in the PACS, the EMR and the RIS. None of the three is ours.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from hoichan.testing.house import RunningHouse, wait_until
from hoichan.testing.reports import PATIENT_ID
from hoichan.testing.shelf import write_version
from hoichan.uids import derived_uid
from service.web.reading_room import built
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module
from tests.peers.browser import PHONE, Reader, marks
from tests.peers.test_hl7 import LostReceiver, StrictReceiver, hl7apy_server

pytestmark = [
    *marks,
    pytest.mark.skipif(built() is None, reason="the reading room was not built: make app"),
    pytest.mark.skipif(not orthanc_module.is_available(), reason="Orthanc with DICOMweb is not installed"),
    pytest.mark.skipif(
        not emr_module.is_available(), reason="sekmet-fhir is not installed: make .venv-emr/.emr"
    ),
]
PATIENTS = "https://hoichan.invalid/id/patient"
PASSWORD = "mat-khau-cua-bac-si-ha"
PLAIN = Path(__file__).parents[1] / "golden" / "models" / "plain.onnx"
SECONDS = 120
CONCLUSION = "Tràn dịch màng phổi trái lượng ít."


class Keeping(StrictReceiver):
    """Keeps what it took."""

    taken: list[str]

    def reply(self):
        self.taken.append(self.incoming_message)
        return super().reply()


class Story:
    """A house between three receivers, with a radiologist and a model that suggests on every film."""

    def __init__(self, folder, ris_port):
        self.house = RunningHouse(folder / "house")
        self.pacs = orthanc_module.Orthanc(folder / "pacs", push_to=self.house.port)
        self.emr = emr_module.Emr(folder / "emr")
        self.pacs.start()
        self.emr.start()
        self.emr.create_patient(PATIENTS, PATIENT_ID)
        ris = f'[[destinations]]\nname = "ris"\nkind = "hl7v2"\nhost = "127.0.0.1"\nport = {ris_port}\n'
        told = self.pacs.destination() + self.emr.destination() + ris
        self.house.config.write_text(told, encoding="utf-8")
        package = write_version(self.house.data_dir / "models", PLAIN, intercept=9.0)
        manifest = package / "manifest.toml"
        text = manifest.read_text(encoding="utf-8").replace("intercept = 0.0", "intercept = 9.0")
        manifest.write_text(text, encoding="utf-8")
        self.house.start()
        self.base = self.house.page.rstrip("/").replace("127.0.0.1", "localhost")
        who = ("--role", "radiologist", "--display-name", "BS. Hà", "--full-name", "Ngô Thị Hà")
        asked = ("user", "add", "bs.ha", *who, "--licence", "001234/HCM-CCHN")
        answer = self.house.run(*asked, told=f"{PASSWORD}\n{PASSWORD}\n")
        assert answer.returncode == 0, answer.stderr
        self.film = folder / "film.dcm"
        film = pydicom.dcmread(get_testdata_file("RG1_UNCR.dcm", download=False))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(film, keyword, derived_uid("story", keyword))
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        film.PatientID = PATIENT_ID
        film.save_as(self.film)
        self.study = str(film.StudyInstanceUID)

    def close(self):
        self.house.stop()
        self.emr.stop()
        self.pacs.stop()

    def signed_sr(self):
        """The structured report in the PACS that a person verified."""
        for uid in self.pacs.uids(self.study, "SR"):
            found = pydicom.dcmread(BytesIO(self.pacs.file(uid)))
            if found.VerificationFlag == "VERIFIED":
                return found
        return None

    def statuses(self):
        return [one["status"] for one in self.emr.search("DiagnosticReport")]


@pytest.fixture
def taken():
    Keeping.taken = []
    return Keeping.taken


@pytest.fixture
def story(tmp_path, taken):
    for name in ("house", "pacs", "emr"):
        (tmp_path / name).mkdir()
    with hl7apy_server({"ORU^R01^ORU_R01": (Keeping,), "ERR": (LostReceiver,)}) as port:
        made = Story(tmp_path, port)
        yield made
        made.close()


def results(taken):
    """OBR-25 of each message, in order."""
    rows = [line.split("|") for one in taken for line in one.split("\r") if line.startswith("OBR|")]
    return [row[25] for row in rows]


def test_from_the_pacs_to_the_signature_and_back_everywhere(story, taken, browser):
    with Reader(browser, **PHONE) as reader:
        page = reader.page
        page.set_default_timeout(SECONDS * 1000)
        page.goto(f"{story.base}/login")
        page.fill("#user_name", "bs.ha")
        page.fill("#password", PASSWORD)
        page.click("button.primary")
        page.wait_for_selector(".list .empty")
        story.pacs.upload(story.film)
        page.wait_for_selector(f"[data-key='{story.study}'] .suggested")  # by itself, while one looks
        wait_until(lambda: "partial" in story.statuses(), seconds=SECONDS, what="the EMR has it, unread")
        wait_until(lambda: results(taken), seconds=SECONDS, what="the RIS has it, unread")
        assert set(results(taken)) == {"R"}
        page.click(f"[data-key='{story.study}'] .name")
        page.wait_for_selector(".card-finding")
        read(page)
        sign(page)
        assert [one for one in reader.complaints if "Content Security Policy" in one] == []
    sr = wait_until(story.signed_sr, seconds=SECONDS, what="the signed report in the PACS")
    assert sr.CompletionFlag == "COMPLETE" and sr.PreliminaryFlag == "FINAL"
    observer = sr.VerifyingObserverSequence[0]
    assert str(observer.VerifyingObserverName) == "Ngô^Hà^Thị"
    wait_until(lambda: "final" in story.statuses(), seconds=SECONDS, what="final at the EMR")
    (report,) = story.emr.search("DiagnosticReport")
    assert CONCLUSION in report["conclusion"]
    wait_until(lambda: "F" in results(taken), seconds=SECONDS, what="final at the RIS")
    assert CONCLUSION in taken[-1] and "001234/HCM-CCHN" in taken[-1]


def read(page):
    """One edited, the others rejected, one added by a box on the film."""
    cards = page.locator(".card-finding")
    suggested = cards.count()
    assert suggested >= 2
    for at in range(suggested):
        card = cards.nth(at)
        card.locator(".verb").nth(2 if at == 0 else 1).click()
        card.locator(".form .chip").nth(1 if at == 0 else 3).click()
        card.locator(".form > .small").click()
    page.locator(".findings .part-head button").click()
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.45)
    page.mouse.up()
    mine = page.locator(".card-finding.is-added")
    mine.locator(".form select").first.select_option("nodule")
    mine.locator(".form > .small").click()
    page.locator("textarea[name=conclusion]").fill(CONCLUSION)
    page.wait_for_selector(".save-saved")


def sign(page):
    page.locator(".sign-bar .primary").click()
    page.fill(".sign input[type=password]", PASSWORD)
    page.locator(".sign button[type=submit]").click()
    page.wait_for_selector(".status-final")
