"""Break-glass: what a person must say to see one study of another facility, and for how long it opens."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

SHORTEST = 10  # characters of the words: "x" is no reason
LONGEST = 500


class Reason(StrEnum):
    """Why. Stable: they are in records for decades."""

    EMERGENCY = "emergency"  # the patient is here and in danger
    TRANSFER = "transfer"  # the patient is on the way here
    ON_CALL = "on_call"  # cover for a colleague of that facility
    COMPLAINT = "complaint"  # a fault or a complaint is looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """One time that somebody broke the glass."""

    user_name: str
    study_instance_uid: str
    begun_at: datetime
    ends_at: datetime
    reason: Reason
    words: str  # as it was written; for the auditor alone


def words_of(text: str) -> str | None:
    """The words as they are kept, on one line; None where they are no reason."""
    line = " ".join(unicodedata.normalize("NFC", text).split())
    letters = sum(character.isalnum() for character in line)
    return line if letters >= SHORTEST and len(line) <= LONGEST else None
