"""Two DICOMweb clients that nobody of us wrote store here: dicomweb-client and Orthanc."""

import json
import urllib.request
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.headers import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import split
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from tests.integration.test_page import Page
from tests.peers import orthanc

pytestmark = pytest.mark.peers


@pytest.fixture
def page(tmp_path):
    page = Page(tmp_path / "data", tmp_path / "ready", HOICHAN_WEB__STOW="true")
    yield page
    page.process.communicate(timeout=30)


@pytest.fixture
def spool(tmp_path):
    return DiskSpool(tmp_path / "data" / "spool")


def kept(spool, study):
    return [split(spool.file(one.path).read_bytes()) for one in spool.listing(study)]


def test_dicomweb_client_stores(page, spool):
    api = pytest.importorskip("dicomweb_client.api")
    client = api.DICOMwebClient(f"http://127.0.0.1:{page.port}/dicom-web")
    films = [
        dcmread(BytesIO(as_file(film(instance=syntax), syntax)))
        for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED)
    ]
    answer = client.store_instances(films)
    assert len(answer.ReferencedSOPSequence) == 3 and "FailedSOPSequence" not in answer
    assert {one.transfer_syntax_uid for one in kept(spool, film().StudyInstanceUID)} == {
        EXPLICIT_LITTLE,
        IMPLICIT_LITTLE,
        DEFLATED,
    }


def test_dicomweb_client_hears_what_was_not_stored(page, spool):
    api = pytest.importorskip("dicomweb_client.api")
    client = api.DICOMwebClient(f"http://127.0.0.1:{page.port}/dicom-web")
    films = [dcmread(BytesIO(as_file(one))) for one in (film(), film(study="other", instance="other"))]
    answer = client.store_instances(films, study_instance_uid=film().StudyInstanceUID)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [film().SOPInstanceUID]
    assert [item.FailureReason for item in answer.FailedSOPSequence] == [43264]


def test_orthanc_stores(page, spool, tmp_path):
    if not orthanc.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    pacs = orthanc.Orthanc(tmp_path / "pacs")
    place = pacs.folder / "orthanc.json"
    settings = json.loads(place.read_text(encoding="utf-8"))
    settings["DicomWeb"]["Servers"] = {"hoichan": [f"http://127.0.0.1:{page.port}/dicom-web/"]}
    place.write_text(json.dumps(settings), encoding="utf-8")
    source = get_testdata_file("JPEG2000.dcm")
    with pacs:
        with open(source, "rb") as file:  # noqa: PTH123
            content = file.read()
        (tmp_path / "film.dcm").write_bytes(content)
        pacs.upload(tmp_path / "film.dcm")
        (instance,) = json.loads(pacs.get("instances"))
        order = json.dumps({"Resources": [instance], "Synchronous": True}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{pacs.http_port}/dicom-web/servers/hoichan/stow", data=order, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
        sent = pacs.get(f"instances/{instance}/file")
    (one,) = kept(spool, str(dcmread(source, stop_before_pixels=True).StudyInstanceUID))
    assert one.data_set == split(sent).data_set
