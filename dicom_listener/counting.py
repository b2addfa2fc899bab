"""What the door counts, by sender: an entry of the configuration, never a title that somebody made up."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_listener.statuses import Answer, Rejection
from hoichan.meters import (
    ASSOCIATIONS_REJECTED,
    BYTES_RECEIVED,
    INSTANCES_RECEIVED,
    UNKNOWN_SENDER,
    Tally,
)
from hoichan.settings import Sender


def count_answer(
    tally: Tally,
    sender: Sender | None,
    answer: Answer,
    details: Mapping[str, str | int | float | bool | None],
) -> None:
    """One C-STORE; `details` are those of its log line."""
    label = UNKNOWN_SENDER if sender is None else sender.ae_title
    if answer.status:
        outcome = f"refused_{answer.status:04x}"
    elif details.get("quarantined"):
        outcome = "quarantined"
    else:
        outcome = "duplicate" if details.get("duplicate") else "stored"
    tally.add(INSTANCES_RECEIVED, label, outcome)
    if outcome == "stored":
        tally.add(BYTES_RECEIVED, label, amount=float(details.get("size_bytes") or 0))


def count_rejection(tally: Tally, rejection: Rejection) -> None:
    """One A-ASSOCIATE-RJ."""
    tally.add(ASSOCIATIONS_REJECTED, rejection.name)
