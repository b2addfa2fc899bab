"""What the door counts of each answer."""

import pytest

from dicom_listener.counting import count_answer, count_rejection
from dicom_listener.statuses import NO_ROOM, SUCCESS, answer_to
from hoichan.errors import NotDicom, SpoolFull
from hoichan.meters import Key, Tally
from hoichan.settings import Sender

ROOM = Sender(ae_title="CR_ROOM1", host="10.0.0.1")


@pytest.mark.parametrize(
    ("answer", "details", "outcome"),
    [
        (SUCCESS, {"duplicate": False, "quarantined": None}, "stored"),
        (SUCCESS, {"duplicate": True, "quarantined": None}, "duplicate"),
        (SUCCESS, {"duplicate": False, "quarantined": "changed_content"}, "quarantined"),
        (answer_to(SpoolFull("x")), {"code": "intake.spool_full"}, "refused_a700"),
        (answer_to(NotDicom("x")), {}, "refused_c000"),
    ],
)
def test_an_answer_is_counted_by_sender_and_outcome(answer, details, outcome):
    tally = Tally()
    count_answer(tally, ROOM, answer, {"size_bytes": 512, **details})
    counts = tally.take()
    assert counts.pop(Key("instances_received_total", ("CR_ROOM1", outcome))) == 1
    stored = {Key("received_bytes_total", ("CR_ROOM1",)): 512}
    assert counts == (stored if outcome == "stored" else {})


def test_who_fits_no_entry_has_one_name_for_all():
    tally = Tally()
    count_answer(tally, None, answer_to(NotDicom("x")), {"calling_ae_title": "MADE_UP"})
    assert list(tally.take()) == [Key("instances_received_total", ("unknown", "refused_c000"))]


def test_a_rejection_is_counted_by_its_reason():
    tally = Tally()
    count_rejection(tally, NO_ROOM)
    assert tally.take() == {Key("associations_rejected_total", ("local_limit_exceeded",)): 1}
