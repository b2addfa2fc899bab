"""Rejection notes: key object selections that take images back (IHE IOCM; titles of PS3.16 CID 7011).

The images stay where they are. A model is not asked about them any more, and the revision that the note
makes supersedes the former answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hoichan.errors import NotDicom
from hoichan.intake.dataset import Header, read_header
from hoichan.intake.door import is_uid
from hoichan.intake.part10 import read_meta
from hoichan.ports import Spool
from hoichan.types import SOPInstanceUID, Study, StudyInstanceUID

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
RETENTION_EXPIRED = "113039"  # the images go for their age: what was said of them stays true
TITLES = frozenset({"113001", "113037", "113038", RETENTION_EXPIRED})  # quality, safety, worklist entry
_LARGEST_BYTES = 16 * 1024**2  # no list of references is longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """What one note takes back."""

    title: str  # code value, DCM
    instances: Mapping[StudyInstanceUID, frozenset[SOPInstanceUID]]  # by the study that they are of

    @property
    def withdraws(self) -> bool:
        """Whether what was said of the images falls with them."""
        return self.title != RETENTION_EXPIRED


def read_rejection(spool: Spool, path: PurePosixPath) -> Rejection | None:
    """The rejection in a filed key object selection; None when it is none. Raises NotDicom or OSError."""
    place = spool.file(path)
    if place.stat().st_size > _LARGEST_BYTES:
        raise NotDicom("A key object selection is too large.")
    content = place.read_bytes()
    meta = read_meta(content)
    return rejection_of(read_header(content[meta.offset :], meta.transfer_syntax_uid))


def rejection_of(header: Header) -> Rejection | None:
    """As `read_rejection`, of the attributes of a key object selection."""
    title = next(iter(header.items("ConceptNameCodeSequence")), None)
    if (
        title is None
        or title.text("CodingSchemeDesignator") != "DCM"
        or title.text("CodeValue") not in TITLES
    ):
        return None
    instances: dict[StudyInstanceUID, frozenset[SOPInstanceUID]] = {}
    for study in header.items("CurrentRequestedProcedureEvidenceSequence"):
        uid = StudyInstanceUID(study.text("StudyInstanceUID") or "")
        named = (
            reference.text("ReferencedSOPInstanceUID") or ""
            for series in study.items("ReferencedSeriesSequence")
            for reference in series.items("ReferencedSOPSequence")
        )
        if is_uid(uid):
            found = frozenset(SOPInstanceUID(one) for one in named if is_uid(one))
            instances[uid] = instances.get(uid, frozenset()) | found
    return Rejection(title=title.text("CodeValue") or "", instances=instances)


def withdrawn(spool: Spool, study: Study) -> frozenset[SOPInstanceUID]:
    """The instances of a study that the notes in it withdraw; of others the record knows. Raises OSError."""
    found: frozenset[SOPInstanceUID] = frozenset()
    for instance in study.instances:
        if instance.sop_class_uid != KEY_OBJECT_SELECTION:
            continue
        rejection = None
        with suppress(NotDicom):  # damaged on the disk; said when it came
            rejection = read_rejection(spool, instance.path)
        if rejection is not None and rejection.withdraws:
            found |= rejection.instances.get(study.study_instance_uid, frozenset())
    return found


def mark_rejected(study: Study, rejected: frozenset[SOPInstanceUID]) -> Study:
    """The study, with those of its instances marked that nobody is to judge."""
    return replace(
        study,
        series=tuple(
            replace(
                series,
                instances=tuple(
                    replace(instance, rejected=True) if instance.sop_instance_uid in rejected else instance
                    for instance in series.instances
                ),
            )
            for series in study.series
        ),
    )
