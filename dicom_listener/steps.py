"""Modality Performed Procedure Step and Instance Availability Notification as SCP (PS3.4 annexes F and R).

Both only tell when a study is complete; nothing else of them is kept. Who stores may tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from dicom_listener.statuses import NO_SUCH_CLASS, SUCCESS, Answer
from hoichan.intake import evidence
from hoichan.intake.dataset import Header
from hoichan.intake.door import is_uid
from hoichan.intake.evidence import Notice, Source, StepState
from hoichan.ports import Spool
from hoichan.types import SOPInstanceUID, StudyInstanceUID

log = structlog.get_logger()

MPPS = "1.2.840.10008.3.1.2.3.3"
IAN = "1.2.840.10008.5.1.4.33"
STATES: Mapping[str, StepState] = {  # PS3.3 C.4.14
    "IN PROGRESS": StepState.IN_PROGRESS,
    "COMPLETED": StepState.COMPLETED,
    "DISCONTINUED": StepState.DISCONTINUED,
}
AVAILABLE = frozenset({"ONLINE", "NEARLINE"})  # Instance Availability (0008,0056)

NO_SUCH_STEP = Answer(status=0x0112, comment="No such performed procedure step")
KNOWN_STEP = Answer(status=0x0111, comment="This performed procedure step was created before")
ENDED_STEP = Answer(status=0x0110, comment="Performed procedure step may no longer be updated")
WRONG_STATE = Answer(status=0x0106, comment="Performed Procedure Step Status has another value")
NO_INSTANCE = Answer(status=0x0117, comment="SOP Instance UID is missing or malformed")
NO_STUDY = Answer(status=0x0120, comment="Study Instance UID is missing or malformed")


def created(spool: Spool, request: Any, header: Header) -> Answer:  # noqa: ANN401 (an untyped N_CREATE)
    """Answers an N-CREATE of either service. Raises SpoolFull."""
    uid = str(request.AffectedSOPInstanceUID or "")
    if request.AffectedSOPClassUID not in (MPPS, IAN):
        return NO_SUCH_CLASS
    if not is_uid(uid):
        return NO_INSTANCE
    if request.AffectedSOPClassUID == IAN:
        return _notified(spool, uid, header)
    if evidence.step(spool, uid) is not None:
        return KNOWN_STEP
    if STATES.get(header.coded("PerformedProcedureStepStatus") or "") is not StepState.IN_PROGRESS:
        return WRONG_STATE
    scheduled = header.items("ScheduledStepAttributesSequence")
    studies = tuple(dict.fromkeys(item.text("StudyInstanceUID") or "" for item in scheduled))
    if not studies or not all(is_uid(study) for study in studies):
        return NO_STUDY
    return _keep(
        spool,
        Notice(
            uid=uid,
            source=Source.MPPS,
            state=StepState.IN_PROGRESS,
            studies=tuple(StudyInstanceUID(study) for study in studies),
            instances=_performed(header),
        ),
    )


def changed(spool: Spool, request: Any, header: Header) -> Answer:  # noqa: ANN401 (an untyped N_SET)
    """Answers an N-SET of a performed procedure step. Raises SpoolFull."""
    uid = str(request.RequestedSOPInstanceUID or "")
    if request.RequestedSOPClassUID != MPPS:
        return NO_SUCH_CLASS
    known = evidence.step(spool, uid) if is_uid(uid) else None
    if known is None:
        return NO_SUCH_STEP
    if known.state is not StepState.IN_PROGRESS:
        return ENDED_STEP
    said = header.coded("PerformedProcedureStepStatus")
    if said is not None and said not in STATES:
        return WRONG_STATE
    return _keep(
        spool,
        Notice(
            uid=uid,
            source=Source.MPPS,
            state=STATES[said] if said else known.state,
            studies=known.studies,
            instances=_performed(header) or known.instances,
        ),
    )


def _notified(spool: Spool, uid: str, header: Header) -> Answer:
    study = header.text("StudyInstanceUID") or ""
    if not is_uid(study):
        return NO_STUDY
    items = [
        item
        for series in header.items("ReferencedSeriesSequence")
        for item in series.items("ReferencedSOPSequence")
    ]
    available = [item for item in items if item.coded("InstanceAvailability") in AVAILABLE]
    return _keep(
        spool,
        Notice(
            uid=uid,
            source=Source.IAN,
            state=StepState.COMPLETED,
            studies=(StudyInstanceUID(study),),
            instances=_instances(available),
            retrieve_from=_by_title(available),
        ),
    )


def _by_title(items: list[Header]) -> dict[str, frozenset[SOPInstanceUID]]:
    """Instances by the AE title that they can be retrieved from; an item may name several."""
    found: dict[str, frozenset[SOPInstanceUID]] = {}
    for item in items:
        for title in item.texts("RetrieveAETitle"):
            found[title] = found.get(title, frozenset()) | _instances([item])
    return found


def _performed(header: Header) -> frozenset[SOPInstanceUID]:
    """Every instance that a step names, images and others (PS3.3 C.4.15)."""
    return _instances(
        [
            item
            for series in header.items("PerformedSeriesSequence")
            for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
            for item in series.items(keyword)
        ]
    )


def _instances(items: list[Header]) -> frozenset[SOPInstanceUID]:
    uids = (item.text("ReferencedSOPInstanceUID") or "" for item in items)
    return frozenset(SOPInstanceUID(uid) for uid in uids if is_uid(uid))


def _keep(spool: Spool, notice: Notice) -> Answer:
    evidence.keep(spool, notice)
    for study in notice.studies:
        log.info(
            "evidence_received",
            study=study,
            source=str(notice.source),
            state=str(notice.state),
            instances=len(notice.instances),
        )
    return SUCCESS
