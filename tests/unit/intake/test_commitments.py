import pytest
from pydicom.dataset import Dataset

from hoichan.intake.commitments import (
    CommitmentReport,
    expect,
    expected_from,
    forget,
    keep,
    read_report,
    reports,
    taken_up,
)
from hoichan.intake.dataset import read_header
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.testing.datasets import encode
from hoichan.testing.spool import FakeNotes


def item(uid, reason=None):
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = "1.2", uid
    if reason is not None:
        made.FailureReason = reason
    return made


def information(*, transaction="1.2.3", safe=(), failed=()):
    data_set = Dataset()
    data_set.TransactionUID = transaction
    if safe:
        data_set.ReferencedSOPSequence = list(safe)
    if failed:
        data_set.FailedSOPSequence = list(failed)
    return data_set


def read(data_set, syntax):
    return read_report(read_header(encode(data_set, syntax), syntax))


def test_a_report_is_read_in_both_native_syntaxes():
    said = information(safe=[item("1.1"), item("1.2")], failed=[item("1.3", 0x0112), item("1.4")])
    for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        assert read(said, syntax) == CommitmentReport(
            transaction_uid="1.2.3",
            committed=frozenset({"1.1", "1.2"}),
            failed={"1.3": 0x0112, "1.4": 0x0110},
        )


def test_what_is_named_as_safe_and_as_failed_is_not_safe():
    assert (
        read(information(safe=[item("1.1")], failed=[item("1.1", 0x0112)]), EXPLICIT_LITTLE).committed
        == set()
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_names_nothing_is_no_report():
    for said in (
        information(),
        information(transaction="", safe=[item("1.1")]),
        information(safe=[item("../x")]),
    ):
        assert read(said, EXPLICIT_LITTLE) is None


def test_notes_are_kept_until_they_are_taken_up():
    notes = FakeNotes()
    expect(notes, "1.2.3", ae_title="PACS")
    assert expected_from(notes, "1.2.3") == "PACS"
    for stranger in ("1.2.4", "../../x", ""):
        assert expected_from(notes, stranger) is None
    report = CommitmentReport(transaction_uid="1.2.3", committed=frozenset({"1.1"}), failed={"1.2": 0x0112})
    keep(notes, report)
    assert reports(notes) == [report]
    taken_up(notes, report)
    forget(notes, "1.2.3")
    assert reports(notes) == [] and expected_from(notes, "1.2.3") is None
