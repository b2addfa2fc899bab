"""STOW-RS as a sender: forms that an archive does not know, images that must be there first, secrets."""

import json
from io import BytesIO

import httpx2
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.images_there import references_of
from hoichan.adapters.sink_dicomweb import DicomwebSink
from hoichan.errors import Refused, Unreachable
from hoichan.reporting import plan
from hoichan.settings import DicomwebDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import REPORTED_AT

STUDY = a_study()
REPORT = a_report(STUDY)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    destination = DicomwebDestination(name="pacs2", kind="dicomweb", url="http://pacs")
    return DocumentEncoder(FolderOfFilms(folder), Settings(destinations=(destination,))).encode(STUDY, REPORT)


class Archive:
    """Keeps what it is sent, as far as it knows the SOP class."""

    def __init__(self, *, unknown=(), images=(), qido=True, no_jpeg=None):
        self.unknown, self.images, self.qido = set(unknown), set(images), qido
        self.no_jpeg = no_jpeg  # None: it takes it; else the status of a whole request with one, or 202
        self.classes, self.requests, self.syntaxes = [], [], []

    def __call__(self, request):
        self.requests.append(request)
        if request.method == "GET":
            if not self.qido:
                return httpx2.Response(404 if self.qido is None else 501)
            if request.url.path.endswith("/studies"):
                return httpx2.Response(200, json=[])
            uid = request.url.params["SOPInstanceUID"]
            found = [{"00080018": {"vr": "UI", "Value": [uid]}}]
            return httpx2.Response(200, json=found) if uid in self.images else httpx2.Response(204)
        stored, failed = [], []
        for part in request.read().split(b"Content-Type: application/dicom\r\n\r\n")[1:]:
            one = dcmread(BytesIO(part), stop_before_pixels=True)
            item = {"00081155": {"vr": "UI", "Value": [str(one.SOPInstanceUID)]}}
            is_jpeg = one.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
            if is_jpeg and self.no_jpeg == 202:
                failed.append({**item, "00081197": {"vr": "US", "Value": [0xC122]}})
            elif is_jpeg and self.no_jpeg is not None:
                return httpx2.Response(self.no_jpeg)
            elif one.SOPClassUID in self.unknown:
                failed.append({**item, "00081197": {"vr": "US", "Value": [0x0122]}})
            else:
                self.classes.append(str(one.SOPClassUID))
                self.syntaxes.append(str(one.file_meta.TransferSyntaxUID))
                stored.append(item)
        told = {"00081199": {"vr": "SQ", "Value": stored}, "00081198": {"vr": "SQ", "Value": failed}}
        return httpx2.Response(202 if stored and failed else 409 if failed else 200, content=json.dumps(told))


def sink(archive, clock=lambda: 0.0, **changes):
    asked = {"name": "pacs2", "kind": "dicomweb", "url": "http://pacs/dicom-web/"}
    destination = DicomwebDestination(**{**asked, "wait_for_images_seconds": 0, **changes})
    made = DicomwebSink(destination, transport=httpx2.MockTransport(archive), monotonic=clock)
    return made, destination


def deliver(made, destination, documents):
    (delivery,) = plan(REPORT, STUDY, [destination], documents, REPORTED_AT)
    return made.deliver(delivery, documents)


COMPREHENSIVE_3D, COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33"
ENHANCED, CAPTURE = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.7"


def test_the_study_is_named_and_the_best_form_goes(documents):
    archive = Archive()
    assert deliver(*sink(archive), documents) == "HTTP 200"
    assert archive.classes == [CAPTURE, COMPREHENSIVE_3D]
    assert archive.requests[0].url.path == f"/dicom-web/studies/{STUDY.study_instance_uid}"


def test_what_the_archive_does_not_know_is_sent_in_the_next_form(documents):
    archive = Archive(unknown=[COMPREHENSIVE_3D, COMPREHENSIVE])
    deliver(*sink(archive), documents)
    assert archive.classes == [CAPTURE, ENHANCED]


