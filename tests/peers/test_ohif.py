"""What a radiologist's own viewer shows of our results: OHIF before Orthanc, in a browser.

What goes to a PACS by default is a picture and an SR. The picture has to be drawn, the film beside it still
opens, and the SR may show nothing but must break nothing.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.reporting import plan
from hoichan.settings import DicomDestination, Settings
from hoichan.testing import FolderOfFilms, a_report, a_study
from hoichan.testing.reports import REPORTED_AT
from service.demo import films
from tests.peers import ohif as ohif_module
from tests.peers import orthanc as orthanc_module
from tests.peers.browser import CHROMIUM
from tests.peers.ohif import FLAGS, LOOKS, THUMBNAIL, opened

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
    pytest.mark.skipif(not ohif_module.is_available(), reason="needs OHIF: make .node/.ohif"),
    pytest.mark.skipif(not orthanc_module.is_available(), reason="needs Orthanc with DICOMweb"),
]


class Desk:
    """A film with our results in Orthanc, and the viewer before it."""

    def __init__(self, folder, pacs, viewer):
        self.viewer = viewer
        film = dcmread(films()[0])
        path = folder / "film.dcm"
        film.save_as(path, enforce_file_format=True)
        pacs.upload(path)
        self.study = a_study(film)
        report = a_report(self.study)
        to = DicomDestination(name="pacs", kind="dicom", host="127.0.0.1", port=pacs.port, ae_title="PACS")
        documents = DocumentEncoder(FolderOfFilms(folder), Settings()).encode(self.study, report)
        (delivery,) = plan(report, self.study, [to], documents, REPORTED_AT)
        assert DimseSink(to, "HOICHAN").deliver(delivery, documents) == "0x0000"
        assert pacs.count() == 3  # film, picture, SR


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ohif")
    pacs = orthanc_module.Orthanc(folder / "orthanc")
    with pacs, ohif_module.Ohif(f"http://127.0.0.1:{pacs.http_port}/dicom-web/") as viewer:
        yield Desk(folder, pacs, viewer)


@pytest.fixture(scope="module")
def browser(play):
    browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def page(browser, desk):
    with opened(browser, desk.viewer, desk.study.study_instance_uid, series=2) as page:
        yield page


def open_series(page, modality):
    """Double-click the thumbnail of the first series of this modality."""
    shown = page.locator(THUMBNAIL)
    for number in range(shown.count()):
        if shown.nth(number).inner_text().strip().startswith(modality):
            shown.nth(number).dblclick()
            return
    raise AssertionError(f"no series {modality}: {[one.inner_text() for one in shown.all()]}")


def picture_of(page):
    """What the viewport shows, as an array [rows, columns, 3]."""
    shot = page.locator(".viewport-element, [data-cy='viewport-pane']").first.screenshot()
    return np.asarray(Image.open(BytesIO(shot)).convert("RGB")).astype(int)


def wait_for_picture(page, is_it):
    """Look until the viewport shows it; the last look."""
    for _ in range(LOOKS):
        shown = picture_of(page)
        if is_it(shown):
            break
        page.wait_for_timeout(500)
    if folder := os.environ.get("HOICHAN_TEST_PICTURES"):  # for a person to look at
        page.screenshot(path=Path(folder) / f"ohif-{is_it.__name__}-{len(page.faults)}.png")
    return shown


def is_drawn(shown):
    """Whether a film is there: many grey levels over much of the viewport."""
    return len(np.unique(shown.mean(axis=2).astype(int))) > 60 and (shown.max(axis=2) > 40).mean() > 0.2


def has_colour(shown):
    """Whether there are pixels of a strong colour, as those of a heat map, inside a picture."""
    return is_drawn(shown) and ((shown.max(axis=2) - shown.min(axis=2)) > 60).mean() > 0.005


def test_the_film_still_opens(page):
    assert is_drawn(wait_for_picture(page, is_drawn))
    assert not page.faults


def test_the_picture_is_drawn_in_colour(page):
    open_series(page, "OT")
    assert has_colour(wait_for_picture(page, has_colour))
    assert not page.faults


def test_the_sr_breaks_nothing(page):
    """It may be drawn or not; the film opens after it, and no script of the viewer fails."""
    listed = [one.inner_text().strip() for one in page.locator(THUMBNAIL).all()]
    sr = [number for number, text in enumerate(listed) if text.startswith("SR")]
    if sr:
        page.locator(THUMBNAIL).nth(sr[0]).dblclick()
    open_series(page, dcmread(films()[0]).Modality)
    assert is_drawn(wait_for_picture(page, is_drawn))
    assert not page.faults
