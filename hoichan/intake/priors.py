"""Earlier studies of a patient that were fetched beside a new one: kept, and never taken for new arrivals.

A note of the spool names them before the first of their instances is asked for:

    priors/<study>.json   for which study, from which source, and which instances

An instance that is not named there makes the study one like all others: somebody sent it to be judged. So
does one that is named and comes again from somebody else than it was fetched from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from hoichan.intake.orders import region
from hoichan.ports import Notes, Spool
from hoichan.types import SOPInstanceUID, StudyInstanceUID

_FOLDER = PurePosixPath("priors")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorNote:
    """One earlier study."""

    study_instance_uid: StudyInstanceUID
    fetched_for: StudyInstanceUID
    source: str  # name in settings
    instances: frozenset[SOPInstanceUID]  # that were asked for


def body_parts(texts: Iterable[str | None]) -> frozenset[str]:
    """What the series of a study say of their body part, words for the same part as one; empty: nothing."""
    plain = (" ".join((text or "").upper().replace("_", " ").split()) for text in texts)
    return frozenset(region(text) or text for text in plain if text)


def may_compare(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether two studies may show the same part: not where both say it and nothing is in common."""
    return not ours or not theirs or not ours.isdisjoint(theirs)


def mark_prior(notes: Notes, prior: PriorNote) -> None:
    """Have a study kept as an earlier one. Raises SpoolFull."""
    notes.write(
        _path(prior.study_instance_uid),
        {
            "study": prior.study_instance_uid,
            "fetched_for": prior.fetched_for,
            "source": prior.source,
            "instances": sorted(prior.instances),
        },
    )


def prior_note(notes: Notes, study: StudyInstanceUID) -> PriorNote | None:
    """What is written of an earlier study; None for any other."""
    note = notes.read(_path(study))
    if note is None:
        return None
    return PriorNote(
        study_instance_uid=StudyInstanceUID(note["study"]),
        fetched_for=StudyInstanceUID(note["fetched_for"]),
        source=str(note["source"]),
        instances=frozenset(SOPInstanceUID(uid) for uid in note["instances"]),
    )


def is_prior(notes: Notes, study: StudyInstanceUID, instances: Iterable[str]) -> bool:
    """Whether these instances of a study are all of an earlier study that was fetched."""
    note = prior_note(notes, study)
    return note is not None and note.instances.issuperset(instances)


def release(notes: Notes, study: StudyInstanceUID) -> bool:
    """Have an earlier study judged after all; whether it was one."""
    if notes.read(_path(study)) is None:
        return False
    notes.remove(_path(study))
    return True


def sent_again(spool: Spool, study: str, instance: str, *, calling_ae_title: str) -> bool:
    """Hear of an instance that is here and came again, the same bytes; whether its study is judged for it.

    Whoever it was fetched from may give it twice. Anybody else has sent it on purpose. Raises SpoolFull.
    """
    note = prior_note(spool.notes, StudyInstanceUID(study))
    if note is None or instance not in note.instances:
        return False
    came_from = (
        one.calling_ae_title for one in spool.listing(note.study_instance_uid) if one.path.stem == instance
    )
    if next(came_from, calling_ae_title).strip() == calling_ae_title.strip():
        return False
    release(spool.notes, note.study_instance_uid)
    spool.mark_fresh(note.study_instance_uid)
    return True


def earlier_studies(notes: Notes) -> Collection[StudyInstanceUID]:
    """Every study that is kept as an earlier one."""
    return [StudyInstanceUID(path.stem) for path in notes.names(_FOLDER)]


def _path(study: StudyInstanceUID) -> PurePosixPath:
    return _FOLDER / f"{study}.json"
