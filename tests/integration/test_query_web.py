"""QIDO-RS, WADO-RS and Orthanc's API over a real socket, on good and bad days of the server."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from hoichan.adapters.query_orthanc import OrthancArchive
from hoichan.adapters.query_web import DicomwebArchive
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import Refused, SpoolFull, Unreachable
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.settings import DicomwebSource, OrthancSource
from hoichan.testing.datasets import film

ZONE, NOW = ZoneInfo("Asia/Ho_Chi_Minh"), datetime(2026, 11, 20, 1, 15, tzinfo=UTC)
FILMS = [film(instance="1"), film(instance="2")]
STUDY, SERIES = FILMS[0].StudyInstanceUID, FILMS[0].SeriesInstanceUID


def as_file(data_set):
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def text(value):
    return {"Value": [value]}


class Server(ThreadingHTTPServer):
    """Answers with what `answers` has for a path; remembers what was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked = {}, []
        self.url = f"http://127.0.0.1:{self.server_port}/root"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self.shutdown()
        self._thread.join(60)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def _answer(self):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = (
            parts.path.removeprefix("/root/"),
            parse_qs(parts.query, keep_blank_values=True),
            body,
            dict(self.headers),
        )
        self.server.asked.append(asked)
        found = self.server.answers.get(asked[0], (404, "", b""))
        status, kind, content = found(asked) if callable(found) else found
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def spool(tmp_path):
    return DiskSpool(tmp_path / "spool")


def dicomweb(server, spool, **changes):
    source = DicomwebSource(name="vna", kind="dicomweb", url=server.url, timeout_seconds=5, **changes)
    return DicomwebArchive(source, spool, zone=ZONE)


def orthanc(server, spool, **changes):
    source = OrthancSource(name="pacs", kind="orthanc", url=server.url, timeout_seconds=5, **changes)
    return OrthancArchive(source, spool, zone=ZONE)


def multipart(*files, boundary="B"):
    parts = [
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one + b"\r\n" for one in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def wado(one):
    return f"studies/{STUDY}/series/{SERIES}/instances/{one.SOPInstanceUID}"


WANTED = {one.SOPInstanceUID: SERIES for one in FILMS}


def test_studies_come_page_by_page_and_each_once(server, spool):
    everything = [
        {
            "0020000D": text(f"1.2.{n}"),
            "00201208": text(n),
            "00080061": text("CR"),
            "00080020": text("20261120"),
        }
        for n in range(250)
    ]

    def page(asked):
        offset, limit = int(asked[1]["offset"][0]), int(asked[1]["limit"][0])
        return 200, "application/dicom+json", everything[offset : offset + limit]

    server.answers["studies"] = page
    changes = dicomweb(server, spool).changes("2026-11-19T00:00:00+00:00", now=NOW)
    assert [one.instances for one in changes.holdings] == list(range(250))
    assert changes.holdings[0].study_datetime == datetime(2026, 11, 19, 17, tzinfo=UTC)
    assert server.asked[0][1]["StudyDate"] == ["20261118-"]
    assert len(server.asked) == 3
    server.answers["studies"] = (200, "application/dicom+json", everything[:10])  # knows no offset
    assert len(dicomweb(server, spool).changes(None, now=NOW).holdings) == 10


@pytest.mark.parametrize("shape", ["multipart", "quoted", "single"])
def test_instances_are_taken_as_they_are(server, spool, shape):
    for one in FILMS:
        kinds = {
            "multipart": ("multipart/related; type=application/dicom; boundary=B", multipart(as_file(one))),
            "quoted": ('multipart/related; type="application/dicom"; boundary="B"', multipart(as_file(one))),
            "single": ("application/dicom", as_file(one)),
        }
        server.answers[wado(one)] = (200, *kinds[shape])
    auth = {"kind": "bearer", "token": "secret"}
    done = dicomweb(server, spool, auth=auth).fetch(STUDY, WANTED)
    assert (done.stored, done.failed) == (2, 0)
    assert set(spool.locate(list(WANTED))) == set(WANTED)
    assert not spool.is_open(STUDY)
    headers = server.asked[-1][3]
    assert headers["Authorization"] == "Bearer secret" and "transfer-syntax=*" in headers["Accept"]


def test_what_is_gone_or_of_another_study_is_counted_and_not_kept(server, spool):
    server.answers[wado(FILMS[0])] = (200, "application/dicom", as_file(film(study="another")))
    done = dicomweb(server, spool).fetch(STUDY, WANTED)
    assert (done.stored, done.failed) == (0, 2)
    assert spool.every_study() == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, "text/plain", b""), Unreachable),
        ((429, "text/plain", b""), Unreachable),
        ((401, "text/plain", b""), Refused),
        ((302, "text/plain", b""), Refused),
        ((200, "text/html", b"<html>MARKER</html>"), Refused),
    ],
)
@pytest.mark.parametrize("make", [dicomweb, orthanc])
def test_a_bad_answer_is_for_later_or_for_good_and_is_not_repeated(server, spool, make, answer, error):
    server.answers["studies"] = server.answers["tools/lookup"] = answer
    with pytest.raises(error) as raised:
        make(server, spool).holding(STUDY)
    assert "MARKER" not in str(raised.value) and STUDY not in str(raised.value)


