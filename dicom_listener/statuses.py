"""What the sender hears: the one table from our errors to C-STORE statuses (PS3.4 table B.2-1).

A modality tries 0xA7xx again later and gives 0xA9xx and 0xCxxx up. Comments are constant texts of at most
64 characters (PS3.5 6.2 LO), so nothing of a data set can be in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from hoichan.errors import (
    HoichanError,
    IncompleteObject,
    NotDicom,
    SpoolFull,
    StorageUnusable,
    UnknownSender,
    WrongSopClass,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One C-STORE status."""

    status: int  # (0000,0900)
    comment: str  # (0000,0902); "" with Success


SUCCESS = Answer(status=0x0000, comment="")
ANSWERS: Mapping[type[Exception], Answer] = {
    SpoolFull: Answer(status=0xA700, comment="No room or no writable disk; send again later"),
    StorageUnusable: Answer(status=0xA700, comment="No room or no writable disk; send again later"),
    IncompleteObject: Answer(status=0xA900, comment="A UID that filing needs is missing or malformed"),
    WrongSopClass: Answer(status=0xA900, comment="Data set and request differ in SOP class or instance"),
    NotDicom: Answer(status=0xC000, comment="The data set cannot be read or is cut off"),
    UnknownSender: Answer(status=0x0124, comment="This sender may not store here"),
    Exception: Answer(status=0x0110, comment="Processing failure; see the log of the receiver"),
}
REJECTION = (0x01, 0x01, 0x03)  # permanent, service user, calling AE title not recognised (PS3.8 9.3.4)


def answer_to(error: Exception) -> Answer:
    """The row of the nearest class in the table; an error that says so may be sent again."""
    for kind in type(error).__mro__:
        if kind is Exception:
            break
        if kind in ANSWERS:
            return ANSWERS[kind]
    if isinstance(error, OSError) or (isinstance(error, HoichanError) and error.retryable):
        return ANSWERS[SpoolFull]
    return ANSWERS[Exception]


def response(answer: Answer) -> Dataset:
    """The status elements of the C-STORE response."""
    data_set = Dataset()
    data_set.Status = answer.status
    if answer.comment:
        data_set.ErrorComment = answer.comment
    return data_set
