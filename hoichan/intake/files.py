"""Files at the door: every way in that brings Part 10 files ends here, and from here in the spool.

STOW-RS, watched folders, media and imports differ only in where the bytes come from. A file is what its data
set says: many programs that change UIDs forget the file meta, so that is wrong where the two disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from hoichan.errors import IntakeError, SpoolFull, StorageUnusable, WrongStudy
from hoichan.intake.door import identify
from hoichan.intake.headers import inflated, syntax_of, walk
from hoichan.intake.part10 import File, split
from hoichan.intake.priors import sent_again
from hoichan.meters import INSTANCES_FILED, Tally
from hoichan.ports import Spool, Stored

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # the DICOMDIR of a medium: a table of contents, no object
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_PRIVATE_ENDS = 0x00090000  # nothing that is looked for here has a tag above


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Where a door counts what it takes."""

    tally: Tally
    door: str  # stow, upload, folder or import
    sender: str | None = None  # stands for what somebody typed; None: the sender is configured

    def add(self, sender: str, outcome: str) -> None:
        """One object."""
        self.tally.add(INSTANCES_FILED, self.door, self.sender or sender, outcome)


def take_in(
    spool: Spool,
    file: bytes,
    *,
    calling_ae_title: str,
    study_instance_uid: str | None = None,
    counted: Counted | None = None,
) -> Stored:
    """Keeps one Part 10 file; on return its data set is safe on disk, byte for byte.

    `calling_ae_title`: who is said to have sent it. `study_instance_uid`: the only study that it may belong
    to. Raises SpoolFull (again later), NotDicom, IncompleteObject and WrongStudy (never).
    """
    outcome = "refused_object"
    try:
        stored = _kept(spool, file, calling_ae_title, study_instance_uid)
        outcome = "quarantined" if stored.quarantined else "duplicate" if stored.duplicate else "stored"
    except (SpoolFull, StorageUnusable, OSError):
        outcome = "refused_no_room"
        raise
    finally:
        if counted is not None:
            counted.add(calling_ae_title, outcome)
    return stored


def _kept(spool: Spool, file: bytes, calling_ae_title: str, study_instance_uid: str | None) -> Stored:
    part = split(file)
    sop_class, sop_instance = names_of(part)
    if study_instance_uid is not None:
        identity = identify(
            part.data_set,
            transfer_syntax_uid=part.transfer_syntax_uid,
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
        )
        if identity.study_instance_uid != study_instance_uid:
            raise WrongStudy
    stored = spool.store(
        part.data_set,
        transfer_syntax_uid=part.transfer_syntax_uid,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        calling_ae_title=calling_ae_title,
    )
    if stored.duplicate:
        sent_again(
            spool, stored.study_instance_uid, stored.sop_instance_uid, calling_ae_title=calling_ae_title
        )
    return stored


def names_of(file: File) -> tuple[str, str]:
    """SOP Class UID and SOP Instance UID: of the data set, or of the file meta where the data set has none.

    "" for what stands nowhere. Raises NotDicom where the beginning of the data set cannot be read.
    """
    plain = inflated(file.data_set, file.transfer_syntax_uid)
    found = {
        element.tag: plain[element.start : element.start + min(element.length, 66)]
        for element in walk(plain, syntax_of(file.transfer_syntax_uid), stop_at=_PRIVATE_ENDS)
        if element.tag in (_SOP_CLASS, _SOP_INSTANCE)
    }
    texts = {tag: value.decode("ascii", "replace").rstrip(" \0") for tag, value in found.items()}
    return (
        texts.get(_SOP_CLASS) or file.sop_class_uid,
        texts.get(_SOP_INSTANCE) or file.sop_instance_uid,
    )


def is_media_directory(file: bytes) -> bool:
    """Whether this is a DICOMDIR, whatever its name (PS3.10 8.6)."""
    try:
        return split(file).sop_class_uid == MEDIA_DIRECTORY
    except IntakeError:
        return False
