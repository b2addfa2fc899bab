"""What others say about the completeness of a study: performed procedure steps and availability notices.

A modality that speaks MPPS names its images when it has finished (PS3.4 annex F); an image manager may notify
that they are available (PS3.4 annex R). Either is better evidence than silence. Kept as notes of the spool:

    evidence/<study>/<source>-<uid>.json   what was said of a study
    steps/<uid>.json                       the same by the UID of the step, which is all that an update brings
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from hoichan.ports import Notes, Spool
from hoichan.types import SOPInstanceUID, StudyInstanceUID

STEPS = PurePosixPath("steps")


class StepState(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    DISCONTINUED = "discontinued"


class Source(StrEnum):
    """Who says it; stands in `closed_by`."""

    MPPS = "mpps"
    IAN = "ian"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One step or notification, as last heard."""

    uid: str  # of the MPPS or the notification
    source: Source
    state: StepState
    studies: tuple[StudyInstanceUID, ...]
    instances: frozenset[SOPInstanceUID]  # that it names


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one study."""

    expected: Mapping[Source, frozenset[SOPInstanceUID]] = field(default_factory=dict)  # of finished notices
    in_progress: bool = False  # a modality has begun and not ended


def keep(spool: Spool, notice: Notice) -> None:
    """Writes down what was said, and has its studies looked at. Raises SpoolFull.

    The step is written last: until it is there an update is refused, and the modality begins again.
    """
    note = {
        "uid": notice.uid,
        "source": notice.source,
        "state": notice.state,
        "studies": notice.studies,
        "instances": sorted(notice.instances),
    }
    for study in notice.studies:
        spool.notes.write(PurePosixPath("evidence", study, f"{notice.source}-{notice.uid}.json"), note)
    if notice.source is Source.MPPS:
        spool.notes.write(STEPS / f"{notice.uid}.json", note)
    for study in notice.studies:
        spool.mark_fresh(study)


def step(spool: Spool, uid: str) -> Notice | None:
    """A performed procedure step that was begun here."""
    return _read(spool.notes, STEPS / f"{uid}.json")


def evidence_of(spool: Spool, study: StudyInstanceUID) -> Evidence:
    """Everything that was said of a study, in one."""
    folder = PurePosixPath("evidence", study)
    notices = [notice for path in spool.notes.names(folder) if (notice := _read(spool.notes, path))]
    expected: dict[Source, frozenset[SOPInstanceUID]] = {}
    for notice in notices:
        if notice.state is StepState.COMPLETED and notice.instances:
            expected[notice.source] = expected.get(notice.source, frozenset()) | notice.instances
    return Evidence(
        expected=expected,
        in_progress=any(notice.state is StepState.IN_PROGRESS for notice in notices),
    )


def _read(notes: Notes, path: PurePosixPath) -> Notice | None:
    note = notes.read(path)
    if note is None:
        return None
    return Notice(
        uid=note["uid"],
        source=Source(note["source"]),
        state=StepState(note["state"]),
        studies=tuple(StudyInstanceUID(uid) for uid in note["studies"]),
        instances=frozenset(SOPInstanceUID(uid) for uid in note["instances"]),
    )
