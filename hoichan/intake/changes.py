"""A known SOP Instance UID that came with other content: what differs, and whether it is only whose it is.

The first content stays, whatever comes: pixels that were scored are never replaced. A console that corrects a
patient sends its images again under the same UIDs; then only attributes of patient and order differ, and the
study may follow. What was refused for its content, but says of which study it is, is told there too: an image
that is missing for good is no secret. Each spool notes what it set aside until the house has taken it up:

    changes/<study>/<name in quarantine>.json
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from pydicom import Dataset, config, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError

from hoichan.intake.door import is_uid
from hoichan.ports import Notes, Spool
from hoichan.types import SOPInstanceUID, StudyInstanceUID

FOLDER = PurePosixPath("changes")
# What pydicom raises on objects that went wrong on their way (seen on fuzzed ones).
_UNREADABLE = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError,
    NotImplementedError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


class Difference(StrEnum):
    """What differs from the content that came first."""

    PATIENT = "patient"  # whose it is, or its order; the images are the same
    ATTRIBUTES = "attributes"  # something else; the pixels are the same
    PIXELS = "pixels"
    UNREADABLE = "unreadable"


# Who it is, and the order: PatientID, its issuer, name, birth date, sex, other ids, accession number.
_PERSON = frozenset(
    {0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040, 0x00101000, 0x00101002, 0x00080050}
)
# Groups that a correction of the patient leaves alone: how it was taken, where it lies, what it shows.
_IMAGE_GROUPS = frozenset({0x0018, 0x0020, 0x0028, 0x5400, 0x7FE0})
_STUDY_ID = 0x00200010  # stands in group 0020, and belongs to the order


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One object that was set aside."""

    note: PurePosixPath
    path: PurePosixPath  # in quarantine
    sop_instance_uid: SOPInstanceUID  # "": a refused one that the request gave no proper name
    calling_ae_title: str
    refused: str | None = None  # code of the error; None: it only differs from what is here


def keep_note(
    notes: Notes,
    study: StudyInstanceUID,
    *,
    path: PurePosixPath,
    instance: str,
    calling_ae_title: str,
    refused: str | None = None,
) -> None:
    """Note what was set aside; the same object twice is one note. Raises SpoolFull."""
    name = instance if is_uid(instance) else ""
    note = {"path": str(path), "sop_instance_uid": name, "calling_ae_title": calling_ae_title}
    if refused is not None:
        note["refused"] = refused
    notes.write(FOLDER / study / f"{path.stem}.json", note)


def changes_of(notes: Notes, study: StudyInstanceUID) -> Sequence[Changed]:
    """What was set aside of a study and is not taken up yet, oldest first. Raises SpoolFull."""
    found = []
    for name in notes.names(FOLDER / study):
        note = notes.read(name)
        if note is not None:
            found.append(
                Changed(
                    note=name,
                    path=PurePosixPath(note["path"]),
                    sop_instance_uid=SOPInstanceUID(note["sop_instance_uid"]),
                    calling_ae_title=note["calling_ae_title"],
                    refused=note.get("refused"),
                )
            )
    return found


def difference(spool: Spool, first: PurePosixPath, changed: PurePosixPath) -> Difference:
    """What differs between two files of the spool."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the data set
        try:
            one, other = (dcmread(spool.file(path)) for path in (first, changed))
            differing = _differing(one, other)
        except _UNREADABLE:
            return Difference.UNREADABLE
    if any(tag >> 16 == 0x7FE0 for tag in differing):
        return Difference.PIXELS
    image = {tag for tag in differing if tag >> 16 in _IMAGE_GROUPS and tag != _STUDY_ID}
    return Difference.PATIENT if differing & _PERSON and not image else Difference.ATTRIBUTES


def _differing(one: Dataset, other: Dataset) -> set[int]:
    """Tags of elements that are not in both with the same value. An element is only decoded where it must."""
    if one.file_meta.get("TransferSyntaxUID") != other.file_meta.get("TransferSyntaxUID"):
        return {0x7FE00010}  # other bytes of the pixels; whether they look alike is not for us to say
    tags = {int(tag) for data_set in (one, other) for tag in data_set.keys()}  # noqa: SIM118  tags, not elements
    return {tag for tag in tags if tag not in one or tag not in other or one[tag] != other[tag]}
