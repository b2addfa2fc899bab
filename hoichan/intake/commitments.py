"""Storage commitment that we ask for: what the door and the house tell each other (PS3.4 annex J).

The house asks a PACS whether it holds our documents; the PACS may answer on an association of its own, which
comes to the door. The door has no database, so both speak through notes of the spool:

    asked/<transaction>.json               the house has asked: a report on it may come
    commitment-reports/<transaction>.json  what the PACS said, until the house has taken it up
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hoichan.intake.dataset import Header
from hoichan.intake.door import is_uid
from hoichan.ports import Notes

SOP_CLASS = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"  # well-known (PS3.4 J.3.5)
PROCESSING_FAILURE = 0x0110  # stands for a Failure Reason (0008,1197) that is missing

_ASKED = PurePosixPath("asked")
_REPORTS = PurePosixPath("commitment-reports")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What a PACS said about one transaction."""

    transaction_uid: str  # (0008,1195)
    committed: frozenset[str]  # SOP Instance UIDs that it holds for good
    failed: Mapping[str, int]  # SOP Instance UID -> Failure Reason (0008,1197), PS3.3 C.14.1.1


def read_report(header: Header) -> CommitmentReport | None:
    """The report in the Event Information of an N-EVENT-REPORT; None where it names nothing."""
    transaction_uid = header.text("TransactionUID") or ""
    committed = frozenset(
        uid
        for item in header.items("ReferencedSOPSequence")
        if is_uid(uid := item.text("ReferencedSOPInstanceUID") or "")
    )
    failed = {
        uid: item.integer("FailureReason") or PROCESSING_FAILURE
        for item in header.items("FailedSOPSequence")
        if is_uid(uid := item.text("ReferencedSOPInstanceUID") or "")
    }
    if not is_uid(transaction_uid) or not (committed or failed):
        return None
    return CommitmentReport(
        transaction_uid=transaction_uid, committed=committed - failed.keys(), failed=failed
    )


def expect(notes: Notes, transaction_uid: str, *, ae_title: str) -> None:
    """Has the door take a report on this transaction, from this PACS. Raises SpoolFull."""
    notes.write(_ASKED / f"{transaction_uid}.json", {"ae_title": ae_title})


def expected_from(notes: Notes, transaction_uid: str) -> str | None:
    """The AE title of the PACS that was asked; None for a transaction that is not ours, or over."""
    note = notes.read(_ASKED / f"{transaction_uid}.json") if is_uid(transaction_uid) else None
    return None if note is None else str(note["ae_title"])


def expected(notes: Notes) -> frozenset[str]:
    """The transactions on which the door of this spool takes a report."""
    return frozenset(path.stem for path in notes.names(_ASKED))


def forget(notes: Notes, transaction_uid: str) -> None:
    """No report on this transaction is of interest any more."""
    notes.remove(_ASKED / f"{transaction_uid}.json")


def keep(notes: Notes, report: CommitmentReport) -> None:
    """Writes down what a PACS said, for the house. Raises SpoolFull."""
    notes.write(
        _REPORTS / f"{report.transaction_uid}.json",
        {
            "transaction_uid": report.transaction_uid,
            "committed": sorted(report.committed),
            "failed": dict(report.failed),
        },
    )


def reports(notes: Notes) -> Sequence[CommitmentReport]:
    """Everything that was said and is not taken up yet."""
    found = (notes.read(path) for path in notes.names(_REPORTS))
    return [_from_note(note) for note in found if note is not None]


def taken_up(notes: Notes, report: CommitmentReport) -> None:
    """The house has written down what follows from the report."""
    notes.remove(_REPORTS / f"{report.transaction_uid}.json")


def _from_note(note: Mapping[str, Any]) -> CommitmentReport:
    return CommitmentReport(
        transaction_uid=note["transaction_uid"],
        committed=frozenset(note["committed"]),
        failed={uid: int(reason) for uid, reason in note["failed"].items()},
    )
