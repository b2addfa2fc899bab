"""STOW-RS without a socket: every status, every failure reason, every byte."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import (
    HoichanError,
    IncompleteObject,
    NotDicom,
    RecordsUnavailable,
    RunnerFailed,
    SpoolFull,
    StorageUnusable,
    WrongSopClass,
    WrongStudy,
)
from hoichan.intake.files import Counted, take_in
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.meters import Tally
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, MARKER, encode, film, marked_film
from hoichan.testing.files import as_file
from service.api.batches import Batches
from service.api.doorkeeper import Doorkeeper
from service.api.stow import MAXIMUM_REQUESTS, StowDoor, stow_app
from service.api.stow_access import SENDER
from service.api.stow_answers import Outcome, document, reason_of, status_of

TYPE = 'multipart/related; type="application/dicom"; boundary=edge'
URL = "/dicom-web/studies"


def body(*files, part_type="application/dicom", end=b"--\r\n"):
    parts = [b"\r\n--edge\r\nContent-Type: " + part_type.encode() + b"\r\n\r\n" + file for file in files]
    return b"".join([*parts, b"\r\n--edge" + end])[2:]


class Site:
    def __init__(self, spool, folder, *, maximum_bytes=1 << 20, reserve_bytes=0, admit=lambda _: SENDER):
        self.spool = spool
        self.tally = Tally()
        self.door = StowDoor(
            spool,
            folder,
            admit=admit,
            maximum_bytes=maximum_bytes,
            reserve_bytes=reserve_bytes,
            counted=Counted(tally=self.tally, door="stow"),
        )
        app = Starlette(routes=[Mount("/dicom-web", stow_app(self.door))])
        app.add_middleware(Doorkeeper, names=("pacs.example.vn",))
        self.client = TestClient(app, base_url="http://localhost:8080")

    def post(self, content, url=URL, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(url, content=content, headers={"Content-Type": TYPE, **named})


@pytest.fixture
def site(tmp_path):
    fake = FakeSpool()
    site = Site(fake, tmp_path)
    yield site
    site.client.close()
    fake.close()


def references(answer, tag):
    items = answer.json().get(tag, {}).get("Value", [])
    return [item.get("00081155", {}).get("Value", [None])[0] for item in items]


def reasons(answer, tag="00081198"):
    return [item["00081197"]["Value"][0] for item in answer.json().get(tag, {}).get("Value", [])]


STORED, FAILED, OTHERS = "00081199", "00081198", "0008119A"


# ---------------------------------------------------------------------- the table
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SpoolFull(), 42752),
        (StorageUnusable(), 42752),
        (OSError("disk"), 42752),
        (RecordsUnavailable(), 42752),
        (RunnerFailed(), 42752),
        (IncompleteObject(), 43264),
        (WrongSopClass(), 43264),
        (WrongStudy(), 43264),
        (NotDicom(), 49152),
        (HoichanError(), 272),
        (ValueError("a value of the data set"), 272),
    ],
)
def test_every_error_has_its_failure_reason(error, reason):
    assert reason_of(error) == reason


def outcome(reason=None):
    return Outcome(sop_class_uid="1.2", sop_instance_uid="1.2.3", failure_reason=reason)


@pytest.mark.parametrize(
    ("failures", "status"),
    [
        ([None], 200),
        ([None, None], 200),
        ([None, 49152], 202),
        ([42752, None], 202),
        ([49152], 409),
        ([42752, 49152], 409),
        ([42752, 42752], 503),
        ([273], 409),
    ],
)
def test_the_status_says_how_many_are_stored(failures, status):
    assert status_of([outcome(reason) for reason in failures]) == status


def test_a_sequence_without_items_is_left_out():
    assert set(document([outcome()])) == {"00081190", STORED}
    assert set(document([outcome(49152)])) == {"00081190", FAILED}
    unread = Outcome(sop_class_uid=None, sop_instance_uid=None, failure_reason=49152)
    assert set(document([unread])) == {"00081190", OTHERS}


# ---------------------------------------------------------------------- storing
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_an_instance_is_stored_byte_for_byte(site, syntax):
    answer = site.post(body(as_file(film(), syntax)))
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/dicom+json"
    assert references(answer, STORED) == [film().SOPInstanceUID]
    (spooled,) = site.spool.listing(film().StudyInstanceUID)
    assert spooled.calling_ae_title == SENDER
    assert site.spool.file(spooled.path).read_bytes().endswith(encode(film(), syntax))


def test_the_answer_is_a_dicom_data_set(site):
    read = Dataset.from_json(site.post(body(as_file(film()), b"junk")).text)
    (item,) = read.ReferencedSOPSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (
        COMPUTED_RADIOGRAPHY,
        film().SOPInstanceUID,
    )
    assert read.OtherFailuresSequence[0].FailureReason == 0xC000


def test_a_study_is_open_while_its_instances_come_and_looked_at_afterwards(site):
    seen = []
    opened = site.spool.opened
    site.spool.opened = lambda study, name: (opened(study, name), seen.append(site.spool.is_open(study)))
    site.post(body(*(as_file(film(instance=str(number))) for number in range(3))))
    study = film().StudyInstanceUID
    assert seen == [True, True, True] and not site.spool.is_open(study)
    assert site.spool.take_fresh() == [study]


def test_the_same_again_is_success_and_changed_content_is_not(site):
    site.post(body(as_file(film())))
    again = site.post(body(as_file(film())))
    assert (again.status_code, references(again, STORED)) == (200, [film().SOPInstanceUID])
    changed = site.post(body(as_file(film(pixels=b"\2\1" * 64))))
    assert (changed.status_code, reasons(changed)) == (409, [0x0111])
    assert len(site.spool.quarantine) == 1 and len(site.spool.listing(film().StudyInstanceUID)) == 1


def test_what_came_is_counted_by_sender_and_outcome(site):
    site.post(body(as_file(film()), as_file(film()), as_file(film(pixels=b"\7\0" * 64)), b"no DICOM"))
    site.spool.full = True  # a request that begins now is refused as a whole: this one had begun before
    with pytest.raises(SpoolFull):
        take_in(site.spool, as_file(film(instance="2")), calling_ae_title=SENDER, counted=site.door.counted)
    counts = {key.labels: amount for key, amount in site.tally.take().items()}
    assert counts == {
        ("stow", SENDER, outcome): 1.0
        for outcome in ("stored", "duplicate", "quarantined", "refused_object", "refused_no_room")
    }


def test_some_stored_and_some_not(site):
    other = film(study="other", instance="other")
    answer = site.post(
        body(as_file(film()), b"junk", as_file(film(instance="cut"))[:-5], as_file(other)),
        f"{URL}/{film().StudyInstanceUID}",
    )
    assert answer.status_code == 202
    assert references(answer, STORED) == [film().SOPInstanceUID]
    assert references(answer, FAILED) == [film(instance="cut").SOPInstanceUID, other.SOPInstanceUID]
    assert reasons(answer) == [49152, 43264] and reasons(answer, OTHERS) == [49152]
    assert site.spool.every_study() == [film().StudyInstanceUID]


def test_none_stored_is_a_conflict(site):
    assert site.post(body(b"junk")).status_code == 409
    foreign = site.post(body(as_file(film())), f"{URL}/1.2.3")
    assert (foreign.status_code, reasons(foreign)) == (409, [43264])
    picture = site.post(body(as_file(film()), part_type="image/jpeg"))
    assert (picture.status_code, reasons(picture)) == (409, [49152])
    assert site.spool.every_study() == []


def test_a_full_spool_asks_to_come_again(site):
    site.spool.full = True
    early = site.post(body(as_file(film())))
    assert (early.status_code, early.json()["code"]) == (503, "stow.no_room")
    assert early.headers["retry-after"] == "5"
    site.spool.free_bytes = lambda: 1 << 40  # it fills up while the instance travels
    late = site.post(body(as_file(film())))
    assert (late.status_code, reasons(late), late.headers["retry-after"]) == (503, [42752], "5")


def test_a_large_part_waits_on_the_disk(tmp_path):
    spool = DiskSpool(tmp_path / "spool")
    site = Site(spool, tmp_path, maximum_bytes=1 << 30)
    big = film(pixels=b"\0\1" * (5 * 1024 * 1024))
    assert site.post(body(as_file(big), as_file(film(instance="2")))).status_code == 200
    assert len(spool.listing(film().StudyInstanceUID)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spool"]
    site.client.close()


def test_a_folder_where_parts_cannot_wait_asks_to_come_again(tmp_path):
    fake = FakeSpool()
    site = Site(fake, tmp_path / "missing", maximum_bytes=1 << 30)
    answer = site.post(body(as_file(film(pixels=b"\0\1" * (5 * 1024 * 1024)))))
    assert (answer.status_code, answer.json()["code"]) == (503, "stow.no_room")
    site.client.close()
    fake.close()


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("headers", "url", "status", "code"),
    [
        ({"Content-Type": "application/dicom"}, URL, 415, "stow.media_type"),
        ({"Content-Type": TYPE.replace("/dicom", "/dicom+json")}, URL, 415, "stow.media_type"),
        ({"Content-Type": "multipart/form-data; boundary=edge"}, URL, 415, "stow.media_type"),
        ({"Content-Type": ""}, URL, 415, "stow.media_type"),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, URL, 400, "stow.malformed"),
        ({"Content-Type": TYPE.replace("edge", "other")}, URL, 400, "stow.malformed"),
        ({"Accept": "application/dicom+xml"}, URL, 406, "stow.not_acceptable"),
        ({"Host": "elsewhere.example"}, URL, 421, "request.host_not_allowed"),
        ({"Sec-Fetch-Site": "cross-site"}, URL, 403, "request.foreign_origin"),
        ({"Content-Length": "9999999"}, URL, 413, "stow.too_large"),
        ({}, f"{URL}/not-a-uid", 400, "stow.malformed"),
    ],
)
def test_what_is_not_read_is_a_problem(site, headers, url, status, code):
    answer = site.client.post(url, content=body(as_file(film())), headers={"Content-Type": TYPE, **headers})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert site.spool.every_study() == []


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, application/dicom+json;q=0.9"])
def test_what_accepts_the_answer_gets_it(site, accept):
    assert site.post(body(as_file(film())), Accept=accept).status_code == 200


@pytest.mark.parametrize("content", [b"", b"--edge--\r\n", b"junk", b"--edge\r\n", body(end=b"")])
def test_a_body_without_a_part_is_malformed(site, content):
    answer = site.post(content)
    assert (answer.status_code, answer.json()["code"]) == (400, "stow.malformed")


def test_a_body_that_is_cut_off_tells_what_is_stored(site):
    answer = site.post(body(as_file(film()), as_file(film(instance="2")))[:-200])
    assert (answer.status_code, references(answer, STORED)) == (202, [film().SOPInstanceUID])
    assert reasons(answer, OTHERS) == [49152]


def test_a_body_that_grows_too_large_is_refused(site):
    content = body(as_file(film(pixels=b"\0\1" * 600_000)))
    answer = site.client.post(
        URL, content=iter([content[at : at + 65536] for at in range(0, len(content), 65536)]),
        headers={"Content-Type": TYPE},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (413, "stow.too_large")


def test_only_a_few_at_a_time(site):
    places = [site.door.place() for _ in range(MAXIMUM_REQUESTS)]
    for place in places:
        place.__enter__()
    busy = site.post(body(as_file(film())))
    assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (503, "stow.busy", "5")
    for place in places:
        place.__exit__(None, None, None)
    assert site.post(body(as_file(film()))).status_code == 200


def test_a_batch_keeps_its_studies_open_between_its_requests(site):
    timers = []
    released = Batches(site.spool.released, timer=lambda _, then: timers.append(then) or SimpleNamespace(
        start=lambda: None, cancel=lambda: None
    ))  # fmt: skip
    study, named = film().StudyInstanceUID, {"x_upload_batch": "ab" * 16}
    site.post(body(as_file(film(instance="0"))), **named)
    assert not site.spool.is_open(study)  # at a door that knows of no batches
    site.door.batches = released
    site.post(body(as_file(film(instance="1"))), **named)
    site.post(body(as_file(film(instance="2"))), x_upload_batch="no name")
    assert site.spool.is_open(study)
    timers[-1]()
    assert not site.spool.is_open(study)


def test_other_methods_and_paths_are_not_there(site):
    assert site.client.get(URL).status_code == 405
    assert site.client.post("/dicom-web/elsewhere", content=b"").status_code == 404


def test_nothing_of_a_patient_leaves(site):
    marked = as_file(marked_film())
    with capture_logs() as lines:
        answers = [
            site.post(body(marked)),
            site.post(body(marked[:-3], marked, b"MARKER", as_file(marked_film(), meta_syntax=MARKER))),
            site.post(body(marked), f"{URL}/{MARKER}"),
            site.post(b"--edge\r\nMARKER: MARKER\r\nMARKER\r\n\r\nMARKER"),
            site.post(marked),
        ]
    assert [answer.status_code for answer in answers] == [200, 202, 400, 400, 400]
    assert MARKER not in json.dumps(lines, default=str)
    assert all(MARKER not in answer.text for answer in answers)
    assert any(line["event"] == "instance_stored" for line in lines)


@given(data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_of_a_request_is_a_fault_of_ours(site, data):
    whole = bytearray(body(as_file(film(pixels=None)), as_file(film(instance="2", pixels=None))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole)))
        whole[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=20))
    answer = site.post(bytes(whole))
    assert answer.status_code in (200, 202, 400, 409)
    answer.json()
