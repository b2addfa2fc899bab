"""DICOMweb both ways with clients and servers that nobody of us wrote: dicomweb-client and Orthanc.

The same questions are asked of Orthanc and of us over the same objects; the answers must agree.
"""

from __future__ import annotations

import json
import urllib.request
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest
from pydicom import dcmread

from hoichan.adapters.couriers import DimseCourier, StowCourier
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dicomweb import DicomwebSink
from hoichan.errors import Unreachable
from hoichan.guard.scopes import Scope
from hoichan.intake.part10 import split
from hoichan.reporting import plan
from hoichan.reporting.forwarding import Errand, ForwardState, Piece
from hoichan.settings import DicomDestination, DicomwebDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.reports import REPORTED_AT
from tests.integration.test_page import Page
from tests.peers import orthanc as orthanc_module
from tests.unit.service.api.dicomweb_site import DicomwebSite, sample

pytestmark = pytest.mark.peers
SAMPLES = ("CT_small.dcm", "emri_small.dcm", "emri_small_jpeg_2k_lossless.dcm", "waveform_ecg.dcm")


def objects():
    lan = film(study="lan", instance="2")
    lan.PatientName, lan.PatientID, lan.StudyDate = "Trần^Lan^Thị", "BN0002", "20261121"
    lan.AccessionNumber, lan.StudyDescription = "XR2", "Ngực thẳng"
    return [as_file(film()), as_file(film(instance="2")), as_file(lan), *map(sample, SAMPLES)]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    with orthanc_module.Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A page in a process of its own over the same objects, and a token to read with."""
    folder = tmp_path_factory.mktemp("ours")
    site = DicomwebSite(folder)
    for one in objects():
        site.store(one)
    token = site.record.tokens.add("viewer", [Scope.READ])
    site.close()
    page = Page(folder, folder / "ready")
    yield f"http://127.0.0.1:{page.port}/dicom-web", token
    page.end()


@pytest.fixture(scope="module")
def clients(ours, pacs):
    api = pytest.importorskip("dicomweb_client.api")
    for one in objects():
        request = urllib.request.Request(
            f"http://127.0.0.1:{pacs.http_port}/instances", data=one, method="POST"
        )
        urllib.request.urlopen(request, timeout=30).close()
    here = api.DICOMwebClient(ours[0], headers={"Authorization": f"Bearer {ours[1]}"})
    return here, api.DICOMwebClient(f"http://127.0.0.1:{pacs.http_port}/dicom-web")


STUDY, LAN = film().StudyInstanceUID, film(study="lan").StudyInstanceUID


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"search_filters": {"PatientID": "BN0002"}},
        {"search_filters": {"PatientID": "BN*"}},
        {"search_filters": {"PatientID": "BN000?"}},
        {"search_filters": {"StudyDate": "20261121"}},
        {"search_filters": {"StudyDate": "20261101-20261130"}},
        {"search_filters": {"AccessionNumber": "XR2"}},
        {"search_filters": {"ModalitiesInStudy": "CT"}},
        {"search_filters": {"StudyInstanceUID": LAN}},
        {"search_filters": {"PatientID": "NOBODY"}},
        {"search_filters": {"00100020": "BN0002", "00080050": "XR2"}},
    ],
    ids=str,
)
def test_the_same_studies_are_found(clients, pacs, query):
    ours = clients[0].search_for_studies(**query)
    wishes = query.get(
        "search_filters", {}
    ).items()  # the client quotes `*`, which this Orthanc does not undo
    address = "&".join(f"{key}={quote(value, safe='*?')}" for key, value in wishes)
    theirs = json.loads(pacs.get(f"dicom-web/studies?{address}") or b"[]")
    keys = ("0020000D", "00100010", "00100020", "00080020", "00201208")
    pick = [
        [{key: one.get(key, {}).get("Value") for key in keys} for one in found] for found in (ours, theirs)
    ]
    assert sorted(pick[0], key=str) == sorted(pick[1], key=str)


def test_the_same_series_and_instances_are_found(clients):
    for search, tag in (("search_for_series", "0020000E"), ("search_for_instances", "00080018")):
        ours, theirs = (
            {one[tag]["Value"][0] for one in getattr(client, search)(study_instance_uid=STUDY)}
            for client in clients
        )
        assert ours == theirs and ours
    series = film().SeriesInstanceUID
    ours, theirs = (len(client.search_for_instances(STUDY, series)) for client in clients)
    assert ours == theirs == 2


def test_metadata_agree(clients):
    for name in ("CT_small.dcm", "waveform_ecg.dcm"):
        study = str(dcmread(BytesIO(sample(name))).StudyInstanceUID)
        ours, theirs = (client.retrieve_study_metadata(study)[0] for client in clients)
        for tag in ("00080018", "00080016", "00100020", "00200011", "00280010", "00280030", "003A0005"):
            assert ours.get(tag) == theirs.get(tag), tag


@pytest.mark.parametrize("name", SAMPLES)
def test_objects_come_back_as_they_are_kept(clients, name):
    was = dcmread(BytesIO(sample(name)))
    (one,) = clients[0].retrieve_study(str(was.StudyInstanceUID), media_types=(("application/dicom", "*"),))
    assert one == was and one.file_meta.TransferSyntaxUID == was.file_meta.TransferSyntaxUID


def test_objects_come_unpacked_where_that_is_asked_for(clients):
    was = dcmread(BytesIO(sample("emri_small_jpeg_2k_lossless.dcm")))
    uids = [str(getattr(was, key)) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    one = clients[0].retrieve_instance(*uids, media_types=(("application/dicom", "1.2.840.10008.1.2.1"),))
    assert one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert np.array_equal(one.pixel_array, was.pixel_array)


@pytest.mark.parametrize("name", ["CT_small.dcm", "emri_small.dcm"])
def test_frames_agree(clients, name):
    was = dcmread(BytesIO(sample(name)))
    uids = [str(getattr(was, key)) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    kinds = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    ours, theirs = (client.retrieve_instance_frames(*uids, [1], media_types=kinds) for client in clients)
    assert ours == theirs


def test_pictures_and_bulk_data(clients):
    was = dcmread(BytesIO(sample("CT_small.dcm")))
    uids = [str(getattr(was, key)) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    png = clients[0].retrieve_instance_rendered(*uids, media_types=("image/png",))
    assert png.startswith(b"\x89PNG")
    (document,) = clients[0].retrieve_study_metadata(uids[0])
    (value,) = clients[0].retrieve_bulkdata(document["7FE00010"]["BulkDataURI"])
    assert value == was.PixelData


# ---------------------------------------------------------------------- STOW-RS out
def destination(pacs, **changes):
    values = {"name": "pacs2", "kind": "dicomweb", "url": f"http://127.0.0.1:{pacs.http_port}/dicom-web"}
    return DicomwebDestination(**{**values, "wait_for_images_seconds": 0, **changes})


def test_results_wait_for_their_images_and_then_are_stored_once(pacs, tmp_path):
    made = a_film("stow")
    (tmp_path / "film.dcm").write_bytes(as_bytes(made))
    study = a_study(made)
    report = a_report(study)
    to = destination(pacs, wait_for_images_seconds=600)
    documents = DocumentEncoder(FolderOfFilms(tmp_path), Settings(destinations=(to,))).encode(study, report)
    (delivery,) = plan(report, study, [to], documents, REPORTED_AT)
    sink = DicomwebSink(to)
    with pytest.raises(Unreachable, match="images_not_there"):
        sink.deliver(delivery, documents)
    pacs.upload(tmp_path / "film.dcm")
    assert sink.deliver(delivery, documents) == "HTTP 200"
    assert pacs.uids(study.study_instance_uid, "SR") == [report.report_uid]
    before = pacs.count()
    assert sink.deliver(delivery, documents) == "HTTP 200"
    assert pacs.count() == before


# ---------------------------------------------------------------------- forwarding
def piece(folder, content):
    read = dcmread(BytesIO(content), stop_before_pixels=True)
    file = folder / f"{read.SOPInstanceUID}.dcm"
    file.write_bytes(content)
    errand = Errand(
        rule="all",
        destination="x",
        study_instance_uid=str(read.StudyInstanceUID),
        sop_instance_uid=str(read.SOPInstanceUID),
        sop_class_uid=str(read.SOPClassUID),
        transfer_syntax_uid=str(read.file_meta.TransferSyntaxUID),
        path=file.name,
    )
    return Piece(
        errand=errand,
        study_instance_uid=errand.study_instance_uid,
        sop_class_uid=errand.sop_class_uid,
        sop_instance_uid=errand.sop_instance_uid,
        transfer_syntax_uid=errand.transfer_syntax_uid,
        file=file,
    )


@pytest.mark.parametrize("way", ["dicom", "dicomweb"])
def test_originals_arrive_at_orthanc_as_they_are(tmp_path, way):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    with orthanc_module.Orthanc(tmp_path / "pacs") as pacs:
        if way == "dicom":
            to = DicomDestination(name="p", kind="dicom", host="127.0.0.1", port=pacs.port, ae_title="PACS")
            courier = DimseCourier(to, "HOICHAN")
        else:
            courier = StowCourier(destination(pacs))
        contents = objects()
        words = list(courier.bring([piece(tmp_path, one) for one in contents]))
        assert {word.state for word in words} == {ForwardState.SENT}
        for one in contents:
            kept = pacs.file(str(dcmread(BytesIO(one), stop_before_pixels=True).SOPInstanceUID))
            if way == "dicomweb":
                assert split(kept).data_set == split(one).data_set
            else:  # its DIMSE side writes some VRs anew; tests/contracts/test_courier.py looks at the bytes
                values = [{e.tag: e.value for e in dcmread(BytesIO(file))} for file in (kept, one)]
                assert values[0] == values[1]
        assert json.loads(pacs.get("statistics"))["CountInstances"] == len(contents)
