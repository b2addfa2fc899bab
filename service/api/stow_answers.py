"""What a STOW-RS client hears: the one table from our errors to failure reasons (PS3.18 10.5.3, I.2.2).

| what happened                           | FailureReason   | worth another try |
|-----------------------------------------|-----------------|-------------------|
| stored, or the same bytes were there    | none            |                   |
| same SOP Instance UID, other bytes      | 273   0x0111    | no; quarantined   |
| no room, or no writable disk            | 42752 0xA700    | yes               |
| a UID is missing or malformed           | 43264 0xA900    | no                |
| the object contradicts its request      | 43264 0xA900    | no                |
| not of the study that the URL names     | 43264 0xA900    | no                |
| cannot be read, is cut off, or no DICOM | 49152 0xC000    | no                |
| any other fault                         | 272   0x0110    | no                |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from hoichan.errors import (
    HoichanError,
    IncompleteObject,
    NotDicom,
    SpoolFull,
    StorageUnusable,
    WrongSopClass,
    WrongStudy,
)

NO_ROOM = 0xA700
REASONS: Mapping[type[Exception], int] = {
    SpoolFull: NO_ROOM,
    StorageUnusable: NO_ROOM,
    IncompleteObject: 0xA900,
    WrongSopClass: 0xA900,
    WrongStudy: 0xA900,
    NotDicom: 0xC000,
    Exception: 0x0110,
}
CHANGED_CONTENT = 0x0111  # duplicate SOP instance (PS3.7 annex C): the first stays, this one is set aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one part."""

    sop_class_uid: str | None  # None: it could not be read
    sop_instance_uid: str | None
    failure_reason: int | None = None  # (0008,1197); None: it is stored


def reason_of(error: Exception) -> int:
    """The row of the nearest class in the table; the disk's errors and those that pass are "no room"."""
    for kind in type(error).__mro__:
        if kind is Exception:
            break
        if kind in REASONS:
            return REASONS[kind]
    if isinstance(error, OSError) or (isinstance(error, HoichanError) and error.retryable):
        return NO_ROOM
    return REASONS[Exception]


def status_of(outcomes: Sequence[Outcome]) -> HTTPStatus:
    """200: all are stored; 202: some; 503: none, but all may be sent again; 409: none (table 10.5.3-1)."""
    failed = [one.failure_reason for one in outcomes if one.failure_reason is not None]
    if not failed:
        return HTTPStatus.OK
    if len(failed) < len(outcomes):
        return HTTPStatus.ACCEPTED
    return HTTPStatus.SERVICE_UNAVAILABLE if set(failed) == {NO_ROOM} else HTTPStatus.CONFLICT


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The Store Instances Response Module in the DICOM JSON model (PS3.18 I.2.1 and F.2).

    Retrieve URL (0008,1190) is empty (type 2): who may store may not always retrieve. A sequence without
    items is left out, because clients take its presence for a failure.
    """
    answer: dict[str, Any] = {"00081190": {"vr": "UR"}}
    stored, failed, others = [], [], []
    for one in outcomes:
        reason = {"00081197": {"vr": "US", "Value": [one.failure_reason]}}
        if one.sop_class_uid is None or one.sop_instance_uid is None:
            others.append(reason)
            continue
        item: dict[str, Any] = {
            "00081150": {"vr": "UI", "Value": [one.sop_class_uid]},
            "00081155": {"vr": "UI", "Value": [one.sop_instance_uid]},
        }
        if one.failure_reason is None:
            stored.append({**item, "00081190": {"vr": "UR"}})
        else:
            failed.append({**item, **reason})
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", others)):
        if items:
            answer[tag] = {"vr": "SQ", "Value": items}
    return answer
