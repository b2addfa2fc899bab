import errno

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_listener.statuses import ANSWERS, SUCCESS, answer_to, response
from hoichan import errors
from hoichan.errors import HoichanError

EXPECTED = {  # standards: PS3.4 table B.2-1
    errors.SpoolFull: 0xA700,
    errors.StorageUnusable: 0xA700,
    errors.TooFast: 0xA700,
    errors.RecordsUnavailable: 0xA700,
    errors.RunnerFailed: 0xA700,
    errors.IncompleteObject: 0xA900,
    errors.WrongSopClass: 0xA900,
    errors.NotDicom: 0xC000,
    errors.UnknownSender: 0x0124,
    errors.IntakeError: 0x0110,
    errors.HoichanError: 0x0110,
    OSError: 0xA700,
    ValueError: 0x0110,
    RuntimeError: 0x0110,
}


@pytest.mark.parametrize(("kind", "status"), EXPECTED.items())
def test_every_error_has_its_status(kind, status):
    assert answer_to(kind("x")).status == status


def test_a_disk_error_may_be_tried_again():
    assert answer_to(OSError(errno.EIO, "broken")).status == 0xA700


def every(kind):
    return {kind}.union(*(every(below) for below in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(every(errors.IntakeError), key=lambda kind: kind.__name__))
def test_every_intake_error_that_may_be_tried_again_says_so(kind):
    assert (answer_to(kind("x")).status & 0xFF00 == 0xA700) is kind.retryable


@pytest.mark.parametrize("answer", [SUCCESS, *ANSWERS.values()])
def test_every_answer_is_one_of_the_service_and_short(answer):
    assert answer.status in STORAGE_SERVICE_CLASS_STATUS
    assert len(answer.comment) <= 64 and answer.comment.isascii()
    encoded = response(answer)
    assert encoded.Status == answer.status
    assert encoded.get("ErrorComment", "") == answer.comment


def test_no_text_of_an_error_reaches_the_sender():
    assert "MARKER" not in str(response(answer_to(HoichanError("MARKER"))))


def test_nothing_answers_as_pynetdicom_would():
    assert 0xC211 not in {answer.status for answer in ANSWERS.values()}
