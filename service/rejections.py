"""What a rejection note does when it arrives: a line on the trail of every study that it names, once.

One that takes images back is an arrival like any other: the revision that it makes supersedes the answer. One
that names nothing but results of ours changes no image, so it must not have the same answer given again.
"""

from __future__ import annotations

import structlog

from hoichan.errors import IntakeError
from hoichan.intake.rejections import KEY_OBJECT_SELECTION, Rejection, read_rejection
from hoichan.ports import Spool, Studies
from hoichan.types import SOPInstanceUID, Study, StudyInstanceUID

log = structlog.get_logger()


def rejection_in(spool: Spool, part: Study) -> Rejection | None:
    """The rejection that one arrived instance holds; None when it holds none, or is damaged."""
    (instance,) = part.instances
    if instance.sop_class_uid != KEY_OBJECT_SELECTION:
        return None
    try:
        return read_rejection(spool, instance.path)
    except IntakeError as error:
        log.error("spooled_file_unreadable", study=part.study_instance_uid, code=error.code)
        return None


def is_of_results_only(studies: Studies, rejection: Rejection) -> bool:
    """Whether it names documents of ours, and nothing else."""
    named = [uid for uids in rejection.instances.values() for uid in uids]
    return bool(named) and studies.own(named) == set(named)


def tell(studies: Studies, part: Study, rejection: Rejection) -> None:
    """Writes the trail; a second time changes nothing."""
    (instance,) = part.instances
    for study, named in rejection.instances.items():
        if studies.current(study) is None:
            continue
        results = studies.own(list(named))
        for event, count in (
            ("rejection_received", len(named - results)),
            ("result_rejected", len(results)),
        ):
            if count and not _is_told(studies, study, event, instance.sop_instance_uid):
                studies.note(
                    study,
                    event,
                    title=rejection.title,
                    instances=count,
                    sender=part.calling_ae_title,
                    note=instance.sop_instance_uid,
                )
                log.info(event, study=study, title=rejection.title, instances=count)


def _is_told(studies: Studies, study: StudyInstanceUID, event: str, note: SOPInstanceUID) -> bool:
    return any(line.event == event and line.details.get("note") == note for line in studies.trail(study))
