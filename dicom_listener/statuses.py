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
    TooFast,
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
    TooFast: Answer(status=0xA700, comment="More instances a minute than agreed; send again later"),
    IncompleteObject: Answer(status=0xA900, comment="A UID that filing needs is missing or malformed"),
    WrongSopClass: Answer(status=0xA900, comment="Data set and request differ in SOP class or instance"),
    NotDicom: Answer(status=0xC000, comment="The data set cannot be read or is cut off"),
    UnknownSender: Answer(status=0x0124, comment="This sender may not store here"),
    Exception: Answer(status=0x0110, comment="Processing failure; see the log of the receiver"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    name: str  # for the log
    result: int  # 1: permanent, 2: transient, so that a modality tries again
    source: int  # 1: service user, 3: service provider, presentation
    reason: int


STRANGER = Rejection(name="calling_ae_title_not_recognised", result=1, source=1, reason=3)
NOT_US = Rejection(name="called_ae_title_not_recognised", result=1, source=1, reason=7)
NO_ROOM = Rejection(name="local_limit_exceeded", result=2, source=3, reason=2)


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


# DIMSE-N, PS3.7 annex C
UNAVAILABLE = Answer(status=0x0213, comment="No room or no writable disk; ask again later")
UNREADABLE = Answer(status=0x0110, comment="The data set of the request cannot be read")
NO_SUCH_OPERATION = Answer(status=0x0211, comment="This SOP class has no such operation here")
NO_SUCH_CLASS = Answer(status=0x0118, comment="This SOP class is not served here")


def n_answer_to(error: Exception) -> Answer:
    """The same for DIMSE-N, which has other numbers for it."""
    if isinstance(error, NotDicom):
        return UNREADABLE
    return UNAVAILABLE if answer_to(error).status == 0xA700 else ANSWERS[Exception]


def response(answer: Answer) -> Dataset:
    """The status elements of the C-STORE response."""
    data_set = Dataset()
    data_set.Status = answer.status
    if answer.comment:
        data_set.ErrorComment = answer.comment
    return data_set
