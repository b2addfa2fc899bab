"""Is a data set fit to be filed? The one question that must be answered before Success (PS3.4 B.2.3).

Only four UIDs are read. They become names of folders and files, so nothing but digits and dots passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hoichan.errors import IncompleteObject, NotDicom, WrongSopClass
from hoichan.intake.headers import Buffer, Element, find, inflated, is_deflated, syntax_of
from hoichan.types import SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID

_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")
_STUDY = 0x0020000D
_WANTED = {
    0x00080016: "SOP Class UID",
    0x00080018: "SOP Instance UID",
    _STUDY: "Study Instance UID",
    0x0020000E: "Series Instance UID",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where an object belongs. Every UID is safe as a part of a path."""

    sop_class_uid: str  # (0008,0016)
    sop_instance_uid: SOPInstanceUID  # (0008,0018)
    study_instance_uid: StudyInstanceUID  # (0020,000D)
    series_instance_uid: SeriesInstanceUID  # (0020,000E)


def is_uid(text: str) -> bool:
    """Digits and single dots, 1 to 64 characters (PS3.5 9.1). Leading zeros of a component are tolerated."""
    return len(text) <= 64 and _UID.match(text) is not None


def identify(
    data: Buffer, *, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, start: int = 0
) -> Identity:
    """Whose object this is, once it has been seen to be whole.

    `data`: the data set, from byte `start` on.
    `sop_class_uid` and `sop_instance_uid` are those of the command (0000,0002) and (0000,1000).
    Raises NotDicom (unreadable or cut off), IncompleteObject (a UID missing or malformed) and
    WrongSopClass (command and data set disagree); none of them can be mended by sending again.
    """
    if len(data) <= start:
        raise NotDicom("The data set is empty.")
    plain = data
    if is_deflated(transfer_syntax_uid):
        plain, start = inflated(data[start:], transfer_syntax_uid), 0
    found: dict[int, str] = {}
    for element in find(plain, syntax_of(transfer_syntax_uid), _WANTED, start=start):
        uid = _uid(plain, element)
        if found.setdefault(element.tag, uid) != uid:
            raise IncompleteObject(f"{_WANTED[element.tag]} stands there twice.")
    for tag, name in _WANTED.items():
        if tag not in found:
            raise IncompleteObject(f"{name} is missing.")
    if found[0x00080016] != sop_class_uid:
        raise WrongSopClass("SOP Class UID of the data set is not that of the request.")
    if found[0x00080018] != sop_instance_uid:
        raise WrongSopClass("SOP Instance UID of the data set is not that of the request.")
    return Identity(
        sop_class_uid=found[0x00080016],
        sop_instance_uid=SOPInstanceUID(found[0x00080018]),
        study_instance_uid=StudyInstanceUID(found[0x0020000D]),
        series_instance_uid=SeriesInstanceUID(found[0x0020000E]),
    )


def study_of(data: Buffer, *, transfer_syntax_uid: str, start: int = 0) -> StudyInstanceUID | None:
    """Of which study a data set says it is that was not fit to be filed; None where it cannot be read."""
    try:
        if is_deflated(transfer_syntax_uid):
            data, start = inflated(data[start:], transfer_syntax_uid), 0
        for element in find(data, syntax_of(transfer_syntax_uid), (_STUDY,), start=start):
            return StudyInstanceUID(_uid(data, element))
    except (NotDicom, IncompleteObject):
        return None
    return None


def _uid(data: Buffer, element: Element) -> str:
    if element.length == 0:
        raise IncompleteObject(f"{_WANTED[element.tag]} is empty.")
    if element.length <= 66:
        text = data[element.start : element.start + element.length].decode("ascii", "replace").rstrip(" \0")
        if is_uid(text):
            return text
    raise IncompleteObject(f"{_WANTED[element.tag]} is malformed.")