def test_no_form_at_all_is_a_refusal(documents):
    with pytest.raises(Refused, match="0x0122"):
        deliver(*sink(Archive(unknown=[COMPREHENSIVE_3D, COMPREHENSIVE, ENHANCED])), documents)


def test_results_wait_for_their_images_and_then_for_a_person(documents):
    archive, now = Archive(), [0.0]
    made, destination = sink(archive, lambda: now[0], wait_for_images_seconds=60)
    for seconds in (0, 30, 59):
        now[0] = float(seconds)
        with pytest.raises(Unreachable, match="images_not_there"):
            deliver(made, destination, documents)
    assert archive.classes == []
    now[0] = 60.0
    with pytest.raises(Refused, match="images_not_there"):
        deliver(made, destination, documents)
    assert archive.classes == []


def test_results_go_as_soon_as_the_images_are_there(documents):
    (series,) = references_of(documents).values()
    images = [
        uid
        for uids in series.values()
        for uid in uids
        if uid in {one.sop_instance_uid for one in STUDY.instances}
    ]
    archive = Archive(images=images)
    assert deliver(*sink(archive, wait_for_images_seconds=60), documents)
    assert images


@pytest.mark.parametrize("archive", [Archive(qido=False), Archive(qido=None)], ids=["501", "404 to all"])
def test_who_cannot_be_asked_gets_results_only_where_the_site_says_so(documents, archive):
    with pytest.raises(Unreachable, match="images_not_known"):
        deliver(*sink(archive, wait_for_images_seconds=60), documents)
    assert archive.classes == []
    assert deliver(*sink(archive, wait_for_images_seconds=60, images="assume"), documents)


def test_whether_images_came_can_be_asked_without_sending_anything(documents):
    archive = Archive()
    made, destination = sink(archive, wait_for_images_seconds=60)
    (delivery,) = plan(REPORT, STUDY, [destination], documents, REPORTED_AT)
    assert not made.images_are_known(delivery, documents)
    archive.images = {one.sop_instance_uid for one in STUDY.instances}
    assert made.images_are_known(delivery, documents)
    assert archive.classes == []


def test_who_we_are_is_shown_and_never_carried_elsewhere(documents):
    archive = Archive()
    deliver(*sink(archive, auth={"kind": "bearer", "token": "secret"}), documents)
    assert archive.requests[0].headers["authorization"] == "Bearer secret"
    deliver(*sink(archive, auth={"kind": "basic", "username": "ai", "password": "x"}), documents)
    assert archive.requests[1].headers["authorization"].startswith("Basic ")

    def elsewhere(request):
        assert request.url.host == "pacs"
        return httpx2.Response(307, headers={"Location": "http://evil/"})

    with pytest.raises(Refused):
        deliver(*sink(elsewhere, auth={"kind": "bearer", "token": "secret"}), documents)


def test_a_picture_goes_as_jpeg(documents):
    archive = Archive()
    assert deliver(*sink(archive), documents) == "HTTP 200"
    assert archive.syntaxes == [JPEGBaseline8Bit, ExplicitVRLittleEndian]
    assert len(archive.requests) == 1


@pytest.mark.parametrize("status", [202, 400, 406, 409, 415])
def test_an_archive_that_takes_no_jpeg_gets_the_picture_laid_open(documents, status):
    archive = Archive(no_jpeg=status)
    assert deliver(*sink(archive), documents) == "HTTP 200"
    assert archive.syntaxes == [ExplicitVRLittleEndian] * 2
    assert sorted(archive.classes) == sorted(document.sop_class_uid for document in documents[:2])
    assert len(archive.requests) == 2


def test_a_picture_that_is_refused_anyhow_is_refused_once_more_and_told(documents):
    archive = Archive(unknown=[documents[0].sop_class_uid])
    with pytest.raises(Refused, match="0x0122"):
        deliver(*sink(archive), documents)
    assert len(archive.requests) == 2


def test_who_says_later_is_not_asked_twice(documents):
    archive = Archive(no_jpeg=503)
    with pytest.raises(Unreachable):
        deliver(*sink(archive), documents)
    assert len(archive.requests) == 1
