"""What a rejection note does when it arrives: a line on the trail of every study that it names, once.

One that takes images of its own study back is an arrival like any other: the revision that it makes
supersedes the answer. One that lies elsewhere makes that revision through the record, at once or when the
images come. One that names the SR of our answer has it taken back from every receiver, and changes no image:
the same answer is not given again.
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
    """Has a note take effect, and writes the trail; a second time changes nothing."""
    (instance,) = part.instances
    note = instance.sop_instance_uid
    for study, named in rejection.instances.items():
        results = studies.own(list(named))
        images = named - results
        if rejection.withdraws:
            elsewhere = study != part.study_instance_uid
            revision = studies.reject(study, images, note=note, title=rejection.title, revise=elsewhere)
            if revision is not None:
                log.info("study_revised_by_note", study=study, revision=revision)
            for report in studies.take_back(study, results, note=note, title=rejection.title):
                log.warning("report_rejected", study=study, report=report, title=rejection.title)
        if studies.current(study) is None:
            continue
        for event, count in (("rejection_received", len(images)), ("result_rejected", len(results))):
            if count and not _is_told(studies, study, event, note):
                studies.note(
                    study,
                    event,
                    title=rejection.title,
                    instances=count,
                    sender=part.calling_ae_title,
                    note=note,
                )
                log.info(event, study=study, title=rejection.title, instances=count)


def _is_told(studies: Studies, study: StudyInstanceUID, event: str, note: SOPInstanceUID) -> bool:
    return any(line.event == event and line.details.get("note") == note for line in studies.trail(study))
