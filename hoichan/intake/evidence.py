"""What others say about the completeness of a study: procedure steps, availability notices, counts.

A modality that speaks MPPS names its images when it has finished (PS3.4 annex F); an image manager may notify
that they are available (PS3.4 annex R). Whoever sends can be asked how many images it has (0020,1208). Each
is better evidence than silence. Kept as notes of the spool:

    evidence/<study>/<source>-<uid>.json   what was said of a study
    evidence/<study>/count-<source>.json   what a configured source answered, last
    steps/<uid>.json                       the same by the UID of the step, which is all that an update brings
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from hoichan.ports import Notes, Spool
from hoichan.types import SOPInstanceUID, StudyInstanceUID

STEPS = PurePosixPath("steps")
_COUNT = "count-"


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
    # of a notification: what is available by AE title of who has it, Retrieve AE Title (0008,0054)
    retrieve_from: Mapping[str, frozenset[SOPInstanceUID]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many images a source has of a study, beside how many had come when it was asked."""

    source: str  # name in settings
    held: int  # recorded here at that time
    missing: int  # at the source and not here, documents of ours left out
    settled: bool  # it had said the same some seconds before, and nothing had come since


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one study."""

    counts: tuple[Count, ...] = ()
    expected: Mapping[Source, frozenset[SOPInstanceUID]] = field(default_factory=dict)  # of finished notices
    in_progress: bool = False  # a modality has begun and not ended
    retrieve_from: Mapping[str, frozenset[SOPInstanceUID]] = field(default_factory=dict)  # by AE title


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
        "retrieve_from": {title: sorted(uids) for title, uids in notice.retrieve_from.items()},
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


def keep_count(spool: Spool, study: StudyInstanceUID, count: Count) -> None:
    """Writes down what a source answered, and has the study looked at. Raises SpoolFull."""
    spool.notes.write(
        PurePosixPath("evidence", study, f"{_COUNT}{_file_name(count.source)}.json"),
        {
            "source": count.source,
            "held": count.held,
            "missing": count.missing,
            "settled": count.settled,
        },
    )
    spool.mark_fresh(study)


def _file_name(source: str) -> str:
    return source.replace("_", "-")


def _count(note: Mapping[str, Any]) -> Count:
    return Count(source=note["source"], held=note["held"], missing=note["missing"], settled=note["settled"])


def evidence_of(spool: Spool, study: StudyInstanceUID) -> Evidence:
    """Everything that was said of a study, in one."""
    paths = spool.notes.names(PurePosixPath("evidence", study))
    counted = [path for path in paths if path.name.startswith(_COUNT)]
    notices = [
        notice for path in paths if path not in counted and (notice := _read(spool.notes, path)) is not None
    ]
    expected: dict[Source, frozenset[SOPInstanceUID]] = {}
    for notice in notices:
        if notice.state is StepState.COMPLETED and notice.instances:
            expected[notice.source] = expected.get(notice.source, frozenset()) | notice.instances
    held: dict[str, frozenset[SOPInstanceUID]] = {}
    for title, uids in ((title, uids) for one in notices for title, uids in one.retrieve_from.items()):
        held[title] = held.get(title, frozenset()) | uids
    return Evidence(
        counts=tuple(_count(note) for path in counted if (note := spool.notes.read(path)) is not None),
        expected=expected,
        in_progress=any(notice.state is StepState.IN_PROGRESS for notice in notices),
        retrieve_from=held,
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
        retrieve_from={  # notes of before have none
            title: frozenset(SOPInstanceUID(uid) for uid in uids)
            for title, uids in note.get("retrieve_from", {}).items()
        },
    )