def test_a_broken_multipart_answer_is_for_later(server, spool):
    kind = "multipart/related; type=application/dicom; boundary=B"
    server.answers[wado(FILMS[0])] = (200, kind, multipart(as_file(FILMS[0]))[:-20])
    with pytest.raises(Unreachable):
        dicomweb(server, spool).fetch(STUDY, WANTED)


def test_a_full_disk_ends_the_fetch(server, tmp_path):
    full = DiskSpool(tmp_path / "full", reserve_bytes=1 << 62)
    server.answers[wado(FILMS[0])] = (200, "application/dicom", as_file(FILMS[0]))
    with pytest.raises(SpoolFull):
        dicomweb(server, full).fetch(STUDY, WANTED)


def test_an_orthanc_with_another_database_is_begun_anew(server, spool):
    server.answers["changes"] = (200, "application/json", {"Changes": [], "Done": True, "Last": 7})
    server.answers["tools/find"] = (200, "application/json", [])
    changes = orthanc(server, spool).changes("5000", now=NOW)
    assert changes.mark == "7"
    assert json.loads(server.asked[-1][2])["Query"] == {"StudyDate": "20261119-"}


def test_changes_are_followed_to_their_end(server, spool):
    def page(asked):
        if "last" in asked[1]:
            return 200, "application/json", {"Changes": [], "Done": True, "Last": 3}
        since = int(asked[1]["since"][0])
        change = {
            "ChangeType": "NewInstance",
            "ResourceType": "Instance",
            "ID": f"i{since}",
            "Seq": since + 1,
        }
        return 200, "application/json", {"Changes": [change], "Done": since == 2, "Last": since + 1}

    server.answers["changes"] = page
    server.answers["tools/bulk-content"] = (200, "application/json", [{"ID": "s"}])
    tags = {"StudyInstanceUID": STUDY, "StudyDate": "20261120", "StudyTime": "081530.000"}
    server.answers["studies/s"] = (200, "application/json", {"MainDicomTags": tags})
    series = [{"ID": "x", "MainDicomTags": {"Modality": "CR"}, "Instances": ["i0", "i1", "i2"]}]
    server.answers["studies/s/series"] = (200, "application/json", series)
    changes = orthanc(server, spool).changes("0", now=NOW)
    assert changes.mark == "3"
    (holding,) = changes.holdings
    assert (holding.study_instance_uid, holding.instances, holding.modalities) == (STUDY, 3, ("CR",))
    assert holding.study_datetime == datetime(2026, 11, 20, 1, 15, 30, tzinfo=UTC)


def test_the_body_parts_of_a_study(server, spool):
    def series(asked):
        assert asked[1]["includefield"] == ["00180015"]
        first, second = {"0020000E": text("1.2.1"), "00180015": text("CHEST")}, {"0020000E": text("1.2.2")}
        return 200, "application/dicom+json", [first, second] if asked[1]["offset"] == ["0"] else []

    server.answers[f"studies/{STUDY}/series"] = series
    assert dicomweb(server, spool).body_parts(STUDY) == ["CHEST"]
    tags = [{"MainDicomTags": {"BodyPartExamined": "HAND"}}, {"MainDicomTags": {}}]
    server.answers["tools/lookup"] = (200, "application/json", [{"ID": "a", "Type": "Study"}])
    server.answers["studies/a/series"] = (200, "application/json", tags)
    assert orthanc(server, spool).body_parts(STUDY) == ["HAND"]
    server.answers["tools/lookup"] = (200, "application/json", [])
    assert orthanc(server, spool).body_parts(STUDY) == []
